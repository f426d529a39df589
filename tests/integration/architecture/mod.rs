//! The house rules of ARCHITECTURE.md, held by reading the sources: who imports whom, where `unsafe` may be, who names
//! which crate, who writes to a terminal, and who exits.
//!
//! The rules look at code only: comments and string literals are blanked first. Each rule is tried on a bad piece of
//! code below, so that a checker that has gone blind is noticed.

mod circles;
mod source;

use source::{Source, blank, imported};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Module, and the modules of the crate it may import besides itself and [`SHARED`]: the table of ARCHITECTURE.md, in its
/// order.
fn imports() -> &'static [(String, Vec<String>)] {
    static TABLE: OnceLock<Vec<(String, Vec<String>)>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
        let table = imports_in(&text);
        assert!(table.len() > 10, "only {} modules are in ARCHITECTURE.md's table of imports", table.len());
        table
    })
}

/// The rows of the table whose header begins with `module | may import`: names in backticks.
fn imports_in(text: &str) -> Vec<(String, Vec<String>)> {
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    text.lines()
        .skip_while(|line| !line.starts_with("| module | may import"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let mut cells = line.trim_matches('|').split('|');
            let mut next = || names(cells.next().expect("two cells"));
            let mut module = next();
            assert_eq!(module.len(), 1, "one module in the first cell: {line}");
            (module.remove(0), next())
        })
        .collect()
}

/// Members of the workspace. What they may import, cargo holds: they name what they depend on.
const MEMBERS: &[&str] = &["policy", "walls"];

/// Crates that only these modules may name.
const CRATES: &[(&str, &[&str])] = &[
    ("wasmtime", &["compile", "wasi", "worker"]),
    ("landlock", &["walls"]),
    ("seccompiler", &["walls"]),
    ("clap", &["cli"]),
    ("clap_cargo", &["cli"]),
    ("cargo_metadata", &["cargo"]),
    ("annotate_snippets", &["report"]),
    ("toml", &["policy", "cargo"]),
    ("toml_edit", &["audit"]),
    ("sandbox_walls", &["cli", "runner", "worker"]),
];

/// The files that may contain `unsafe`, and why.
const UNSAFE: &[(&str, &str)] = &[
    ("crates/walls/src/sys.rs", "system calls that rustix marks unsafe: fork, prctl, descriptors by number"),
    ("src/wasi/memory.rs", "host calls on guest memory in place"),
    (
        "src/cargo/guest/object.rs",
        "the object linked into guests: no_std, and what it calls is libc's; never part of ours",
    ),
    ("src/compile/load.rs", "Module::deserialize trusts its bytes; it is called after confinement"),
];

/// Files that write to a terminal, or end the process, from another module than those that do, and why.
const SIDE_EFFECTS: &[(&str, &str)] = &[
    (
        "src/cargo/wrapper.rs",
        "runs in rustc's place: cargo reads what it writes, and nothing else of ours is there",
    ),
    (
        "src/worker/child/fault_injection.rs",
        "test builds only: a child that behaves as if it were taken over",
    ),
];

/// Modules that may not be imported where they are.
fn wrong_imports(source: &Source) -> Vec<String> {
    let Some(module) = source.module() else { return Vec::new() };
    if module == "bin" || MEMBERS.contains(&module) {
        return Vec::new();
    }
    let Some((_, allowed)) = imports().iter().find(|(name, _)| name == module) else {
        return vec![format!("{}: the module `{module}` is not in the table of imports", source.path)];
    };
    imported(&source.code)
        .into_iter()
        .filter(|name| name != module && !allowed.contains(name))
        // Anything else after `crate::` is an item of the crate's root, and lib.rs has none but modules.
        .map(|name| format!("{}: `{module}` may not import `crate::{name}`", source.path))
        .collect()
}

