//! The typed model of the fixtures: for each, what must happen with the grants it ships with and with others.
//!
//! `tests/integration/fixtures.rs` runs every row; a fixture without a row, or a row without a fixture, fails there.

/// A change of a fixture's Cargo.toml.
#[derive(Clone, Copy, Debug)]
pub enum Edit {
    /// Removes the one line that contains the text.
    Without(&'static str),
    /// Replaces text that occurs once.
    Replace(&'static str, &'static str),
    /// Adds lines at the end.
    Append(&'static str),
}

impl Edit {
    /// The changed text.
    ///
    /// # Panics
    /// If the text to change is not there exactly once.
    pub fn apply(self, manifest: &str) -> String {
        let once = |text: &str| {
            assert_eq!(manifest.matches(text).count(), 1, "`{text}` must occur once in:\n{manifest}");
        };
        match self {
            Self::Without(text) => {
                once(text);
                manifest.split_inclusive('\n').filter(|line| !line.contains(text)).collect()
            }
            Self::Replace(from, to) => {
                once(from);
                manifest.replace(from, to)
            }
            Self::Append(text) => format!("{manifest}\n{text}\n"),
        }
    }
}

/// A violation that a run must report.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// `fs-read`
    pub code: &'static str,
    /// Relative to the fixture's root, absolute, or the name of a variable.
    pub resource: &'static str,
    /// Package of the origin.
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Source file of the origin, relative to the fixture's root.
    pub file: &'static str,
    /// Text that is on the origin's line of that file and on no other.
    pub at: &'static str,
}

/// One run of a fixture.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Name of the fixture.
    pub fixture: &'static str,
    /// What is different from the fixture as it ships.
    pub name: &'static str,
    /// Changes of its manifest, in order.
    pub edits: &'static [Edit],
    /// Flags for `sandbox-run`.
    pub flags: &'static [&'static str],
    /// Arguments for the guest.
    pub args: &'static [&'static str],
    /// The exit status.
    pub status: i32,
    /// All violations, in any order.
    pub violations: &'static [Expected],
    /// Text that standard output must contain.
    pub stdout: &'static str,
    /// Text that standard error must contain.
    pub stderr: &'static str,
    /// With the `wasi` wall off, Landlock alone stops it too. It does not cover metadata or the
    /// environment, and cannot express exceptions below a grant, patterns, or one file to be made.
    pub landlock_alone: bool,
}

/// As it ships: exit status 0, nothing reported.
const FINE: Case = Case {
    fixture: "",
    name: "as it ships",
    edits: &[],
    flags: &[],
    args: &[],
    status: 0,
    violations: &[],
    stdout: "",
    stderr: "",
    landlock_alone: false,
};

/// A violation, which Landlock alone would stop as well.
const VIOLATION: Case = Case { status: 77, landlock_alone: true, ..FINE };

/// An access by the fixture's own main.rs.
const fn own(
    package: &'static str,
    code: &'static str,
    resource: &'static str,
    at: &'static str,
) -> Expected {
    Expected { code, resource, package, version: "0.1.0", file: "src/main.rs", at }
}

use Edit::{Append, Replace, Without};

