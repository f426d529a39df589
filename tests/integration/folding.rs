//! Directories that ignore case and more, by the `wasi` wall and by the real binary: whatever a guest calls
//! it, what is denied stays as it is and unread.

use crate::folding_support::{is_known, mounted, snapshot};
use crate::wasi_support::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sandbox_policy::access::{ExceptionId, Operation};
use sandbox_policy::{Component, Exception, ExceptionKind, PathBase, PathPattern};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

/// Everything in `folder` is granted but what is called like this, anywhere.
fn excepting(folder: &Path, kind: ExceptionKind, name: &str) -> Run {
    let name = match name.strip_prefix('*') {
        None => Component::Literal(name.as_bytes().to_vec()),
        Some(end) => Component::Glob(vec![None, Some(end.as_bytes().to_vec())]),
    };
    let mut pattern = pattern(folder);
    pattern.components.extend([Component::AnyDepth, name]);
    debug_assert_eq!(pattern.base, PathBase::Root);
    except(run().grant("read", folder).grant("write", folder), kind, pattern)
}

fn except(mut run: Run, kind: ExceptionKind, pattern: PathPattern) -> Run {
    let id = ExceptionId(run.policy.exceptions.len() as u32);
    run.policy.exceptions.push(Exception { id, kind, ..Exception::protected(0, pattern) });
    run
}

/// The same, behind what is known of the folder's file system.
fn folding(mut run: Run, folder: &Path) -> Run {
    run.folding = vec![folder.to_owned()];
    run
}

