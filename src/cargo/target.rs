//! The standard library for the guest's target: is it installed, and if not, how to get it.

use super::{CargoFlags, Error, ErrorKind, config, sandbox_dir};
use sandbox_policy::diagnostic::Diagnostic;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Whether something was built for the target here before. Then it was installed, and asking again
/// would only cost time; if it has gone since, the build fails and [`ensure`] is asked.
pub fn was_built_before(target_dir: &Path, target: &str) -> bool {
    sandbox_dir(target_dir).join(target).is_dir()
}

/// Makes sure that the target is installed; `say` hears what is done about it, before it is done.
/// Returns whether it was installed just now.
///
/// # Errors
/// [`ErrorKind::Failed`], with the command or package that brings it.
pub fn ensure(
    target: &str,
    flags: &CargoFlags,
    current_dir: &Path,
    say: &mut dyn FnMut(&str),
) -> Result<bool, Error> {
    let rustc = config::rustc(flags, current_dir);
    if is_installed(&rustc, target, current_dir)? {
        return Ok(false);
    }
    let rustup = from_rustup(&rustc, current_dir);
    if rustup && !flags.is_offline() {
        let toolchain = std::env::var("RUSTUP_TOOLCHAIN").ok();
        let shown = match &toolchain {
            Some(toolchain) => format!("rustup target add --toolchain {toolchain} {target}"),
            None => format!("rustup target add {target}"),
        };
        say(&format!("`{target}`, which guests are built for: running `{shown}`"));
        let mut command = Command::new("rustup");
        command.args(["target", "add"]);
        if let Some(toolchain) = &toolchain {
            command.args(["--toolchain", toolchain]);
        }
        let added =
            command.arg(target).current_dir(current_dir).stdin(Stdio::null()).stdout(Stdio::null()).status();
        if added.is_ok_and(|status| status.success()) && is_installed(&rustc, target, current_dir)? {
            return Ok(true);
        }
    }
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    Err(Error::new(ErrorKind::Failed, missing(target, rustup, flags.is_offline(), &release)))
}

fn is_installed(rustc: &OsStr, target: &str, current_dir: &Path) -> Result<bool, Error> {
    let output = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", target])
        .current_dir(current_dir)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::failed(format!("cannot run `{}`: {error}", rustc.to_string_lossy())))?;
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    // A compiler that does not know the target at all prints no folder.
    Ok(output.status.success() && !folder.as_os_str().is_empty() && has_core(&folder))
}

fn has_core(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| entry.file_name().as_encoded_bytes().starts_with(b"libcore-"))
}

/// Whether the compiler is one that rustup installed: then rustup can add to it.
fn from_rustup(rustc: &OsStr, current_dir: &Path) -> bool {
    let output = Command::new(rustc)
        .args(["--print", "sysroot"])
        .current_dir(current_dir)
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else { return false };
    let sysroot = String::from_utf8_lossy(&output.stdout);
    let home = std::env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".rustup")));
    home.is_some_and(|home| Path::new(sysroot.trim()).starts_with(home.join("toolchains")))
}

/// What to do where we cannot install it: by the toolchain's origin, then by `/etc/os-release`.
fn missing(target: &str, rustup: bool, offline: bool, os_release: &str) -> Diagnostic {
    let diagnostic = Diagnostic::error("target", format!("the target `{target}` is not installed"))
        .note("guests are built for it, and need its standard library");
    if rustup {
        let diagnostic = diagnostic.help_paste("install it with", format!("rustup target add {target}"));
        return if offline {
            diagnostic.note("it is not installed by itself under `--offline` or `--frozen`")
        } else {
            diagnostic
        };
    }
    let id = |name: &str| {
        os_release
            .lines()
            .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
            .any(|ids| ids.trim_matches('"').split(' ').any(|id| id == name))
    };
    let debian = "apt install libstd-rust-dev-wasm32";
    let fedora = format!("dnf install rust-std-static-{target}");
    if id("debian") || id("ubuntu") {
        diagnostic.help_paste("install your distribution's package", debian)
    } else if id("fedora") || id("rhel") {
        diagnostic.help_paste("install your distribution's package", fedora)
    } else {
        diagnostic
            .help(format!("with rustup: `rustup target add {target}`"))
            .help(format!("on Debian: `{debian}`; on Fedora: `{fedora}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(rustup: bool, os_release: &str) -> String {
        let diagnostic = missing("wasm32-wasip1", rustup, false, os_release);
        diagnostic.help.iter().map(|help| format!("{} {}", help.message, help.paste)).collect()
    }

    #[test]
    fn the_way_to_install_fits_the_toolchain() {
        assert!(help(true, "ID=debian").ends_with("rustup target add wasm32-wasip1"));
        assert!(help(false, "ID=debian").ends_with("apt install libstd-rust-dev-wasm32"));
        assert!(help(false, "NAME=x\nID=mint\nID_LIKE=\"ubuntu debian\"").contains("libstd-rust-dev-wasm32"));
        assert!(help(false, "ID=fedora").ends_with("dnf install rust-std-static-wasm32-wasip1"));
        assert!(help(false, "").contains("rustup"));
    }

    #[test]
    fn a_target_without_a_standard_library_is_not_installed() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!has_core(folder.path()));
        assert!(!has_core(&folder.path().join("absent")));
        std::fs::write(folder.path().join("libcore-0123.rlib"), "").unwrap();
        assert!(has_core(folder.path()));
        let here = Path::new(".");
        assert!(!is_installed(OsStr::new("rustc"), "wasm32-no-such-target", here).unwrap());
    }
}