/// Every run of every fixture that `sandbox-run` runs.
pub const CASES: &[Case] = &[
    Case { fixture: "copy-file", stdout: "copied 36 bytes", ..FINE },
    Case {
        fixture: "copy-file",
        name: "without the write",
        edits: &[Without("write =")],
        violations: &[own("copy-file", "fs-create", "output.txt", "fs::write")],
        stderr: "write = [\"output.txt\"]",
        ..VIOLATION
    },
    Case {
        fixture: "copy-file",
        name: "without any table",
        edits: &[Without("[package.metadata.sandbox.fs]"), Without("read ="), Without("write =")],
        violations: &[own("copy-file", "fs-read", "input.txt", "fs::read_to_string")],
        stderr: "read = [\"input.txt\"]",
        ..VIOLATION
    },
    Case { fixture: "read", stdout: "the data", ..FINE },
    Case {
        fixture: "read",
        name: "without the grant",
        edits: &[Without("read =")],
        violations: &[own("read", "fs-read", "data.txt", "fs::read_to_string(\"data.txt\")")],
        ..VIOLATION
    },
    Case {
        fixture: "read",
        name: "a sibling whose name begins alike",
        args: &["sibling"],
        violations: &[own("read", "fs-read", "data.txt.bak", "fs::read_to_string(\"data.txt.bak\")")],
        ..VIOLATION
    },
    Case { fixture: "write", stdout: "appended", ..FINE },
    Case {
        fixture: "write",
        name: "without the grant",
        edits: &[Without("modify =")],
        violations: &[own("write", "fs-modify", "log.txt", ".open(\"log.txt\")")],
        ..VIOLATION
    },
    Case {
        fixture: "write",
        name: "reading back",
        args: &["read-back"],
        violations: &[own("write", "fs-read", "log.txt", "fs::read_to_string")],
        ..VIOLATION
    },
    Case { fixture: "create", stdout: "created", ..FINE },
    Case {
        fixture: "create",
        name: "without the grants",
        edits: &[Without("create =")],
        violations: &[own("create", "fs-create", "made.txt", ".open(\"made.txt\")")],
        ..VIOLATION
    },
    Case {
        fixture: "create",
        name: "without the directory",
        edits: &[Replace("\"made.txt\", \"made\"", "\"made.txt\"")],
        violations: &[own("create", "fs-create", "made", "fs::create_dir")],
        landlock_alone: false,
        ..VIOLATION
    },
    Case { fixture: "delete", stdout: "deleted", ..FINE },
    Case {
        fixture: "delete",
        name: "without the grants",
        edits: &[Without("delete =")],
        violations: &[own("delete", "fs-delete", "old.txt", "fs::remove_file(\"old.txt\")")],
        ..VIOLATION
    },
    Case { fixture: "rename", stdout: "renamed", ..FINE },
    Case {
        fixture: "rename",
        name: "without the new name",
        edits: &[Replace(", \"to.txt\"", "")],
        violations: &[own("rename", "fs-create", "to.txt", "fs::rename")],
        // The smallest rule for creating or deleting a name is one on its directory.
        landlock_alone: false,
        ..VIOLATION
    },
    Case {
        fixture: "rename",
        name: "without the old name",
        edits: &[Replace("\"from.txt\", ", "")],
        violations: &[own("rename", "fs-delete", "from.txt", "fs::rename")],
        landlock_alone: false,
        ..VIOLATION
    },
    Case { fixture: "listing", stdout: "a.txt b.txt sub", ..FINE },
    Case {
        fixture: "listing",
        name: "without the grant",
        edits: &[Without("list =")],
        violations: &[own("listing", "fs-list", "folder", "fs::read_dir")],
        ..VIOLATION
    },
    Case {
        fixture: "listing",
        name: "opening what it listed",
        args: &["open"],
        violations: &[own("listing", "fs-read", "folder/a.txt", "fs::read_to_string")],
        ..VIOLATION
    },
    Case { fixture: "stat-only", stdout: "9 bytes", ..FINE },
    Case {
        fixture: "stat-only",
        name: "without the grant",
        edits: &[Without("stat =")],
        violations: &[own("stat-only", "fs-stat", "data.txt", "fs::metadata")],
        landlock_alone: false,
        ..VIOLATION
    },
    Case {
        fixture: "stat-only",
        name: "reading",
        args: &["read"],
        violations: &[own("stat-only", "fs-read", "data.txt", "fs::read_to_string")],
        ..VIOLATION
    },
    Case { fixture: "deny-inside-grant", stdout: "for everyone", ..FINE },
    Case {
        fixture: "deny-inside-grant",
        name: "further below",
        args: &["deep/er.txt"],
        stdout: "below",
        ..FINE
    },
    Case {
        fixture: "deny-inside-grant",
        name: "the exception",
        args: &["secret.pem"],
        violations: &[own("deny-inside-grant", "fs-read", "assets/secret.pem", "fs::read_to_string")],
        landlock_alone: false,
        ..VIOLATION
    },
    Case { fixture: "hide", stdout: "no such file", ..FINE },
    Case { fixture: "any-access", args: &["read", "data/one"], stdout: "works", ..FINE },
    Case {
        fixture: "hide",
        name: "without the exception",
        edits: &[Without("hide =")],
        violations: &[own("hide", "fs-read", "optional.toml", "fs::read_to_string")],
        ..VIOLATION
    },
    Case { fixture: "glob", stdout: "a,b\ndeep leaf\nleaf\na star\n", ..FINE },
    Case {
        fixture: "glob",
        name: "another ending",
        args: &["data/a.txt"],
        violations: &[own("glob", "fs-read", "data/a.txt", "fs::read_to_string(other)")],
        landlock_alone: false,
        ..VIOLATION
    },
    Case { fixture: "tmp", stdout: "/", ..FINE },
    Case { fixture: "as-tmp", stdout: "nothing of others is there", ..FINE },
    Case {
        fixture: "as-tmp",
        name: "as itself",
        edits: &[Replace("{ path = \"{tmp}\", as = \"/tmp\" }", "\"{tmp}\"")],
        violations: &[own("as-tmp", "fs-create", "/tmp/cargo-sandbox-fixture", "\"left behind\")?")],
        stderr: "write = [{ path = \"{tmp}\", as = \"/tmp\" }]",
        ..VIOLATION
    },
    Case { fixture: "env", stdout: "TZ=UTC\n0 foreign variables", ..FINE },
    Case {
        fixture: "env",
        name: "another name",
        args: &["FOREIGN"],
        violations: &[own("env", "env-read", "FOREIGN", "env::var(&name)")],
        landlock_alone: false,
        ..VIOLATION
    },
    Case { fixture: "cwd", ..FINE },
    Case {
        fixture: "cwd",
        name: "above the package",
        args: &["above"],
        violations: &[own("cwd", "fs-read", "../outside.txt", "../outside.txt")],
        ..VIOLATION
    },
    Case { fixture: "dependency", stdout: "some users", ..FINE },
    Case {
        fixture: "dependency",
        name: "without the grant",
        edits: &[Without("read =")],
        violations: &[DEEP_READER],
        stdout: "cannot tell",
        stderr: "deep-reader v0.3.1",
        ..VIOLATION
    },
    Case {
        fixture: "dependency",
        name: "granted to the one that reads",
        edits: &[Replace("[\"/etc/passwd\"]", "[{ path = \"/etc/passwd\", by = [\"deep-reader\"] }]")],
        stdout: "some users",
        ..FINE
    },
    Case {
        fixture: "dependency",
        name: "granted to the one in between",
        edits: &[Replace("[\"/etc/passwd\"]", "[{ path = \"/etc/passwd\", by = [\"middle\"] }]")],
        violations: &[DEEP_READER],
        landlock_alone: false,
        ..VIOLATION
    },
    Case { fixture: "swallowed", stdout: "all is well", ..FINE },
    Case {
        fixture: "swallowed",
        name: "without the grant",
        edits: &[Without("read =")],
        violations: &[own("swallowed", "fs-read", "/etc/passwd", "File::open")],
        stdout: "all is well",
        ..VIOLATION
    },
    Case { fixture: "panic", status: 101, stderr: "on purpose", ..FINE },
    Case { fixture: "exit-code", status: 3, stdout: "exiting with 3", ..FINE },
    Case {
        fixture: "exit-code",
        name: "a number of ours",
        args: &["77"],
        status: 77,
        stdout: "exiting with 77",
        ..FINE
    },
    Case { fixture: "exit-code", name: "none", args: &["0"], ..FINE },
    Case { fixture: "trap", status: 134, stdout: "about to trap", ..FINE },
    Case { fixture: "trap", name: "memory", args: &["memory"], status: 134, stderr: "out of bounds", ..FINE },
    Case { fixture: "stack-overflow", status: 134, stderr: "stack", ..FINE },
    Case { fixture: "endless-loop", status: 124, stdout: "starting", ..FINE },
    Case { fixture: "endless-loop", name: "ending", args: &["end"], stdout: "ended", ..FINE },
    Case { fixture: "memory-bomb", status: 134, stderr: "memory", ..FINE },
    Case { fixture: "memory-bomb", name: "a small one", args: &["8"], stdout: "took 8 MiB", ..FINE },
    Case { fixture: "output-flood", status: 134, stderr: "output", ..FINE },
    Case { fixture: "output-flood", name: "a trickle", args: &["3"], stdout: "0000002\n", ..FINE },
    Case { fixture: "stuck-calls", stdout: "connect: true", stderr: "note", ..FINE },
    Case { fixture: "workspace", flags: &["-p", "alpha"], stdout: "shared", ..FINE },
    Case {
        fixture: "workspace",
        name: "a member that inherits nothing",
        flags: &["-p", "beta"],
        violations: &[Expected {
            code: "fs-read",
            resource: "shared.txt",
            package: "beta",
            version: "0.1.0",
            file: "beta/src/main.rs",
            at: "fs::read_to_string",
        }],
        ..VIOLATION
    },
    Case {
        fixture: "workspace",
        name: "what the workspace denies",
        flags: &["-p", "alpha"],
        args: &["never.txt"],
        violations: &[Expected {
            code: "fs-read",
            resource: "never.txt",
            package: "alpha",
            version: "0.1.0",
            file: "alpha/src/main.rs",
            at: "fs::read_to_string",
        }],
        landlock_alone: false,
        ..VIOLATION
    },
    Case { fixture: "two-bins", name: "one", flags: &["--bin", "one"], stdout: "one: data", ..FINE },
    Case {
        fixture: "two-bins",
        name: "two",
        flags: &["--bin", "two"],
        violations: &[Expected {
            code: "fs-read",
            resource: "data.txt",
            package: "two-bins",
            version: "0.1.0",
            file: "src/bin/two.rs",
            at: "fs::read_to_string",
        }],
        ..VIOLATION
    },
    Case {
        fixture: "two-bins",
        name: "with a default",
        edits: &[Replace("publish = false", "publish = false\ndefault-run = \"one\"")],
        stdout: "one: data",
        ..FINE
    },
    Case { fixture: "two-bins", name: "none chosen", status: 2, stderr: "--bin", ..FINE },
    Case { fixture: "lib-only", status: 2, stderr: "lib-only", ..FINE },
    Case {
        fixture: "with-examples",
        name: "the example",
        flags: &["--example", "reader"],
        stdout: "example: data",
        ..FINE
    },
    Case {
        fixture: "with-examples",
        name: "the binary",
        violations: &[own("with-examples", "fs-read", "data.txt", "fs::read_to_string")],
        ..VIOLATION
    },
    Case { fixture: "build-fails", status: 101, stderr: "E0308", ..FINE },
    Case {
        fixture: "remap",
        violations: &[Expected {
            code: "fs-read",
            resource: "/etc/hostname",
            package: "remap",
            version: "0.1.0",
            file: "/etc/passwd",
            at: "",
        }],
        ..VIOLATION
    },
    Case { fixture: "escapes", name: "what is granted", args: &["control"], stdout: "control: fine", ..FINE },
    // Wrong manifests: nothing is built, and the message points at the line.
    Case {
        fixture: "read",
        name: "an unknown key",
        edits: &[Replace("read = [", "raed = [")],
        status: 78,
        stderr: "`read`",
        ..FINE
    },
    Case {
        fixture: "read",
        name: "a wrong type",
        edits: &[Replace("[\"data.txt\"]", "\"data.txt\"")],
        status: 78,
        stderr: "Cargo.toml:11",
        ..FINE
    },
    Case {
        fixture: "read",
        name: "an unknown variable",
        edits: &[Replace("data.txt", "{hom}/data.txt")],
        status: 78,
        stderr: "hom",
        ..FINE
    },
    Case {
        fixture: "read",
        name: "a bad glob",
        edits: &[Replace("data.txt", "data[.txt")],
        status: 78,
        stderr: "data[.txt",
        ..FINE
    },
    Case {
        fixture: "read",
        name: "a syntax error",
        edits: &[Append("[[[")],
        status: 78,
        stderr: "Cargo.toml",
        ..FINE
    },
];

