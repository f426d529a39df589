//! How our object gets into a guest: cargo runs us in place of rustc for the workspace's own crates,
//! and we add link arguments for programs and tests.
//!
//! Adding them as rustflags would drop or be dropped by the user's own, and rebuild every
//! dependency. Cargo tracks a workspace wrapper by its path only, so it gets one through a link whose
//! name holds a hash of all that it adds.

use super::variables::{CALLED, CARGOS, CHAINED};
use super::{CargoFlags, Error, config, object, rustdoc};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// How the targets of guests begin.
const GUESTS: &str = "wasm32-wasi";
/// Changes with the flags that [`telling_flags`] adds.
const FLAGS_VERSION: &[u8] = b"1";
/// How the names of links to our program begin.
const LINK: &str = "rustc-wrapper-";
/// The environment with which cargo calls us, ready for use.
///
/// # Errors
/// The folder cannot be written.
pub(super) fn prepare(
    program: &Path,
    sandbox_dir: &Path,
    flags: &CargoFlags,
    current_dir: &Path,
) -> Result<Vec<(OsString, OsString)>, Error> {
    let folder = sandbox_dir.join(".cargo-sandbox");
    let chained = config::workspace_wrapper(flags, current_dir);
    let link = link_to(program, &folder, chained.as_deref())
        .map_err(|error| Error::failed(format!("cannot write to `{}`: {error}", folder.display())))?;
    let mut env = vec![(CALLED.into(), folder.into_os_string()), (CARGOS.into(), link.into_os_string())];
    if let Some(chained) = chained {
        env.push((CHAINED.into(), chained));
    }
    Ok(env)
}

/// A link to our own program, under a name that changes with the object and with what is chained.
fn link_to(program: &Path, folder: &Path, chained: Option<&OsStr>) -> io::Result<PathBuf> {
    let chained = chained.unwrap_or_default().as_encoded_bytes();
    let name = object::hash([object::content_hash().as_bytes(), FLAGS_VERSION, chained]);
    let link = folder.join(format!("{LINK}{name}"));
    if fs::read_link(&link).is_ok_and(|target| target == program) {
        return Ok(link);
    }
    fs::create_dir_all(folder)?;
    let unfinished = folder.join(format!("{LINK}{name}.{}", std::process::id()));
    let _ = fs::remove_file(&unfinished);
    std::os::unix::fs::symlink(program, &unfinished)?;
    fs::rename(&unfinished, &link)?;
    Ok(link)
}

/// Does rustc's work if cargo called us for that; only returns if it did not, or if rustc cannot be
/// run. Writes down what cargo wants of rustdoc if it called us as that. To be asked before the command
/// line is read.
pub fn run_if_called() -> Option<ExitCode> {
    if let Some(noted) = rustdoc::note_if_called() {
        return Some(match noted {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: cannot write down what cargo wants of rustdoc: {error}");
                ExitCode::FAILURE
            }
        });
    }
    let folder = std::env::var_os(CALLED)?;
    let mut args = std::env::args_os();
    let called_as = args.next().unwrap_or_default();
    let rustc = args.next().filter(|rustc| is_our_link(&called_as) || looks_like_rustc(rustc))?;
    let mut args: Vec<OsString> = args.collect();
    args.extend(telling_flags(&args).into_iter().map(OsString::from));
    if let Some(target) = links_a_guest(&args) {
        match object::ensure(&rustc, target, Path::new(&folder)) {
            Ok(object) => {
                let wrap = if links_through_a_driver(&args) { "-Wl,--wrap=getenv" } else { "--wrap=getenv" };
                for value in [object.as_os_str(), OsStr::new(wrap)] {
                    let mut arg = OsString::from("link-arg=");
                    arg.push(value);
                    args.extend(["-C".into(), arg]);
                }
            }
            // Without it the guest would not know its current directory and would be refused later.
            Err(error) => {
                eprintln!("error: cannot compile the object that is linked into guests: {error}");
                return Some(ExitCode::FAILURE);
            }
        }
    }
    let chained = std::env::var_os(CHAINED);
    let mut command = match &chained {
        Some(wrapper) => {
            let mut command = Command::new(wrapper);
            command.arg(&rustc);
            command
        }
        None => Command::new(&rustc),
    };
    let error = command.args(args).env_remove(CALLED).env_remove(CHAINED).env_remove(CARGOS).exec();
    eprintln!("error: cannot run `{}`: {error}", command.get_program().to_string_lossy());
    Some(ExitCode::FAILURE)
}

/// Whether we were started through the link that cargo was given.
fn is_our_link(called_as: &OsStr) -> bool {
    let name = Path::new(called_as).file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(LINK.as_bytes())
}

/// Another wrapper may have followed the link. A build script may run this same program with our
/// variable still set: then the first argument is not a compiler but one of our own commands.
fn looks_like_rustc(program: &OsStr) -> bool {
    let program = program.to_string_lossy();
    program.contains('/') || program.contains("rustc") || program.contains("driver")
}

/// What lets a test's stack tell where a panic would have been caught (docs/should-panic.md): debug
/// information of what is built for a guest, and of a test all that was linked into it. Last wins.
fn telling_flags(args: &[OsString]) -> Vec<&'static str> {
    if !values(args, "--target").last().is_some_and(|target| target.starts_with(GUESTS)) {
        return Vec::new();
    }
    let level = options(args).filter_map(|option| option.strip_prefix("debuginfo=")).last();
    let mut flags = Vec::new();
    if matches!(level, None | Some("0" | "none" | "line-directives-only"))
        && !args.iter().any(|arg| arg == "-g")
    {
        flags.extend(["-C", "debuginfo=limited"]);
    }
    if is_a_test(args) {
        flags.extend(["-C", "strip=none"]);
    }
    flags
}

