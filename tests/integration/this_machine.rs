//! What a machine lacks, or a caller has set oddly, is said at once and with the right status; and what a guest from
//! elsewhere (`runner --no-manifest`) is given, told and refused.
use crate::common::{Fixture, Run, binary, cargo_sandbox, command, run};
use landlock::{AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder with a module in it.
struct Bench {
    _folder: tempfile::TempDir,
    path: PathBuf,
    module: PathBuf,
}

/// Functions that every module here may call.
const IMPORTS: &str = r#"
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_fdstat_set_rights" (func $rights (param i32 i64 i64) (result i32)))
    (import "wasi_snapshot_preview1" "sock_shutdown" (func $shutdown (param i32 i32) (result i32)))
    (memory (export "memory") 1)"#;

/// A module whose `_start` is this.
fn bench(start: &str) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    let module = path.join("guest.wasm");
    let text = format!("(module {IMPORTS} (func (export \"_start\") {start}))");
    fs::write(&module, wat::parse_str(text).unwrap()).unwrap();
    Bench { _folder: folder, path, module }
}

/// It opens `name` beneath its current directory, to read and, if so, to make it, and exits with the answer.
fn opens(name: &str, create: bool) -> String {
    let bytes: String = name
        .bytes()
        .enumerate()
        .map(|(at, byte)| format!("(i32.store8 (i32.const {}) (i32.const {byte}))", 64 + at))
        .collect();
    let (how, rights) = if create { (1, 64) } else { (0, 2) };
    format!(
        "{bytes} (call $exit (call $open (i32.const 3) (i32.const 1) (i32.const 64) (i32.const {}) (i32.const {how}) \
         (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const 0)))",
        name.len()
    )
}

impl Bench {
    fn runner(&self, flags: &[&str]) -> Command {
        let mut command = cargo_sandbox(&self.path, ["runner", "--no-manifest"]);
        command.args(flags).arg(&self.module);
        command
    }

    fn run(&self, flags: &[&str]) -> Run {
        run(self.runner(flags))
    }
}

#[track_caller]
fn said(run: Run, status: i32, texts: &[&str]) -> Run {
    let run = run.expect(status);
    for text in texts {
        assert!(run.stderr.contains(text), "`{text}` is not in:\n{}", run.stderr);
    }
    run
}

/// Runs it inside of so many layers of Landlock, which allow everything that happens here.
fn inside_layers(layers: usize, command: Command) -> Run {
    let layer = || {
        let rights = AccessFs::MakeChar | AccessFs::Refer;
        let ruleset = Ruleset::default().handle_access(rights).unwrap().create().unwrap();
        let root = PathBeneath::new(PathFd::new("/").unwrap(), rights);
        ruleset.add_rule(root).unwrap().restrict_self().unwrap();
    };
    // They hold this one thread, and what it starts.
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            (0..layers).for_each(|_| layer());
            run(command)
        });
        running.join().expect("the thread ran")
    })
}

#[test]
fn inside_of_other_layers_it_is_said_before_anything_is_built() {
    let texts = ["16", "layers", "`--landlock off`", "nothing was run"];
    for (command, fixture, layers) in
        [("run", Fixture::copy("copy-file"), 16), ("test", Fixture::copy("tests-case"), 15)]
    {
        let ended = inside_layers(layers, fixture.command([command]));
        said(ended, 69, &texts);
        assert!(fixture.read("target/CACHEDIR.TAG").is_none(), "`{command}` has built something");
    }
    let bench = bench("(call $exit (i32.const 0))");
    said(inside_layers(16, bench.runner(&[])), 69, &texts);
    // There is room for one more, and without Landlock none is needed.
    inside_layers(15, bench.runner(&[])).expect(0);
    inside_layers(16, bench.runner(&["--landlock", "off", "--no-cache"])).expect(0);
}

/// The same command with a limit of `prlimit`.
fn limited(limit: &str, command: &Command) -> Run {
    let mut limited = crate::common::command("prlimit");
    limited.arg(limit).arg(command.get_program()).args(command.get_args());
    limited.current_dir(command.get_current_dir().unwrap());
    run(limited)
}

