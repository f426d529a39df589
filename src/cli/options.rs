//! From what was typed to what it means for the other modules.

use super::args::{CargoArgs, Color, Compiler, Landlock, OutputArgs, PolicyArgs, TestArgs, WallArgs};
use crate::cargo::CargoFlags;
use crate::runner::{GuestOptions, PolicyOptions, Setup, StrategyChoice};
use sandbox_walls::{LandlockLevel, Walls};
use std::ffi::OsString;
use std::time::Duration;

/// Cargo's flags, colour and loudness included, which are ours as well as cargo's.
pub(super) fn cargo_flags(cargo: &CargoArgs, output: &OutputArgs) -> CargoFlags {
    CargoFlags {
        manifest_path: cargo.manifest.manifest_path.clone(),
        packages: cargo.workspace.package.clone(),
        workspace: cargo.workspace.workspace || cargo.workspace.all,
        exclude: cargo.workspace.exclude.clone(),
        features: cargo.features.features.clone(),
        all_features: cargo.features.all_features,
        no_default_features: cargo.features.no_default_features,
        profile: cargo.profile.clone(),
        release: cargo.release,
        target_dir: cargo.target_dir.clone(),
        locked: cargo.locked,
        offline: cargo.offline,
        frozen: cargo.frozen,
        jobs: cargo.jobs.clone(),
        config: cargo.config.clone(),
        color: match output.color {
            Color::Auto => None,
            Color::Always => Some("always".to_owned()),
            Color::Never => Some("never".to_owned()),
        },
        quiet: output.quiet,
        verbose: output.verbose,
        unstable: cargo.unstable.clone(),
    }
}

/// What is said of guests. Whoever adds a flag has to say here what it means for them, and so for doc tests: nothing is
/// left out by `..`.
pub(super) fn guests(policy: &PolicyArgs, walls: &WallArgs, timeout: Option<Duration>) -> GuestOptions {
    let PolicyArgs {
        grants,
        ceiling,
        audit,
        fix,
        // What may become of the manifest, and what is said of its grants, is no guest's concern.
        allow_dirty: _,
        allow_no_vcs: _,
        unused: _,
    } = policy;
    let WallArgs {
        landlock,
        compiler,
        no_cache,
        timings,
        #[cfg(feature = "test-walls")]
            walls: named,
    } = walls;
    #[cfg(feature = "test-walls")]
    let walls = standing(named.as_deref());
    #[cfg(not(feature = "test-walls"))]
    let walls = Walls::ALL;
    GuestOptions {
        policy: PolicyOptions {
            grants: grants.0.clone(),
            ceilings: ceiling.iter().map(OsString::from).collect(),
        },
        setup: Setup {
            landlock: match landlock {
                Landlock::Full => LandlockLevel::Full,
                Landlock::Required => LandlockLevel::Required,
                Landlock::Off => LandlockLevel::Off,
            },
            strategy: match compiler {
                Compiler::Cranelift => StrategyChoice::Cranelift,
                Compiler::Winch => StrategyChoice::Winch,
                Compiler::Auto => StrategyChoice::Auto,
            },
            walls,
            // CI machines are new each time, or shared with strangers' builds.
            cache: !no_cache && !ci(),
            audit: *audit || !fix.is_empty(),
            timings: *timings,
        },
        timeout,
    }
}

/// The same of all that is typed after `test`: each flag says something of guests or does not.
pub(super) fn guests_of_test(args: &TestArgs) -> GuestOptions {
    let TestArgs {
        policy,
        walls,
        timeout,
        // Which tests are built and run, in which order and how often, and what is said of it.
        cargo: _,
        lib: _,
        bins: _,
        bin: _,
        examples: _,
        example: _,
        tests: _,
        test: _,
        all_targets: _,
        doc: _,
        no_run: _,
        no_fail_fast: _,
        fail_fast: _,
        retries: _,
        partition: _,
        not_run: _,
        output: _,
        filters: _,
        libtest: _,
    } = args;
    guests(policy, walls, *timeout)
}

/// Whether this is a CI machine, by the variable that all of them set.
pub(super) fn ci() -> bool {
    std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false" && ci != "0")
}

#[cfg(feature = "test-walls")]
fn standing(named: Option<&[String]>) -> Walls {
    let only = |names: &[String]| Walls::only(|wall| names.contains(&wall.to_string()));
    named.map_or(Walls::ALL, only)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, Command};
    use clap::{CommandFactory as _, Parser as _};

    fn of_test(line: &[&str]) -> GuestOptions {
        match Cli::try_parse_from([&["cargo-sandbox", "test"], line].concat()).unwrap().command {
            Command::Test(args) => guests_of_test(&args),
            other => panic!("{other:?}"),
        }
    }

    fn of_runner(line: &[&str]) -> GuestOptions {
        match Cli::try_parse_from([&["cargo-sandbox", "runner"], line, &["file"]].concat()).unwrap().command {
            Command::Runner(args) => guests(&args.policy, &args.walls, None),
            other => panic!("{other:?}"),
        }
    }

    /// Every flag of policy and walls that `runner` has reaches the runner of a doc test, and as it was typed.
    #[test]
    fn every_flag_about_guests_reaches_the_runner() {
        let quiet = ["allow_dirty", "allow_no_vcs", "unused", "timings"];
        let command = Cli::command();
        let runner = command.find_subcommand("runner").unwrap();
        let plain = of_test(&[]).for_examples();
        assert_eq!(plain, of_runner(&[]));
        let mut seen = 0;
        for arg in runner.get_arguments() {
            let heading = arg.get_help_heading().unwrap_or_default();
            if !["Policy", "Walls"].contains(&heading) || quiet.contains(&arg.get_id().as_str()) {
                continue;
            }
            let flag = format!("--{}", arg.get_long().unwrap());
            let takes_values = arg.get_action().takes_values();
            let typed = match arg.get_possible_values().iter().rfind(|_| takes_values) {
                // The last one is the default of some.
                Some(value) if arg.get_id() == "compiler" => value.get_name().replace("auto", "winch"),
                Some(value) => value.get_name().to_owned(),
                None if arg.get_id() == "walls" => "wasi,seccomp".to_owned(),
                // A value with a space in it, then one with a dash before it.
                None => format!("x {flag} y"),
            };
            let typed = if takes_values { format!("{flag}={typed}") } else { flag };
            let options = of_test(&[&typed]);
            let sent = serde_json::to_string(&options.for_examples()).unwrap();
            let received: GuestOptions = serde_json::from_str(&sent).unwrap();
            assert_eq!(received, of_runner(&[&typed]), "{typed}");
            // Where CI is set, there is no cache to be switched off.
            assert!(received != plain || (typed == "--no-cache" && ci()), "{typed}: it changes nothing");
            seen += 1;
        }
        assert!(seen > 12, "{seen}");
        let limited = of_test(&["--timeout", "1500ms"]).for_examples();
        assert_eq!(limited.timeout, Some(Duration::from_millis(1500)));
    }
}
