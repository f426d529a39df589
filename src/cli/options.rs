//! From what was typed to what it means for the other modules.

use super::args::{CargoArgs, Color, Compiler, Landlock, OutputArgs, WallArgs};
use crate::cargo::CargoFlags;
use crate::kernel::LandlockLevel;
use crate::runner::{Setup, StrategyChoice};
use crate::worker::protocol::Walls;

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
        keep_going: false,
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

/// How guests are compiled and confined.
pub(super) fn setup(walls: &WallArgs, audit: bool) -> Setup {
    Setup {
        landlock: match walls.landlock {
            Landlock::Full => LandlockLevel::Full,
            Landlock::Required => LandlockLevel::Required,
            Landlock::Off => LandlockLevel::Off,
        },
        strategy: match walls.compiler {
            Compiler::Cranelift => StrategyChoice::Cranelift,
            Compiler::Winch => StrategyChoice::Winch,
            Compiler::Auto => StrategyChoice::Auto,
        },
        walls: standing(walls),
        // CI machines are new each time, or shared with strangers' builds.
        cache: !walls.no_cache && !ci(),
        audit,
        timings: walls.timings,
    }
}

/// Whether this is a CI machine, by the variable that all of them set.
pub(super) fn ci() -> bool {
    std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false" && ci != "0")
}

#[cfg(feature = "test-walls")]
fn standing(walls: &WallArgs) -> Walls {
    walls.walls.as_ref().map_or(Walls::ALL, |names| Walls {
        wasi: names.iter().any(|name| name == "wasi"),
        landlock: names.iter().any(|name| name == "landlock"),
        seccomp: names.iter().any(|name| name == "seccomp"),
    })
}

#[cfg(not(feature = "test-walls"))]
fn standing(_: &WallArgs) -> Walls {
    Walls::ALL
}