/// The target, if these arguments of rustc link a program or a test harness for WASI. Cargo asks
/// rustc for file names with the same crate types: that links nothing.
fn links_a_guest(args: &[OsString]) -> Option<&str> {
    let program = values(args, "--crate-type").any(|kind| kind == "bin") || is_a_test(args);
    let asks = args.iter().any(|arg| arg.as_encoded_bytes().starts_with(b"--print"));
    let checks = values(args, "--emit").any(|emit| !emit.split(',').any(|kind| kind.starts_with("link")));
    let target = values(args, "--target").last()?;
    (program && !asks && !checks && target.starts_with(GUESTS)).then_some(target)
}

/// A test target without libtest has neither a crate type nor `--test`.
fn is_a_test(args: &[OsString]) -> bool {
    let own_harness =
        values(args, "--crate-type").next().is_none() && values(args, "--cfg").any(|cfg| cfg == "test");
    own_harness || args.iter().any(|arg| arg == "--test")
}

/// Values of a flag, given as `FLAG VALUE` or `FLAG=VALUE`.
fn values<'a>(args: &'a [OsString], flag: &'a str) -> impl Iterator<Item = &'a str> {
    let next = args.iter().skip(1).map(Some).chain([None]);
    args.iter().zip(next).filter_map(move |(arg, next)| {
        let arg = arg.to_str()?;
        if arg == flag { next?.to_str() } else { arg.strip_prefix(flag)?.strip_prefix('=') }
    })
}

/// Values of `-C`, written with a space or without.
fn options(args: &[OsString]) -> impl Iterator<Item = &str> {
    let next = args.iter().skip(1).map(Some).chain([None]);
    args.iter().zip(next).filter_map(|(arg, next)| {
        let arg = arg.to_str()?;
        if arg == "-C" || arg == "--codegen" { next?.to_str() } else { arg.strip_prefix("-C") }
    })
}

/// Whether the user links with a C compiler, which hands only `-Wl,…` on.
fn links_through_a_driver(args: &[OsString]) -> bool {
    options(args).filter_map(|option| option.strip_prefix("linker=")).last().is_some_and(|linker| {
        let name = Path::new(linker).file_name().unwrap_or_default().to_string_lossy();
        name.contains("clang") || name.contains("gcc") || name.ends_with("cc")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn only_programs_and_tests_for_wasi_get_the_object() {
        let is = |line: &str| links_a_guest(&args(line)).is_some();
        let rest = "--emit=dep-info,link --target wasm32-wasip1 src/main.rs";
        assert!(is(&format!("--crate-name a --crate-type bin {rest}")));
        assert!(is(&format!("--crate-name a --test {rest}")));
        assert!(is("--crate-type=bin --target=wasm32-wasip1 --emit=link"));
        assert!(is("--crate-name a tests/a.rs --emit=dep-info,link --cfg test --target wasm32-wasip1"));
        assert!(!is(&format!("--crate-name a --crate-type lib {rest}")));
        assert!(!is("--crate-name build_script_build --crate-type bin --emit=dep-info,link build.rs"));
        assert!(!is("--crate-type bin --emit=dep-info,metadata --target wasm32-wasip1 src/main.rs"));
        assert!(!is("- --crate-name ___ --print=file-names --target wasm32-wasip1 --crate-type bin"));
        assert!(!is("--crate-type bin --emit=link --target x86_64-unknown-linux-gnu"));
    }

    #[test]
    fn what_is_built_for_guests_keeps_what_tells_of_panics() {
        let flags = |line: &str| telling_flags(&args(line)).join(" ");
        let rest = "--emit=dep-info,link --target wasm32-wasip1 src/lib.rs";
        assert_eq!(flags(&format!("--crate-type lib {rest}")), "-C debuginfo=limited");
        assert_eq!(flags(&format!("--test {rest}")), "-C debuginfo=limited -C strip=none");
        assert_eq!(flags(&format!("--test -C debuginfo=2 {rest}")), "-C strip=none");
        assert_eq!(flags(&format!("--test -g -Cstrip=symbols {rest}")), "-C strip=none");
        assert_eq!(
            flags(&format!("--crate-type bin -Cdebuginfo=1 -Cdebuginfo=0 {rest}")),
            "-C debuginfo=limited"
        );
        assert_eq!(flags("--crate-type lib --emit=link src/lib.rs"), "");
        assert_eq!(flags("--test --emit=link --target x86_64-unknown-linux-gnu"), "");
    }

    #[test]
    fn a_c_compiler_as_linker_is_recognised() {
        assert!(links_through_a_driver(&args("-C linker=/opt/wasi-sdk/bin/clang -C opt-level=3")));
        assert!(links_through_a_driver(&args("-Clinker=wasm32-wasi-cc")));
        assert!(!links_through_a_driver(&args("-C linker=rust-lld")));
        assert!(!links_through_a_driver(&args("-C opt-level=3")));
    }

    #[test]
    fn our_own_commands_are_not_taken_for_a_compiler() {
        assert!(looks_like_rustc(OsStr::new("rustc")));
        assert!(looks_like_rustc(OsStr::new("/opt/rust/bin/rustc")));
        assert!(!looks_like_rustc(OsStr::new("sandbox-run")));
        assert!(!looks_like_rustc(OsStr::new("__worker")));
        assert!(is_our_link(OsStr::new("/t/sandbox/.cargo-sandbox/rustc-wrapper-0123")));
        assert!(!is_our_link(OsStr::new("/usr/bin/cargo-sandbox")));
    }
}