/// Crates that are named outside the modules that may.
fn wrong_crates(source: &Source) -> Vec<String> {
    let Some(module) = source.module() else { return Vec::new() };
    CRATES
        .iter()
        .filter(|(_, modules)| !modules.contains(&module))
        .filter(|(name, _)| names_crate(&source.code, name))
        .map(|(name, _)| format!("{}: names the crate `{name}`", source.path))
        .collect()
}

fn names_crate(code: &str, name: &str) -> bool {
    // `use sandbox_walls::{landlock, seccomp};` makes the word a module of ours.
    let ours = |statement: &str| {
        let statement = statement.trim_start().trim_start_matches("pub ").trim_start_matches("use ");
        let mut words = statement.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        ["crate::", "super::", "self::", "sandbox_walls::"].iter().any(|root| statement.starts_with(root))
            && words.any(|word| word == name)
    };
    if code.split("use ").skip(1).filter_map(|rest| rest.split(';').next()).any(ours) {
        return false;
    }
    code.match_indices(name).any(|(start, _)| {
        let before = code[..start].trim_end();
        let after = code[start + name.len()..].trim_start();
        let whole = !code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_')
            && !code[start + name.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
        // `crate::kernel::landlock` and `self::landlock` are modules of ours, not the crate; `::landlock` is the crate.
        let ours = before
            .strip_suffix("::")
            .is_some_and(|path| path.ends_with(|c: char| c.is_alphanumeric() || c == '_'));
        let path = after.starts_with("::") || before.ends_with("use") || before.ends_with("use ::");
        whole && !ours && path
    })
}

/// `unsafe` outside the files that may have it.
fn wrong_unsafe(source: &Source) -> Vec<String> {
    let has = source.words().any(|word| word == "unsafe");
    if has && source.module().is_some() && !UNSAFE.iter().any(|(path, _)| *path == source.path) {
        return vec![format!("{}: has `unsafe`", source.path)];
    }
    Vec::new()
}

/// Writing to a terminal outside `report` and `cli`, and exiting outside `bin`.
fn wrong_side_effects(source: &Source) -> Vec<String> {
    let Some(module) = source.module() else { return Vec::new() };
    let compact: String = source.code.split_whitespace().collect();
    let mut found = Vec::new();
    let mut forbid = |what: &str, why: &str| {
        let hit = compact
            .match_indices(what)
            .any(|(start, _)| !compact[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
        if hit {
            found.push(format!("{}: `{what}` {why}", source.path));
        }
    };
    if SIDE_EFFECTS.iter().any(|(path, _)| *path == source.path) {
        return found;
    }
    if !["report", "cli", "bin"].contains(&module) {
        for what in ["print!(", "println!(", "eprint!(", "eprintln!(", "anstream::"] {
            forbid(what, "writes to a terminal, which only `report` and `cli` do");
        }
    }
    // `wasi` has the guest's own streams, which are ours.
    if !["report", "cli", "bin", "wasi"].contains(&module) {
        for what in ["io::stdout()", "io::stderr()"] {
            forbid(what, "writes to a terminal, which only `report` and `cli` do");
        }
    }
    forbid("dbg!(", "is for debugging");
    if module != "bin" {
        for what in ["process::exit(", "process::abort("] {
            forbid(what, "ends the process, which only `bin` does");
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The project's files beneath `folder`, without what builds make.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let entry = entry.expect("a directory entry");
            let kind = entry.file_type().expect("its type");
            let name = entry.file_name();
            if kind.is_dir()
                && !["target", ".git", ".toolchain", "third-party"].iter().any(|skipped| name == *skipped)
            {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).expect("beneath the root").to_str().expect("a plain name").to_owned()
}

fn sources() -> Vec<Source> {
    let sources: Vec<_> = ["src", "crates", "tests"]
        .into_iter()
        .flat_map(files)
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| Source::new(&relative(&path), &fs::read_to_string(&path).expect("a source file")))
        .collect();
    assert!(sources.len() > 10, "only {} source files were found", sources.len());
    sources
}

fn assert_none(rule: fn(&Source) -> Vec<String>) {
    let found: Vec<_> = sources().iter().flat_map(rule).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn modules_import_only_what_the_table_says() {
    assert_none(wrong_imports);
}

#[test]
fn the_table_of_imports_has_no_cycle() {
    // A module may only import those that are above it in the table, so the order is the proof.
    let place: BTreeMap<&str, usize> =
        imports().iter().enumerate().map(|(place, (name, _))| (name.as_str(), place)).collect();
    for (name, allowed) in imports() {
        for other in allowed {
            let above = place.get(other.as_str()).is_some_and(|other| *other < place[name.as_str()]);
            assert!(above, "`{name}` imports `{other}`, which stands below it, or nowhere");
        }
    }
}

#[test]
fn files_of_a_room_import_each_other_in_no_circle() {
    let sources = sources();
    let rooms: Vec<_> = sources.iter().map(Source::as_room).collect();
    let circles = circles::circles(&rooms);
    assert!(circles.is_empty(), "\nfiles that import each other in a circle: {circles:#?}");
}

#[test]
fn crates_are_named_only_where_they_belong() {
    assert_none(wrong_crates);
}

#[test]
fn unsafe_is_only_where_it_is_proven() {
    assert_none(wrong_unsafe);
    for source in sources().iter().filter(|source| UNSAFE.iter().any(|(path, _)| *path == source.path)) {
        let text = fs::read_to_string(root().join(&source.path)).expect("a source file");
        let blocks = source.code.matches("unsafe {").count() + source.code.matches("unsafe impl").count();
        let proofs = text.matches("// SAFETY: ").count();
        assert!(proofs >= blocks, "{}: {blocks} unsafe blocks, {proofs} proofs", source.path);
    }
}

#[test]
fn only_report_and_cli_write_and_only_bin_exits() {
    assert_none(wrong_side_effects);
}

#[test]
fn main_functions_are_short() {
    for source in sources().iter().filter(|source| source.module() == Some("bin")) {
        let start = source.code.find("fn main").unwrap_or_else(|| panic!("{}: no main", source.path));
        let length = source.code[start..].lines().take_while(|line| *line != "}").count() + 1;
        assert!(length <= 15, "{}: main has {length} lines", source.path);
    }
}

/// Package registries are reached through cargo and apt as the machine configures them.
#[test]
fn no_registry_host_is_named() {
    // Written so that this file does not name them either.
    let hosts: Vec<String> = [("deb.debian", "org"), ("archive.ubuntu", "com"), ("static.rust-lang", "org")]
        .into_iter()
        .chain([("index.crates", "io"), ("static.crates", "io"), ("registry.npmjs", "org"), ("pypi", "org")])
        .map(|(name, end)| format!("{name}.{end}"))
        .collect();
    let mut looked_at = 0;
    for path in files("") {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        looked_at += 1;
        for host in &hosts {
            assert!(!text.contains(host.as_str()), "{} names {host}", relative(&path));
        }
    }
    assert!(looked_at > 50, "only {looked_at} files were looked at");
}

/// The rules themselves, on code that breaks each of them and on code that only seems to.
mod the_checker {
    use super::*;

    #[test]
    fn sees_every_way_to_import() {
        let found = |text: &str| imported(&blank(text));
        assert_eq!(found("use crate::wasi::Host;"), ["wasi"]);
        assert_eq!(found("use crate::{access::{A, B}, wasi, kernel::x};"), ["access", "wasi", "kernel"]);
        assert_eq!(found("use crate :: wasi;"), ["wasi"]);
        assert_eq!(found("fn f() -> crate::cli::Args {}"), ["cli"]);
        assert_eq!(found("use crate::{\n    wasi,\n};"), ["wasi"]);
        assert_eq!(found("pub(crate) fn f() {} // crate::wasi"), Vec::<String>::new());
        assert_eq!(
            found("/* crate::a /* crate::b */ crate::c */ let s = \"crate::d\"; r#\"crate::e\"#;"),
            Vec::<String>::new()
        );
        assert_eq!(
            found("let c = '\"'; crate::wasi::f(); let d = '\\''; let l: &'a str = crate::kernel::K;"),
            ["wasi", "kernel"]
        );
    }

    #[test]
    fn reads_the_table_of_the_document() {
        let text = "| a |\n|---|\n\n| module | may import |\n|---|---|\n| `x` | – |\n| `y` | `x`, `z` |\n\n| `w` | |\n";
        let row = |name: &str, others: &[&str]| {
            (name.to_owned(), others.iter().map(|other| (*other).to_owned()).collect())
        };
        assert_eq!(imports_in(text), [row("x", &[]), row("y", &["x", "z"])]);
    }

    #[test]
    fn refuses_an_import_that_the_table_does_not_have() {
        let bad = |path: &str, text: &str| wrong_imports(&Source::new(path, text)).len();
        assert_eq!(bad("src/wasi/fs.rs", "use crate::worker::W;"), 1);
        assert_eq!(bad("src/exit_status.rs", "use crate::event::E;"), 1);
        assert_eq!(bad("src/cli/args.rs", "use crate::wasi::W;"), 1);
        assert_eq!(bad("src/new.rs", ""), 1);
        assert_eq!(bad("src/wasi/fs.rs", "use crate::wasi::W; use sandbox_policy::model::M;"), 0);
    }

    #[test]
    fn refuses_crates_in_the_wrong_module() {
        let bad = |path: &str, text: &str| wrong_crates(&Source::new(path, text)).len();
        assert_eq!(bad("crates/policy/src/lib.rs", "use wasmtime::Engine;"), 1);
        assert_eq!(bad("crates/policy/src/lib.rs", "fn f(e: &::wasmtime::Engine) {}"), 1);
        assert_eq!(bad("src/worker/child/main.rs", "landlock::Ruleset::default()"), 1);
        assert_eq!(bad("src/report/mod.rs", "use clap;"), 1);
        assert_eq!(
            bad("src/worker/child/main.rs", "use sandbox_walls::landlock::Plan; use wasmtime::Engine;"),
            0
        );
        assert_eq!(
            bad(
                "src/worker/child/main.rs",
                "use sandbox_walls::{self as kernel, landlock}; landlock::plan(); "
            ),
            0
        );
        assert_eq!(bad("crates/policy/src/lib.rs", "let landlock_abi = 1; // wasmtime::Engine"), 0);
    }

    #[test]
    fn refuses_unsafe_elsewhere() {
        let bad = |path: &str, text: &str| wrong_unsafe(&Source::new(path, text)).len();
        assert_eq!(bad("src/wasi/fs.rs", "unsafe { f() }"), 1);
        assert_eq!(bad("src/wasi/fs.rs", "unsafe impl Send for X {}"), 1);
        assert_eq!(bad("src/wasi/fs.rs", "#![expect(unsafe_code)] // unsafe"), 0);
        assert_eq!(bad("crates/walls/src/sys.rs", "unsafe { f() }"), 0);
    }

    #[test]
    fn refuses_writing_and_exiting() {
        let bad = |path: &str, text: &str| wrong_side_effects(&Source::new(path, text)).len();
        assert_eq!(bad("src/runner/run.rs", "println!(\"x\")"), 1);
        assert_eq!(bad("src/runner/run.rs", "std::io::stderr().write_all(b)"), 1);
        assert_eq!(bad("src/cli/mod.rs", "std::process::exit(1)"), 1);
        assert_eq!(bad("src/cli/mod.rs", "eprintln!(\"x\")"), 0);
        assert_eq!(bad("src/wasi/stdio.rs", "std::io::stdout()"), 0);
        assert_eq!(bad("src/bin/a.rs", "std::process::exit(1)"), 0);
    }
}