#[test]
fn too_little_of_what_a_process_may_use_is_said_before_anything_is_built() {
    let fixture = Fixture::copy("copy-file");
    for command in ["run", "test"] {
        let command = fixture.command([command]);
        said(limited("--as=2147483648", &command), 70, &["address space", "2048 MiB", "ulimit -v"]);
        said(limited("--nofile=20", &command), 70, &["descriptors", "the limit is 20", "ulimit -n"]);
        assert!(fixture.read("target/CACHEDIR.TAG").is_none(), "something was built");
    }
    let bench = bench("(call $exit (i32.const 0))");
    said(limited("--as=2147483648", &bench.runner(&[])), 70, &["address space"]);
    limited("--nofile=64", &bench.runner(&[])).expect(0);
}

#[test]
fn a_folder_that_is_gone_is_named_as_what_it_is() {
    let bench = bench("(call $exit (i32.const 0))");
    let mut shell = command("sh");
    let script = r#"mkdir gone && cd gone && rmdir ../gone && exec "$0" runner --no-manifest "$1""#;
    shell.args(["-c", script]).arg(binary()).arg(&bench.module).current_dir(&bench.path);
    said(run(shell), 70, &["the current folder cannot be told"]);
    let missing = run(cargo_sandbox(&bench.path, ["runner", "--no-manifest", "missing.wasm"]));
    said(missing, 2, &["cannot read `missing.wasm`"]);
}

/// Only root can have a folder that is closed to its guests and not to itself.
#[test]
fn that_a_folder_is_open_only_to_capabilities_is_said_to_root() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let fixture = Fixture::copy("copy-file");
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        chown(fixture.dir(), Some(65534), Some(65534)).unwrap();
        fs::set_permissions(fixture.dir(), fs::Permissions::from_mode(0o700)).unwrap();
    }
    let run = run(fixture.command(["run"]));
    assert_eq!(run.stderr.matches("a guest cannot enter `").count(), usize::from(is_root), "{}", run.stderr);
}

#[test]
fn a_relative_home_makes_no_cache_here() {
    let bench = bench("(call $exit (i32.const 0))");
    for (home, cache) in [("home", None), ("home", Some("cache")), ("home", Some(""))] {
        let mut command = bench.runner(&[]);
        command.env("HOME", home).env_remove("XDG_CACHE_HOME");
        cache.map(|cache| command.env("XDG_CACHE_HOME", cache));
        run(command).expect(0);
        let names: Vec<_> =
            fs::read_dir(&bench.path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["guest.wasm"]);
    }
}

#[test]
fn that_compiled_code_cannot_be_kept_is_said() {
    let bench = bench("(call $exit (i32.const 0))");
    let run_with_cache = || {
        let mut command = bench.runner(&["-v"]);
        command.env("XDG_CACHE_HOME", bench.path.join("cache"));
        run(command).expect(0)
    };
    assert!(!run_with_cache().stderr.contains("cannot be kept"));
    // Whoever runs this, root included, can put no file in the place of a folder.
    let code = bench.path.join("cache/cargo-sandbox/code");
    for entry in
        fs::read_dir(&code).unwrap().map(|entry| entry.unwrap()).filter(|entry| entry.path().is_file())
    {
        fs::remove_file(entry.path()).unwrap();
        fs::create_dir_all(entry.path().join("in the way")).unwrap();
    }
    let run = run_with_cache();
    assert_eq!(run.stderr.matches("compiled code cannot be kept").count(), 1, "{}", run.stderr);
    assert!(run.stderr.contains(code.to_str().unwrap()), "{}", run.stderr);
}

#[test]
fn without_a_manifest_a_flag_is_suggested() {
    let bench = bench(&opens("a b", false));
    fs::write(bench.path.join("a b"), "").unwrap();
    let texts = ["no grant on the command line covers it", "add to the command line", "--read 'a b'"];
    let run = said(bench.run(&[]), 77, &texts);
    for wrong in ["no grant of ", "Cargo.toml", "metadata"] {
        assert!(!run.stderr.contains(wrong), "`{wrong}` is in:\n{}", run.stderr);
    }
    bench.run(&["--read", "a b"]).expect(0);
}