const DEEP_READER: Expected = Expected {
    code: "fs-read",
    resource: "/etc/passwd",
    package: "deep-reader",
    version: "0.3.1",
    file: "deep-reader/src/lib.rs",
    at: "fs::read_to_string",
};

/// One attempt of the fixture `escapes`.
#[derive(Clone, Copy, Debug)]
pub struct Escape {
    /// Its name there.
    pub name: &'static str,
    /// How the code of a violation begins that must be reported: `fs-read`, or `fs-` where the operation is a matter
    /// of taste. Empty where it must be stopped, but a plain error is right too: a name that is too long, a handle
    /// that was opened for something else.
    pub code: &'static str,
    /// With the `wasi` wall off, Landlock alone stops it too.
    pub landlock_alone: bool,
}

const fn both(name: &'static str, code: &'static str) -> Escape {
    Escape { name, code, landlock_alone: true }
}

/// Landlock does not cover metadata, link targets, current directories or times.
const fn wasi_only(name: &'static str, code: &'static str) -> Escape {
    Escape { name, code, landlock_alone: false }
}

/// The grant to write `open` is one to remove and make `open` itself as well. For Landlock those are rights on the
/// directory that it lies in, which reach every directory there; the plan says so.
const fn beside(name: &'static str, code: &'static str) -> Escape {
    Escape { name, code, landlock_alone: false }
}

