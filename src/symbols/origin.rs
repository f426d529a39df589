//! Which frame a violation is attributed to.

use sandbox_policy::access::Frame;

/// Crates whose code is never the origin, whoever calls them.
const STD_CRATES: [&str; 3] = ["std", "core", "alloc"];
/// Crates of the standard library's own that a program can also depend on under these names: the
/// source path decides where it is known.
const SHARED_CRATES: [&str; 11] = [
    "test",
    "proc_macro",
    "panic_abort",
    "panic_unwind",
    "compiler_builtins",
    "hashbrown",
    "getopts",
    "rustc_demangle",
    "addr2line",
    "gimli",
    "std_detect",
];
/// Bindings to the host: like libc, they act for their caller.
const BINDINGS: [&str; 6] = ["libc", "wasi", "wasip1", "wasip2", "dlmalloc", "cargo_sandbox_guest"];

/// The first frame outside std, core, alloc, test, libc and our own object, in frames that are
/// ordered from the innermost to the outermost; `None` if there is no such frame with a name.
pub fn origin(frames: &[Frame]) -> Option<usize> {
    frames.iter().position(|frame| !is_internal(frame))
}

/// Whether the frame's code belongs to the standard library, the C library or our object, or
/// nothing is known of it.
pub fn is_internal(frame: &Frame) -> bool {
    let krate = frame.krate.as_str();
    if is_std_crate(krate) || BINDINGS.contains(&krate) || is_std_path(&frame.file) {
        return true;
    }
    if krate.is_empty() {
        // A C function, or one exported under its own name: with a source file it is the
        // program's. The C library comes without debug information.
        return frame.file.is_empty() || is_libc_path(&frame.file);
    }
    SHARED_CRATES.contains(&krate) && frame.file.is_empty()
}

/// Whether a crate name, as in a symbol, is std's, core's or alloc's.
pub(super) fn is_std_crate(krate: &str) -> bool {
    STD_CRATES.contains(&krate)
}

/// Whether a source path lies in the standard library or a crate it was built with: as released
/// (`/rustc/<hash>/library`, `/rust/deps`), installed (`rust-src`) or built by a distribution
/// (`/usr/src/rustc-1.97.1/library`).
pub fn is_std_path(file: &str) -> bool {
    if file.starts_with("/rust/deps/") || file.contains("/lib/rustlib/src/rust/library/") {
        return true;
    }
    ["/rustc/", "/usr/src/rustc-", "/builddir/build/BUILD/rustc-", "/build/rustc-"].iter().any(|root| {
        file.strip_prefix(root).and_then(|rest| rest.split_once('/')).is_some_and(|(_, rest)| {
            ["library/", "vendor/", "src/library/"].iter().any(|dir| rest.starts_with(dir))
        })
    })
}

fn is_libc_path(file: &str) -> bool {
    file.contains("wasi-libc") || file.contains("/libc-bottom-half/") || file.contains("/libc-top-half/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(krate: &str, file: &str) -> Frame {
        Frame { krate: krate.into(), function: format!("{krate}::f"), file: file.into(), ..Frame::default() }
    }

    #[test]
    fn the_first_frame_outside_the_libraries_is_the_origin() {
        let frames = [
            frame("", ""),
            frame("wasip1", "/rust/deps/wasip1-1.0.0/src/lib_generated.rs"),
            frame("std", "/usr/src/rustc-1.97.1/library/std/src/fs.rs"),
            // A generic function of std, named after the crate it was instantiated in.
            frame("leaf", "/rustc/8bab26f4f68e0e26f0bb7960be334d5b520ea452/library/std/src/fs.rs"),
            frame("hashbrown", "/rust/deps/hashbrown-0.16.0/src/map.rs"),
            frame("test", ""),
            frame("leaf", "/home/a/leaf/src/lib.rs"),
            frame("top", "/home/a/src/main.rs"),
        ];
        assert_eq!(origin(&frames), Some(6));
        assert_eq!(origin(&frames[..6]), None);
    }

    #[test]
    fn a_programs_own_code_is_found_under_shared_and_foreign_names() {
        assert!(!is_internal(&frame(
            "hashbrown",
            "/home/a/.cargo/registry/src/index/hashbrown-0.16.0/src/map.rs"
        )));
        assert!(!is_internal(&frame("test", "/home/a/test/src/lib.rs")));
        assert!(!is_internal(&frame("", "/home/a/src/exported.rs")));
        assert!(!is_internal(&frame("leaf", "")));
        assert!(!is_std_path("/home/rustc/library/x.rs"));
        assert!(!is_std_path("/rustc/project/src/main.rs"));
    }
}