#[test]
fn a_guest_from_elsewhere_is_given_the_variables_that_were_asked_for() {
    // It exits with the number of its variables.
    let bench =
        bench("(drop (call $environ (i32.const 0) (i32.const 8))) (call $exit (i32.load (i32.const 0)))");
    bench.run(&[]).expect(0);
    bench.run(&["--env", "A=1"]).expect(1);
    bench.run(&["--env", "A=1", "--env", "PWD=/x", "--env", "B="]).expect(3);
    let mut granted = bench.runner(&["--env", "PWD"]);
    granted.env("PWD", &bench.path);
    run(granted).expect(1);
    bench.run(&["--root", bench.path.to_str().unwrap(), "--read", "/", "--env", "A=1"]).expect(1);
}

/// Rights are the guest's way to hold itself to something: what was given up is gone, and nothing comes back.
#[test]
fn rights_that_a_guest_gives_up_are_gone() {
    let set = |base: &str| format!("(call $rights (i32.const 3) (i64.const {base}) (i64.const 0))");
    let open =
        "(call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 0) (i64.const 0)
        (i64.const 0) (i32.const 0) (i32.const 0))";
    let dot = "(i32.store8 (i32.const 64) (i32.const 46))";
    let ends = |text: &str| bench(text).run(&["--read", "."]).status;
    assert_eq!(ends(&format!("{dot} (call $exit {open})")), 0);
    // PATH_OPEN is kept, and then it is not.
    assert_eq!(ends(&format!("{dot} (drop {}) (call $exit {open})", set("0x2000"))), 0);
    assert_eq!(ends(&format!("{dot} (drop {}) (call $exit {open})", set("0x40000"))), 76);
    assert_eq!(ends(&format!("(drop {}) (call $exit {})", set("0"), set("0x2000"))), 76);
    // A directory cannot be read or written as a file, so that is nothing to keep.
    assert_eq!(ends(&format!("(call $exit {})", set("0x2"))), 76);
}

#[test]
fn a_socket_call_says_what_the_descriptor_is() {
    for (fd, errno) in [(0, 57), (1, 57), (3, 8), (1000, 8), (-1, 8)] {
        let bench = bench(&format!("(call $exit (call $shutdown (i32.const {fd}) (i32.const 2)))"));
        bench.run(&[]).expect(errno);
    }
}