/// Every attempt, in the fixture's order.
pub const ESCAPES: &[Escape] = &[
    both("plain", "fs-read"),
    both("dot-dot", "fs-read"),
    both("dot-dot-deep", "fs-read"),
    both("dot-dot-above-root", "fs-read"),
    both("absolute", "fs-read"),
    both("double-slash", "fs-read"),
    both("trailing-slash", "fs-"),
    both("trailing-dot", "fs-"),
    both("many-dots", "fs-read"),
    both("long-detour", "fs-read"),
    both("long-component", ""),
    both("long-path", ""),
    both("not-utf-8", "fs-read"),
    both("control-characters", "fs-read"),
    both("link-relative", "fs-read"),
    both("link-absolute", "fs-read"),
    both("link-directory", "fs-read"),
    both("link-then-dot-dot", "fs-"),
    both("link-chain", "fs-read"),
    both("link-trailing-slash", "fs-"),
    both("link-list", "fs-list"),
    both("link-write", "fs-"),
    both("link-create-through", "fs-"),
    both("link-own", "fs-"),
    wasi_only("link-read-target", "fs-stat"),
    both("hard-link-in", "fs-"),
    both("hard-link-readonly", "fs-"),
    both("rename-in", "fs-"),
    both("rename-directory-in", "fs-"),
    both("rename-readonly", "fs-"),
    both("rename-out", "fs-create"),
    both("rename-over", "fs-"),
    both("truncate-on-open", "fs-modify"),
    both("truncate-handle", ""),
    both("write-handle", ""),
    both("append", "fs-modify"),
    wasi_only("set-times", "fs-modify"),
    both("create", "fs-create"),
    both("create-in-readonly", "fs-create"),
    beside("create-directory", "fs-create"),
    both("create-directory-above", "fs-create"),
    both("create-link-outside", "fs-create"),
    both("delete", "fs-delete"),
    both("delete-readonly", "fs-delete"),
    beside("delete-directory", "fs-delete"),
    both("delete-directory-above", "fs-delete"),
    wasi_only("stat", "fs-stat"),
    wasi_only("stat-link", "fs-stat"),
    both("list-secret", "fs-list"),
    wasi_only("chdir", "fs-stat"),
    wasi_only("oracle", "fs-"),
    both("handle-dot-dot", "fs-"),
    both("handle-absolute", ""),
    both("handle-link", "fs-"),
    both("root-listing", "fs-list"),
    both("proc-root", "fs-"),
    both("proc-cwd", "fs-"),
    both("proc-environ", "fs-"),
    both("proc-descriptors", "fs-"),
    both("proc-exe", "fs-"),
    both("proc-memory", "fs-"),
    both("device", "fs-"),
];