/// One process for all of them, since each has to translate the guest first.
#[test]
fn the_wasi_wall_decides_by_the_names_that_directories_have() {
    type Check = (&'static str, fn(&Path));
    let checks: &[Check] = &[
        ("no_other_name_leads_to_what_is_excepted", no_other_name_leads_to_what_is_excepted),
        (
            "what_is_protected_is_not_made_under_another_name",
            what_is_protected_is_not_made_under_another_name,
        ),
        ("a_short_name_is_decided_by_the_long_one", a_short_name_is_decided_by_the_long_one),
        ("what_is_granted_works_by_any_name", what_is_granted_works_by_any_name),
        ("a_grant_counts_for_the_name_that_is_there", a_grant_counts_for_the_name_that_is_there),
        ("what_cannot_be_known_is_refused_and_says_why", what_cannot_be_known_is_refused_and_says_why),
        ("an_audit_holds_its_envelope_too", an_audit_holds_its_envelope_too),
        (
            "random_programs_neither_read_nor_change_what_is_excepted",
            random_programs_neither_read_nor_change_what_is_excepted,
        ),
    ];
    mounted("folding::the_wasi_wall_decides_by_the_names_that_directories_have", |mount| {
        assert!(is_known(mount), "a FUSE file system may fold");
        for (name, check) in checks {
            println!("{name}");
            let folder = mount.join(name);
            fs::create_dir(&folder).unwrap();
            check(&folder);
        }
    });
}

/// Other names for `secret.pem`: by case, Unicode, ends, short names, streams.
const SPELLINGS: &[&str] = &[
    "SECRET.PEM",
    "Secret.pem",
    "secret.PEM",
    "\u{17f}ecret.pem",
    "secret\u{200d}.pem",
    "secret.pem.",
    "secret.pem...",
    "secret.pem::$DATA",
    "SECRET.PEM.",
];

/// Each way to read or change a file by name.
const WAYS: &[&str] = &[
    "read @",
    "stat @",
    "lstat @",
    "write @ gone",
    "modify @ gone",
    "append @ gone",
    "truncate @",
    "create-new @ gone",
    "remove @",
    "rename @ #/plain",
    "rename #/mine @",
    "link @ #/plain",
    "link #/mine @",
    "symlink mine @",
    "readlink @",
    "mkdir @",
    "rmdir @",
    "read #/sub/../@",
    "list @",
];

fn no_other_name_leads_to_what_is_excepted(folder: &Path) {
    fs::write(folder.join("secret.pem"), "secret").unwrap();
    fs::create_dir(folder.join("sub")).unwrap();
    for spelling in SPELLINGS {
        assert!(folder.join(spelling).exists(), "the file system folds `{spelling}`");
        for way in WAYS {
            fs::write(folder.join("mine"), "mine").unwrap();
            let before = snapshot(folder);
            let at = match way.contains("../@") {
                true => (*spelling).to_owned(),
                false => folder.join(spelling).display().to_string(),
            };
            let step = way.replace('@', &at).replace('#', &folder.display().to_string());
            let run = folding(excepting(folder, ExceptionKind::Deny, "*.pem"), folder);
            let ended = run.probe(&step);
            assert_eq!(ended.lines, [DENIED], "{step}: {:?}", ended.trap);
            assert!(!ended.violations().is_empty(), "{step}");
            assert_eq!(snapshot(folder), before, "{step}");
        }
    }
}

fn what_is_protected_is_not_made_under_another_name(folder: &Path) {
    let spellings = ["CARGO.TOML", "cargo.toml", "Cargo.toml.", "Cargo\u{200b}.toml", "Cargo.toml::$DATA"];
    for spelling in spellings {
        for way in
            ["write @ x", "create-new @ x", "mkdir @", "symlink mine @", "link #/mine @", "rename #/mine @"]
        {
            fs::write(folder.join("mine"), "mine").unwrap();
            let before = snapshot(folder);
            let at = folder.join(spelling).display().to_string();
            let step = way.replace('@', &at).replace('#', &folder.display().to_string());
            let run = folding(excepting(folder, ExceptionKind::Protected, "Cargo.toml"), folder);
            let ended = run.probe(&step);
            assert_eq!(ended.lines, [DENIED], "{step}: {:?}", ended.trap);
            assert_eq!(snapshot(folder), before, "{step}");
        }
    }
    // Under a directory that is one in other letters.
    fs::create_dir(folder.join(".cargo")).unwrap();
    let step = format!("write {}/.CARGO/config.toml x", folder.display());
    let ended = folding(excepting(folder, ExceptionKind::Protected, ".cargo"), folder).probe(&step);
    assert_eq!(ended.lines, [DENIED]);
    assert_eq!(fs::read_dir(folder.join(".cargo")).unwrap().count(), 0);
}

fn a_short_name_is_decided_by_the_long_one(folder: &Path) {
    fs::write(folder.join("credentials.json"), "secret").unwrap();
    assert!(folder.join("CREDEN~1.JSO").exists(), "the file system has short names");
    let before = snapshot(folder);
    for way in ["read @", "write @ x", "remove @", "rename @ #/x", "stat @"] {
        let at = folder.join("CREDEN~1.JSO").display().to_string();
        let step = way.replace('@', &at).replace('#', &folder.display().to_string());
        let ended = folding(excepting(folder, ExceptionKind::Deny, "credentials.json"), folder).probe(&step);
        assert_eq!(ended.lines, [DENIED], "{step}");
        let denied = ended.seen.violations.first().expect("a violation");
        assert!(denied.access.resource.bytes().ends_with(b"/credentials.json"), "{step}");
        assert_eq!(snapshot(folder), before, "{step}");
    }
    let step = format!("read {}/CREDEN~1.JSO", folder.display());
    folding(run().grant("read", folder.join("credentials.json")).grant("list", folder), folder)
        .probe(&step)
        .fine(&["ok secret"]);
}

fn what_is_granted_works_by_any_name(folder: &Path) {
    let grant = || folding(excepting(folder, ExceptionKind::Protected, "Cargo.toml"), folder);
    let steps = "mkdir @/Sub -- write @/Sub/Data.txt one -- read @/sub/DATA.TXT -- modify @/SUB/data.txt two -- \
        read @/Sub/Data.txt -- rename @/sub/data.txt @/sub/other.txt -- list @/SUB -- \
        symlink other.txt @/sub/link -- read @/SUB/LINK -- link @/sub/OTHER.txt @/sub/hard -- \
        create-new @/sub/HARD x -- remove @/sub/Link -- remove @/SUB/hard -- remove @/sub/other.TXT -- \
        rmdir @/SUB -- list @";
    let ended = grant().probe(&steps.replace('@', &folder.display().to_string()));
    assert_eq!(ended.violations(), [""; 0]);
    let (ok, text) = ("ok".to_owned(), |text: &str| format!("ok {text}"));
    assert_eq!(ended.lines[2], text("one"));
    assert_eq!(ended.lines[4], text("two"));
    assert_eq!(ended.lines[6], text("other.txt"));
    assert_eq!(ended.lines[8], text("two"));
    assert_eq!(ended.lines[10], EXISTS);
    assert_eq!(ended.lines[11..15], [&ok, &ok, &ok, &ok].map(Clone::clone));
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
}

fn a_grant_counts_for_the_name_that_is_there(folder: &Path) {
    fs::create_dir(folder.join("data")).unwrap();
    for name in ["data/a.csv", "data/B.CSV", "data/long-name.csvx"] {
        fs::write(folder.join(name), name).unwrap();
    }
    let mut csv = pattern(&folder.join("data"));
    csv.components.push(Component::Glob(vec![None, Some(b".csv".to_vec())]));
    let run = || {
        let mut run = run().grant("read", folder).grant("list", folder.join("data"));
        run.policy.grants[0].pattern = sandbox_policy::GrantPattern::Path(csv.clone());
        folding(run, folder)
    };
    let read = |name: &str| run().probe(&format!("read {}/{name}", folder.display())).lines;
    assert_eq!(read("data/a.csv"), ["ok data/a.csv"]);
    assert_eq!(read("data/A.CSV"), ["ok data/a.csv"]);
    // `*.csv` does not name these.
    assert_eq!(read("data/b.csv"), [DENIED]);
    assert_eq!(read("data/longna~1.csv"), [DENIED]);
}

fn what_cannot_be_known_is_refused_and_says_why(folder: &Path) {
    fs::create_dir(folder.join("out")).unwrap();
    for name in ["one", "two"] {
        fs::write(folder.join("out").join(name), name).unwrap();
    }
    // Two names of one file, and a third that folds to neither: a short one.
    fs::write(folder.join("out/long-name.text"), "text").unwrap();
    fs::hard_link(folder.join("out/long-name.text"), folder.join("out/other-name.text")).unwrap();
    let step = format!("read {}/out/LONGNA~1.TEX", folder.display());
    let ended = folding(excepting(folder, ExceptionKind::Deny, "other-*"), folder).probe(&step);
    assert_eq!(ended.lines, [DENIED]);
    assert!(ended.seen.violations[0].note.contains("by another name"), "{:?}", ended.seen.violations);
    // What is not granted at all has nothing to do with it.
    let ended = folding(run().grant("read", folder.join("out/one")), folder).probe(&step);
    assert_eq!(ended.lines, [DENIED]);
    assert_eq!(ended.seen.violations[0].note, "");
}

fn an_audit_holds_its_envelope_too(folder: &Path) {
    fs::write(folder.join("Cargo.toml"), "manifest").unwrap();
    let before = snapshot(folder);
    for step in
        ["write @/CARGO.TOML x", "remove @/cargo.toml", "write @/BUILD.RS x", "rename @/CARGO.toml @/x"]
    {
        let mut envelope = excepting(folder, ExceptionKind::Protected, "Cargo.toml");
        let mut sources = pattern(folder);
        sources.components.extend([Component::AnyDepth, Component::Glob(vec![None, Some(b".rs".to_vec())])]);
        envelope = except(envelope, ExceptionKind::Protected, sources);
        let ended =
            folding(run().audit(envelope), folder).probe(&step.replace('@', &folder.display().to_string()));
        assert_eq!(ended.lines, [DENIED], "{step}");
        assert_eq!(snapshot(folder), before, "{step}");
    }
}

/// Random programs over few names in all spellings: what is excepted is neither changed nor read.
fn random_programs_neither_read_nor_change_what_is_excepted(folder: &Path) {
    let names = &["secret.pem", "other", "Sub", "cargo.toml", "long-secret.pemx"];
    let spelled = (0..names.len(), any::<u16>(), 0..4u8).prop_map(|(name, bits, end)| {
        let letters = names[name].char_indices().map(|(at, char)| match bits >> at & 1 {
            0 => char,
            _ => char.to_uppercase().next().unwrap_or(char),
        });
        let text: String = letters.collect();
        match (end, name) {
            (0, 4) => "LONGSE~1.PEM".to_owned(),
            (1, _) => format!("{text}."),
            (2, _) => text.replace(['s', 'S'], "\u{17f}"),
            _ => text,
        }
    });
    let path = prop_oneof![spelled.clone(), spelled.prop_map(|name| format!("sUB/{name}"))];
    let step = (0..WAYS.len(), path.clone(), path).prop_map(|(way, one, two)| {
        let way = WAYS[way].replace("#/sub/../@", "@").replace("#/plain", "%").replace("#/mine", "%");
        way.replace('@', &format!("#/{one}")).replace('%', &format!("#/{two}"))
    });
    let programs = prop::collection::vec(step, 1..12);
    let mut runner = TestRunner::new(Config { cases: 150, failure_persistence: None, ..Config::default() });
    let count = std::cell::Cell::new(0);
    let result = runner.run(&programs, |steps| {
        count.set(count.get() + 1);
        let folder = folder.join(count.get().to_string());
        fs::create_dir_all(folder.join("sub")).unwrap();
        let kept = ["secret.pem", "sub/Secret.pem", "sub/Cargo.toml", "long-secret.pemx"];
        for name in kept {
            fs::write(folder.join(name), "kept secret").unwrap();
        }
        fs::write(folder.join("other"), "other").unwrap();
        let mut run = folding(excepting(&folder, ExceptionKind::Deny, "*.pem"), &folder);
        let mut long = pattern(&folder);
        long.components.extend([Component::AnyDepth, Component::Literal(b"long-secret.pemx".to_vec())]);
        run = except(run, ExceptionKind::Deny, long.clone());
        long.components.pop();
        long.components.push(Component::Literal(b"Cargo.toml".to_vec()));
        run = except(run, ExceptionKind::Protected, long);
        let ended = run.probe(&steps.join(" -- ").replace('#', &folder.display().to_string()));
        prop_assert_eq!(ended.lines.len(), steps.len(), "{:?}", ended.trap);
        let secrets = ended.lines.iter().zip(&steps).filter(|(line, step)| {
            // A protected file may be read.
            line.contains("kept") && !step.to_lowercase().contains("cargo")
        });
        prop_assert_eq!(secrets.count(), 0, "{:?}", ended.lines);
        // A protected file's directory may not have been moved either, nor anything that stands for it.
        for name in kept {
            let text = fs::read_to_string(folder.join(name)).ok();
            prop_assert_eq!(text.as_deref(), Some("kept secret"), "{}: {:?}", name, ended.lines);
        }
        let all = snapshot(&folder);
        let secrets = all.iter().filter(|(_, text)| text.as_deref() == Some("kept secret")).count();
        prop_assert_eq!(secrets, kept.len(), "{:?}", all);
        let own = |name: &str| all.iter().any(|(path, _)| path.ends_with(name));
        prop_assert!(kept.iter().all(|name| own(name)), "{:?}", all);
        fs::remove_dir_all(&folder).unwrap();
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    println!("{} programs", count.get());
}

/// Where names are told apart, nothing is different for not knowing it.
#[test]
fn what_does_not_fold_behaves_the_same_when_it_may() {
    let names =
        prop::sample::select(vec!["a", "b", "Cargo.toml", "secret.pem", "sub/a", "sub/b", "sub", "no/x"]);
    let step = (0..WAYS.len(), names.clone(), names).prop_map(|(way, one, two)| {
        let way = WAYS[way].replace("#/plain", "%").replace("#/mine", "%");
        let one = if way.contains("../@") { one.to_owned() } else { format!("#/{one}") };
        way.replace('@', &one).replace('%', &format!("#/{two}"))
    });
    let programs = prop::collection::vec(step, 1..10);
    let mut runner = TestRunner::new(Config { cases: 150, failure_persistence: None, ..Config::default() });
    let result = runner.run(&programs, |steps| {
        let ran = [false, true].map(|may_fold| {
            let place = place();
            place
                .file("sub/b", "b")
                .file("a", "a")
                .file("secret.pem", "secret")
                .file("sub/secret.pem", "secret");
            let folder = place.path("");
            let mut run = excepting(&folder, ExceptionKind::Deny, "*.pem");
            let mut protected = pattern(&folder);
            protected.components.extend([Component::AnyDepth, Component::Literal(b"Cargo.toml".to_vec())]);
            run = except(run, ExceptionKind::Protected, protected);
            run.folding = if may_fold { vec!["/".into()] } else { Vec::new() };
            let at = folder.display().to_string();
            let ended = run.probe(&steps.join(" -- ").replace("#/", &at));
            let plain = |text: &String| text.replace(&at, "#/");
            let left = snapshot(&folder)
                .into_iter()
                .map(|(path, text)| (path.strip_prefix(&folder).unwrap().to_owned(), text));
            let said: Vec<_> = ended.violations().iter().map(plain).collect();
            (ended.lines.iter().map(plain).collect::<Vec<_>>(), said, left.collect::<Vec<_>>())
        });
        prop_assert_eq!(&ran[0], &ran[1]);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

/// The whole program, with the kernel's walls, in a package that lies on such a file system.
#[test]
fn the_binary_knows_by_itself_and_every_wall_agrees() {
    mounted("folding::the_binary_knows_by_itself_and_every_wall_agrees", |mount| {
        let package = mount.join("package");
        for folder in ["src", "data", "out"] {
            fs::create_dir_all(package.join(folder)).unwrap();
        }
        for (name, text) in [
            ("src/lib.rs", ""),
            ("data/a.txt", "a"),
            ("data/secret.pem", "secret"),
            ("out/Cargo.toml", "manifest"),
            ("out/other.txt", "other"),
        ] {
            fs::write(package.join(name), text).unwrap();
        }
        let wasm = include_str!("guests/actor.wat").trim_end().strip_suffix(')').expect("a module ends so");
        let wasm = wat::parse_str(format!("{wasm} (@custom \"cargo-sandbox\" \"1\"))")).unwrap();
        fs::write(package.join("x.wasm"), wasm).unwrap();
        let run = |grants: &str, act: &str, path: &str| {
            let head = "[package]\nname = \"x\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
            let manifest = format!("{head}[package.metadata.sandbox.fs]\n{grants}\n");
            fs::write(package.join("Cargo.toml"), manifest).unwrap();
            let path = package.join(path);
            let output = Command::new(env!("CARGO_BIN_EXE_cargo-sandbox"))
                .args(["runner", "--no-cache"])
                .arg(package.join("x.wasm"))
                .arg(act)
                .arg(path.strip_prefix("/").unwrap())
                .env_remove("CARGO_MANIFEST_DIR")
                .current_dir(mount)
                .output()
                .unwrap();
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let grants = "read = [\"data\"]\nwrite = [\"out\"]\ndeny = [\"data/*.pem\"]";
        for (act, path, status, says) in [
            ("r", "data/a.txt", 0, ""),
            ("r", "data/A.TXT", 0, ""),
            ("r", "DATA/a.txt", 77, ""),
            ("r", "data/secret.pem", 77, "secret.pem"),
            ("r", "data/SECRET.PEM", 77, "secret.pem"),
            ("c", "out/new", 0, ""),
            ("c", "out/OTHER.TXT", 20, ""),
            ("c", "out/CARGO.TOML", 77, "Cargo.toml"),
            ("c", "out/Build.RS", 77, "Build.RS"),
            ("c", "out/.CARGO", 77, ".CARGO"),
        ] {
            let (code, said) = run(grants, act, path);
            assert_eq!(code, Some(status), "{act} {path}: {said}");
            assert!(said.contains(says), "{act} {path}: {said}");
        }
        // A grant is for what is there.
        for grants in ["write = [\"CARGO.TOML\"]", "write = [\"SRC\"]", "write = [\"OUT/cargo.toml\"]"] {
            let (code, said) = run(grants, "c", "out/new");
            assert_eq!(code, Some(78), "{grants}: {said}");
        }
        let (code, said) = run("read = [\"DATA/A.txt\"]", "r", "data/a.txt");
        assert_eq!(code, Some(0), "{said}");
    });
}

/// Layers of others are as they are; mounts inside are found by the names around them.
#[test]
fn mounts_are_known_by_what_they_are_and_where() {
    mounted("folding::mounts_are_known_by_what_they_are_and_where", |mount| {
        let other = tempfile::tempdir().unwrap();
        let other = other.path().canonicalize().unwrap();
        for folder in [mount.join("lower"), mount.join("within"), other.join("plain"), other.join("layers")] {
            fs::create_dir(folder).unwrap();
        }
        fs::create_dir(mount.join("lower/Data")).unwrap();
        let to = |kind: &str, options: &str, folder: &Path| {
            let mut mount = Command::new("mount");
            mount.args(["-i", "-t", kind, "-o", options, "none"]).arg(folder);
            assert!(mount.status().unwrap().success(), "{mount:?}");
        };
        to("tmpfs", "size=1m", &other.join("plain"));
        for folder in ["top/a", "top/B", "upper", "work"] {
            fs::create_dir_all(other.join("plain").join(folder)).unwrap();
        }
        to("tmpfs", "size=1m", &mount.join("within"));
        let layers = |name: &str, lower: &Path| {
            let at = other.join(name);
            fs::create_dir_all(&at).unwrap();
            to("overlay", &format!("lowerdir={}", lower.display()), &at);
            at
        };
        let plain = other.join("plain");
        let exact = layers("exact", Path::new(&format!("{0}/top:{0}/upper", plain.display())));
        let folds = layers("folds", Path::new(&format!("{}/top:{}/lower", plain.display(), mount.display())));
        assert!(is_known(mount) && is_known(&folds), "FUSE, also as a layer");
        assert!(is_known(&mount.join("within")), "a mount point in a directory that folds");
        assert!(!is_known(&exact) && !is_known(&plain), "file systems that tell names apart");
        // What is mounted inside is itself behind its other names, and what is excepted in it stays that.
        fs::write(mount.join("within/secret.pem"), "secret").unwrap();
        fs::write(folds.join("Data/secret.pem"), "secret").unwrap_err();
        fs::write(mount.join("lower/Data/secret.pem"), "secret").unwrap();
        let run = |folder: &Path| {
            let mut run = excepting(folder, ExceptionKind::Deny, "*.pem");
            run.folding = sandbox_walls::folding::places()
                .iter()
                .map(|place| Path::new(std::ffi::OsStr::from_bytes(place)).to_owned())
                .collect();
            run
        };
        for name in ["data/SECRET.PEM", "DATA/Secret.pem", "Data/secret.pem"] {
            let step = format!("read {}/{name}", folds.display());
            assert_eq!(run(&folds).probe(&step).lines, [DENIED], "{name}");
        }
        assert_eq!(run(&folds).probe(&format!("list {}/Data", folds.display())).lines, ["ok secret.pem"]);
        // By another name than its own a mount point is not known: refused.
        for (name, line) in [
            ("WITHIN/secret.pem", DENIED),
            ("within/secret.pem", DENIED),
            ("Within/x", DENIED),
            ("within/x", "ok"),
        ] {
            let step = format!("write {}/{name} x", mount.display());
            assert_eq!(run(mount).probe(&step).lines, [line], "{name}");
        }
    });
}

#[test]
fn operations_are_all_of_a_name() {
    // What the tests above try covers each operation that a policy knows of files.
    let tried = WAYS.join(" ");
    for operation in Operation::ALL {
        let way = match operation.key() {
            "read" => "read",
            "list" => "list",
            "stat" => "stat",
            "create" => "create-new",
            "modify" => "modify",
            "delete" => "remove",
            other => panic!("no way tries `{other}`"),
        };
        assert!(tried.contains(way), "{way}");
    }
}