/// Another root is judged by what it is, not by the names that the guest has for it.
#[test]
fn under_another_root_a_place_is_protected_by_what_it_is_outside() {
    let bench = bench(&opens("etc/x", true));
    let at = |relative: &str| bench.path.join(relative);
    for folder in ["jail/etc", "home/.ssh", "home/work", "home/.config"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    symlink("/etc", at("jail/link")).unwrap();
    let with = |root: &str, flags: &[&str]| {
        let root = at(root);
        let mut command = bench.runner(&["--root", root.to_str().unwrap()]);
        // Before the file, where flags end.
        let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let (file, words) = words.split_last().unwrap();
        command = cargo_sandbox(&bench.path, words);
        command.args(flags).arg(file).env("HOME", at("home"));
        // Not in there, wherever the machine has them.
        command.env("CARGO_HOME", "/nowhere/cargo").env("RUSTUP_HOME", "/nowhere/rustup");
        run(command)
    };
    // All of it, and what is called as a place of the system is none.
    with("jail", &["--read", "/", "--write", "/"]).expect(0);
    assert!(at("jail/etc/x").exists());
    fs::remove_file(at("jail/etc/x")).unwrap();
    with("jail", &["--write", "/etc"]).expect(0);
    fs::remove_file(at("jail/etc/x")).unwrap();
    // A link in there stays in there, for the policy as for the guest.
    with("jail", &["--write", "/link"]).expect(0);
    assert!(at("jail/etc/x").exists() && !Path::new("/etc/x").exists());
    // What is sensitive outside is so under any name that the guest has for it.
    for root in ["", "home"] {
        said(with(root, &["--read", "/"]), 78, &["sensitive place `{home}/.ssh`"]);
        said(with(root, &["--write", "/"]), 78, &["protected place `{home}/.*`"]);
    }
    said(with("", &["--read", "/home"]), 78, &["sensitive place `{home}/.ssh`"]);
    // Named as exactly as that, by who types it.
    assert_ne!(with("home", &["--read", "/.ssh"]).status, 78);
    assert_ne!(with("home", &["--read", "/work", "--write", "/work"]).status, 78);
    let missing = with("nowhere", &[]);
    said(missing, 2, &["nowhere", "--root"]);
}

/// An audit lets no sensitive place be read because it has another name under another root.
#[test]
fn under_another_root_an_audit_keeps_to_what_is_sensitive_outside() {
    for (name, status) in [(".ssh/key", 2), ("notes", 0)] {
        let bench = bench(&opens(name, false));
        fs::create_dir_all(bench.path.join("home/.ssh")).unwrap();
        fs::write(bench.path.join("home/.ssh/key"), "secret").unwrap();
        fs::write(bench.path.join("home/notes"), "").unwrap();
        let home = bench.path.join("home");
        let mut command = bench.runner(&["--audit", "--root", home.to_str().unwrap()]);
        command.env("HOME", &home);
        run(command).expect(status);
    }
}

#[test]
fn a_module_with_too_much_in_it_is_refused_at_once() {
    let bench = bench("");
    let mut wasm = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0".to_vec();
    let leb = |mut number: u32| {
        let mut bytes = Vec::new();
        loop {
            bytes.push((number & 0x7f) as u8 | if number > 0x7f { 0x80 } else { 0 });
            number >>= 7;
            if number == 0 {
                return bytes;
            }
        }
    };
    let section = |id: u8, body: &[u8]| [&[id][..], &leb(body.len() as u32), body].concat();
    const COUNT: u32 = 900_000;
    wasm.extend(section(3, &[leb(COUNT), vec![0; COUNT as usize]].concat()));
    wasm.extend(section(7, b"\x01\x06_start\0\0"));
    wasm.extend(section(10, &[leb(COUNT), b"\x02\0\x0b".repeat(COUNT as usize)].concat()));
    fs::write(&bench.module, wasm).unwrap();
    let run = said(bench.run(&["--no-cache"]), 101, &["too much to compile", "900000 functions", "200000"]);
    assert!(run.elapsed.as_secs() < 30, "it took {:?}", run.elapsed);
}

/// Another process of the same user, without any capability, cannot reach the memory of one that runs guests. Root
/// lays its capabilities down for that, as they would let it.
#[test]
fn the_memory_of_a_supervisor_is_closed_to_its_own_user() {
    // It waits for a byte.
    let bench = bench(
        "(i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 1))
         (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))",
    );
    let plain = |program: &Path| {
        if !rustix::process::geteuid().is_root() {
            return command(program);
        }
        let mut plain = command("setpriv");
        plain.args(["--inh-caps=-all", "--bounding-set=-all", "--"]).arg(program);
        plain
    };
    let mut supervisor = plain(binary());
    supervisor.args(["runner", "--no-manifest", "--landlock", "off"]).arg(&bench.module);
    supervisor.current_dir(&bench.path).stdin(Stdio::piped());
    let mut supervisor = supervisor.spawn().unwrap();
    let opened = |process: u32| {
        let mut shell = plain(Path::new("sh"));
        shell.args(["-c", &format!("exec 3<>/proc/{process}/mem")]).stderr(Stdio::null());
        shell.status().unwrap().success()
    };
    let children = format!("/proc/{0}/task/{0}/children", supervisor.id());
    // Until its worker is there, and has had time to close itself.
    let mut worker = None;
    for _ in 0..500 {
        std::thread::sleep(std::time::Duration::from_millis(20));
        worker =
            fs::read_to_string(&children).ok().and_then(|list| list.split_whitespace().next()?.parse().ok());
        if worker.is_some_and(|worker| !opened(worker)) {
            break;
        }
    }
    let worker: u32 = worker.expect("a worker");
    assert!(!opened(supervisor.id()) && !opened(worker));
    // The way to look is one that works.
    let mut sleep = plain(Path::new("sleep")).arg("60").spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    let works = opened(sleep.id());
    sleep.kill().unwrap();
    sleep.wait().unwrap();
    drop(supervisor.stdin.take());
    assert!(supervisor.wait().unwrap().success());
    let yama = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    assert!(works || !matches!(yama.trim(), "" | "0"), "nothing can be said of memory here");
}