/// What must be said of each test of the fixture `tests-verdicts`: `passed`, `failed`, `violated`, `timed-out`,
/// `ignored`. A violated test that passes says so in the report.
pub const VERDICTS: &[(&str, &str)] = &[
    ("passes", "passed"),
    ("fails", "failed"),
    ("panics", "failed"),
    ("returns_an_error", "failed"),
    ("should_panic_and_does", "passed"),
    ("should_panic_and_does_not", "failed"),
    ("should_panic_with_the_right_text", "passed"),
    ("should_panic_with_the_wrong_text", "failed"),
    ("should_panic_and_exits", "failed"),
    ("should_panic_and_traps", "failed"),
    ("reads_ungranted_and_passes", "violated"),
    ("reads_ungranted_and_swallows", "violated"),
    ("reads_ungranted_and_fails", "violated"),
    ("loops_without_end", "timed-out"),
    ("overflows_the_stack", "failed"),
    ("exits_in_the_middle", "failed"),
    ("traps", "failed"),
    ("prints_100_megabytes", "failed"),
    ("leaves_files_behind", "passed"),
    ("pretends_to_be_libtest", "failed"),
    ("is_ignored", "ignored"),
    ("is_ignored_for_a_reason", "ignored"),
];

/// Fixtures for `sandbox-test`, which have no row in [`CASES`].
pub const TEST_FIXTURES: &[&str] = &[
    "folders",
    "phases",
    "should-panic",
    "tests-as-tmp",
    "tests-case",
    "tests-doc",
    "tests-kinds",
    "tests-tmp",
    "tests-verdicts",
    "thousand",
];
