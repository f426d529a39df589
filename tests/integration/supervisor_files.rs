//! What the supervisor does to files once guests have run, and how it is ended: nothing that a guest, or
//! another process in a folder that a guest may write to, makes of names and links meanwhile leads it elsewhere.
//!
//! The guests are `mover.wat`, so that no toolchain is needed. Where something is mounted, that is in a namespace
//! of its own (`unshare --user --map-root-user --mount`), which an ordinary user may make, too.

use crate::common::{Run, run, wait};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);
const FLAGS: [&str; 3] = ["--report", "--junit", "--sarif"];

/// A folder with `out`, to which guests may write, and the guest.
struct World(tempfile::TempDir);

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let text = include_str!("guests/mover.wat").trim_end().strip_suffix(')').expect("a module ends so");
        // With the marker of our object, so that its only preopened directory is the root.
        let wasm = wat::parse_str(format!("{text} (@custom \"cargo-sandbox\" \"1\"))")).expect("a module");
        let world = Self(folder);
        fs::write(world.path("mover.wasm"), wasm).expect("ours");
        for name in ["out", "out/sub", "out/other", "tmp"] {
            fs::create_dir(world.path(name)).expect("ours");
        }
        world
    }

    fn dir(&self) -> PathBuf {
        self.0.path().canonicalize().expect("it is there")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// As a guest writes it.
    fn guest_path(&self, name: &str) -> OsString {
        let path = self.path(name).into_os_string().into_vec();
        OsString::from_vec(path[1..].to_vec())
    }

    /// `runner`, with these flags, for a guest that does this.
    fn command(&self, flags: &[&OsStr], guest: &[&OsStr]) -> Command {
        let mut command =
            crate::common::cargo_sandbox(&self.dir(), ["runner", "--no-manifest", "--write", "out"]);
        command.args(flags).arg("mover.wasm").args(guest).env("TMPDIR", self.path("tmp"));
        command
    }

    /// The same in a shell, which first does `before`: `$@` is the command.
    fn shell(&self, before: &str, flags: &[&str], guest: &[&str]) -> Command {
        let inner = self.command(&words(flags), &words(guest));
        let mut shell = crate::common::command("sh");
        shell.args(["-euc", before, "sh"]).arg(inner.get_program()).args(inner.get_args());
        shell.current_dir(self.dir()).env("TMPDIR", self.path("tmp"));
        shell
    }

    /// What is left of private directories.
    fn tmps(&self) -> Vec<PathBuf> {
        fs::read_dir(self.path("tmp"))
            .expect("it is there")
            .map(|one| one.expect("an entry").path())
            .collect()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

fn words<'a>(words: &[&'a str]) -> Vec<&'a OsStr> {
    words.iter().map(|word| OsStr::new(*word)).collect()
}

fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(started.elapsed() < SOON, "{what}: not within {SOON:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A command that does not outlive a test that fails.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // It has ended, or ends now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(mut command: Command) -> Started {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Started(command.spawn().expect("it starts"))
}

fn send(child: &Started, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.0.id()).expect("a process id")).expect("a process id");
    kill_process(pid, signal).expect("it is ours");
}

fn said(child: &mut Started) -> String {
    let mut text = String::new();
    child.0.stderr.take().expect("it was piped").read_to_string(&mut text).expect("text");
    text
}

/// Whether this is a whole report of the kind.
fn is_whole(flag: &str, text: &str) -> bool {
    match flag {
        "--junit" => text.starts_with("<?xml") && text.trim_end().ends_with("</testsuites>"),
        _ => serde_json::from_str::<serde_json::Value>(text).is_ok_and(|value| value.is_object()),
    }
}

#[test]
fn a_guest_that_swaps_the_folder_of_a_report_leads_it_nowhere() {
    for flag in FLAGS {
        for way in ["link", "folder"] {
            let world = World::new();
            let path = |name: &str| world.guest_path(name);
            let (sub, moved, other) = (path("out/sub"), path("out/moved"), path("out/other"));
            let mut guest = vec![OsString::from("m"), sub.clone(), moved];
            match way {
                // To where the guest may write itself: elsewhere it makes no link.
                "link" => guest.extend(["s".into(), "other".into(), sub]),
                _ => guest.extend(["m".into(), other, sub, "c".into(), path("out/sub/r")]),
            }
            let guest: Vec<&OsStr> = guest.iter().map(OsString::as_os_str).collect();
            let run = run(world.command(&words(&[flag, "out/sub/r"]), &guest)).expect(70);
            assert!(run.stderr.contains("its path was changed while the program ran"), "{}", run.stderr);
            assert!(is_whole(flag, &world.read("out/moved/r")), "where it was to be");
            let there = fs::read_dir(world.path("out/sub")).expect("it is there").count();
            match way {
                "link" => assert_eq!(there, 0, "nothing was written where the link leads"),
                _ => assert_eq!(world.read("out/sub/r"), "forged\n", "the guest's own is not touched"),
            }
        }
    }
}

#[test]
fn an_outsider_that_swaps_the_folder_of_a_report_for_a_link_leads_it_nowhere() {
    let world = World::new();
    fs::create_dir(world.path("victim")).expect("ours");
    fs::write(world.path("victim/r"), "kept").expect("ours");
    let mut child =
        start(world.command(&words(&["--report", "out/sub/r", "--write", "{tmp}"]), &words(&["l"])));
    until("a private directory", || world.tmps().pop());
    fs::rename(world.path("out/sub"), world.path("out/moved")).expect("ours");
    symlink(world.path("victim"), world.path("out/sub")).expect("ours");
    send(&child, Signal::INT);
    let said = said(&mut child);
    assert_eq!(wait(&mut child.0, SOON), Some(130), "{said}");
    assert!(said.contains("its path was changed while the program ran"), "{said}");
    assert_eq!(world.read("victim/r"), "kept");
    assert!(is_whole("--report", &world.read("out/moved/r")));
}

#[test]
fn every_kind_of_file_can_take_a_report() {
    for flag in FLAGS {
        let world = World::new();
        fs::write(world.path("old"), "an older report, which is longer than nothing").expect("ours");
        symlink("behind", world.path("dangling")).expect("ours");
        symlink("out/sub", world.path("way")).expect("ours");
        for (name, file) in [
            ("new", "new"),
            ("old", "old"),
            ("dangling", "behind"),
            ("way/r", "out/sub/r"),
            ("./out/../r", "r"),
        ] {
            run(world.command(&words(&[flag, name]), &words(&["p"]))).expect(0);
            assert!(is_whole(flag, &world.read(file)), "{name}: {}", world.read(file));
        }
        run(world.command(&words(&[flag, "/dev/null"]), &words(&["p"]))).expect(0);
        assert!(fs::metadata("/dev/null").expect("it is there").rdev() != 0);
        for name in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/dev/stderr"] {
            let run = run(world.command(&words(&[flag, name, "-q"]), &words(&["p"]))).expect(0);
            let text = if name == "/dev/stderr" { &run.stderr } else { &run.stdout };
            assert!(is_whole(flag, text.trim_start_matches("hello\n")), "{name}: {text}");
        }
    }
}

#[test]
fn what_stands_in_a_file_that_is_appended_to_stays() {
    for (name, redirected) in [
        ("/dev/stdout", "exec \"$@\" >>log"),
        ("/dev/stdout", "exec \"$@\" >log"),
        ("/proc/self/fd/1", "exec \"$@\" >>log"),
        // The very file, by its own name.
        ("log", "exec \"$@\" >>log"),
        ("/dev/fd/3", "exec \"$@\" 3>>log 1>&3"),
    ] {
        let world = World::new();
        fs::write(world.path("log"), "before\n").expect("ours");
        run(world.shell(redirected, &["--report", name, "-q"], &["p"])).expect(0);
        let before = if redirected.contains(">>") { "before\nhello\n" } else { "hello\n" };
        let text = world.read("log");
        let report = text.strip_prefix(before).unwrap_or_else(|| panic!("{name} {redirected}: {text}"));
        assert!(is_whole("--report", report), "{name} {redirected}: {text}");
    }
}

#[test]
fn a_mounted_file_takes_a_report() {
    let world = World::new();
    fs::write(world.path("outside"), "an older report, which is longer than nothing").expect("ours");
    fs::write(world.path("out/r"), "").expect("ours");
    let mut command = crate::common::command("unshare");
    let inner = world.shell("mount --bind outside out/r; exec \"$@\"", &["--report", "out/r"], &["p"]);
    command.args(["--user", "--map-root-user", "--mount"]).arg(inner.get_program()).args(inner.get_args());
    run_in(command, &world).expect(0);
    assert!(is_whole("--report", &world.read("outside")), "{}", world.read("outside"));
    assert_eq!(world.read("out/r"), "");
    assert_eq!(fs::read_dir(world.path("out")).expect("it is there").count(), 3, "nothing else is left");
}

fn run_in(mut command: Command, world: &World) -> Run {
    command.current_dir(world.dir()).env("TMPDIR", world.path("tmp"));
    run(command)
}

#[test]
fn a_report_that_cannot_be_written_is_known_before_anything_runs() {
    let world = World::new();
    let fifo = rustix::fs::FileType::Fifo;
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, world.path("pipe"), fifo, mode, 0).expect("ours");
    for (name, why) in [
        ("no/r", "No such file"),
        ("out", "directory"),
        ("mover.wasm/r", "Not a directory"),
        ("pipe", "no process reads from this pipe"),
        ("/dev/fd/99", "No such file"),
    ] {
        let run = run(world.command(&words(&["--report", name]), &words(&["p"]))).expect(2);
        assert!(run.stderr.contains(why) && run.stderr.contains(name), "{name}: {}", run.stderr);
        assert_eq!(run.stdout, "", "nothing ran");
    }
    let reader = thread::spawn({
        let pipe = world.path("pipe");
        move || fs::read_to_string(pipe).expect("it is read to its end")
    });
    // The reader may not have opened it yet.
    until("a reader", || {
        let mut started = start(world.command(&words(&["--report", "pipe"]), &words(&["p"])));
        (wait(&mut started.0, SOON) == Some(0)).then_some(())
    });
    assert!(is_whole("--report", &reader.join().expect("no panic")));
}

#[test]
fn a_report_that_is_not_read_to_its_end_can_be_interrupted() {
    let world = World::new();
    // More than a pipe holds.
    let many: Vec<String> = (0..200).map(|n| format!("{}/{n}", "x".repeat(200))).collect();
    let mut guest = Vec::new();
    for name in &many {
        guest.extend(["o", name]);
    }
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = world.command(&words(&["--report", "/dev/stdout", "-q"]), &words(&guest));
    let child = command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::null()).spawn().expect("it starts");
    let mut child = Started(child);
    drop(command);
    until("a full pipe", || {
        let held = rustix::io::ioctl_fionread(&reader).expect("a pipe");
        (held > 60_000).then_some(())
    });
    send(&child, Signal::INT);
    assert_eq!(wait(&mut child.0, SOON), Some(130));
}

#[test]
fn two_reports_in_one_file_are_an_error() {
    let world = World::new();
    fs::write(world.path("old"), "kept").expect("ours");
    symlink("old", world.path("link")).expect("ours");
    symlink("new", world.path("dangling")).expect("ours");
    symlink("out", world.path("way")).expect("ours");
    fs::hard_link(world.path("old"), world.path("hard")).expect("ours");
    let absolute = world.path("new");
    let absolute = absolute.to_str().expect("UTF-8");
    for (one, other) in [
        ("new", "new"),
        ("new", "./out/../new"),
        ("new", absolute),
        ("new", "dangling"),
        ("out/new", "way/new"),
        ("old", "link"),
        ("old", "hard"),
        ("/dev/stdout", "/dev/fd/1"),
    ] {
        for (flag, second) in [("--report", "--junit"), ("--report", "--sarif"), ("--junit", "--sarif")] {
            let run = run(world.command(&words(&[flag, one, second, other]), &words(&["p"]))).expect(2);
            let both = format!("`{flag}` and `{second}` both go to `{other}`");
            assert!(run.stderr.contains(&both), "{one} {other}: {}", run.stderr);
            assert_eq!(run.stdout, "", "nothing ran");
            assert_eq!(world.read("old"), "kept");
            assert!(!world.path("new").exists() && !world.path("out/new").exists(), "{one} {other}");
        }
    }
    let json = ["--message-format", "json", "--report", "/dev/stdout"];
    let both = run(world.command(&words(&json), &words(&["p"]))).expect(2);
    assert!(both.stderr.contains("`--report` and `--message-format json` both go to"), "{}", both.stderr);
    run(world.command(&words(&["--report", "/dev/null", "--junit", "/dev/null"]), &words(&["p"]))).expect(0);
}

#[test]
fn a_private_directory_is_its_users_alone_whatever_the_umask() {
    for umask in ["0", "022", "0777"] {
        let world = World::new();
        let before = format!("umask {umask}; exec \"$@\"");
        let mut child = start(world.shell(&before, &["--write", "{tmp}"], &["t", "l"]));
        let root = until("a private directory", || world.tmps().pop());
        let tmp = until("its own", || Some(root.join("t0")).filter(|tmp| tmp.is_dir()));
        until("a file in it", || {
            assert_eq!(child.0.try_wait().expect("ours"), None, "umask {umask}: it ended by itself");
            tmp.join("f").exists().then_some(())
        });
        for folder in [&root, &tmp] {
            let mode = fs::metadata(folder).expect("it is there").mode();
            assert_eq!(mode & 0o7777, 0o700, "umask {umask}: {}", folder.display());
        }
        send(&child, Signal::TERM);
        assert_eq!(wait(&mut child.0, SOON), Some(130));
        assert!(world.tmps().is_empty());
    }
}

#[test]
fn a_folder_that_others_may_change_is_no_place_for_a_private_directory() {
    let world = World::new();
    let with = |tmp: &Path| {
        let mut command = world.command(&words(&["--write", "{tmp}"]), &words(&["p"]));
        command.env("TMPDIR", tmp);
        run(command)
    };
    let mode = |name: &str, mode| fs::set_permissions(world.path(name), fs::Permissions::from_mode(mode));
    fs::create_dir(world.path("tmp/inner")).expect("ours");
    fs::write(world.path("file"), "").expect("ours");
    for open in [0o777, 0o770, 0o707] {
        mode("tmp", open).expect("ours");
        for name in ["tmp", "tmp/inner"] {
            let run = with(&world.path(name)).expect(69);
            let why =
                format!("`{}` can be changed by others, and has no sticky bit", world.path("tmp").display());
            assert!(run.stderr.contains(&why) && run.stderr.contains("TMPDIR"), "{}", run.stderr);
            assert_eq!(run.stdout, "", "nothing ran");
        }
    }
    mode("tmp", 0o1777).expect("ours");
    with(&world.path("tmp")).expect(0);
    with(&world.path("tmp/inner")).expect(0);
    for name in ["none", "file"] {
        let run = with(&world.path(name)).expect(69);
        let path = format!("`{}`", world.path(name).display());
        assert!(run.stderr.contains(&path) && run.stderr.contains("TMPDIR"), "{}", run.stderr);
    }
    // Only root can give a folder away; for others `untrusted` in `src/runner/tmp.rs` is tried on every owner.
    if rustix::process::geteuid().is_root() {
        mode("tmp", 0o755).expect("ours");
        std::os::unix::fs::chown(world.path("tmp"), Some(12345), None).expect("root may");
        let run = with(&world.path("tmp")).expect(69);
        assert!(run.stderr.contains("belongs to another user"), "{}", run.stderr);
    }
}

#[test]
fn every_signal_that_ends_it_leaves_nothing_behind() {
    let world = World::new();
    let signals = [
        Signal::INT,
        Signal::TERM,
        Signal::HUP,
        Signal::QUIT,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::XCPU,
        Signal::USR1,
        Signal::USR2,
    ];
    for signal in signals {
        let mut child = start(world.command(&words(&["--write", "{tmp}"]), &words(&["t", "l"])));
        until("a private directory", || world.tmps().pop());
        send(&child, signal);
        assert_eq!(wait(&mut child.0, SOON), Some(130), "{signal:?}");
        assert_eq!(world.tmps(), Vec::<PathBuf>::new(), "{signal:?}");
    }
}

#[test]
fn what_a_killed_command_left_is_removed_by_the_next_and_what_a_living_one_has_is_not() {
    let world = World::new();
    let flags = words(&["--write", "{tmp}"]);
    let mut living = start(world.command(&flags, &words(&["t", "l"])));
    let kept = until("a private directory", || world.tmps().pop());
    let mut killed = start(world.command(&flags, &words(&["t", "l"])));
    let left = until("a private directory", || world.tmps().into_iter().find(|one| *one != kept));
    until("a file in it", || left.join("t0/f").exists().then_some(()));
    send(&killed, Signal::KILL);
    assert_eq!(wait(&mut killed.0, SOON), Some(137));
    assert!(left.join("t0/f").exists(), "nobody was there to remove it");
    // Its worker dies with it, an instant later, and holds nothing of it.
    run(world.command(&flags, &words(&["p"]))).expect(0);
    assert!(!left.exists());
    assert!(kept.join("t0").is_dir(), "its command is alive");
    send(&living, Signal::INT);
    assert_eq!(wait(&mut living.0, SOON), Some(130));
    assert_eq!(world.tmps(), Vec::<PathBuf>::new());
}

#[test]
fn what_is_mounted_in_a_private_directory_is_left_as_it_is_and_said() {
    let world = World::new();
    fs::create_dir(world.path("precious")).expect("ours");
    fs::write(world.path("precious/kept"), "kept").expect("ours");
    fs::write(world.path("file"), "kept").expect("ours");
    let script = "\"$@\" 2>said & pid=$!
        until [ -e tmp/*/t0/f ]; do kill -0 $pid; sleep 0.01; done
        at=$(echo tmp/*/t0)
        mkdir -p $at/a/b $at/z; touch $at/a/c $at/z/gone
        mount --bind precious $at/a/b; mount --bind file $at/a/c
        kill -TERM $pid; wait $pid && exit 1
        [ ! -e $at/z ] && [ ! -e $at/f ] && [ -e $at/a/b/kept ] && [ -s $at/a/c ]";
    let inner = world.shell(script, &["--write", "{tmp}", "-v"], &["t", "l"]);
    let mut command = crate::common::command("unshare");
    command.args(["--user", "--map-root-user", "--mount"]).arg(inner.get_program()).args(inner.get_args());
    run_in(command, &world).expect(0);
    assert_eq!(world.read("precious/kept"), "kept");
    let said = world.read("said");
    assert!(said.contains("was not removed: something is mounted there"), "{said}");
    assert!(said.contains("/t0/a/b`") && said.contains("/t0/a/c`"), "{said}");
}

#[test]
fn a_folder_for_temporary_files_need_not_be_utf_8() {
    let world = World::new();
    let odd = world.path("tmp").join(OsStr::from_bytes(b"t\xff\xfe p"));
    fs::create_dir(&odd).expect("ours");
    for audit in [&[][..], &["--audit"]] {
        let mut flags = words(audit);
        if audit.is_empty() {
            flags.extend(words(&["--write", "{tmp}"]));
        }
        let mut command = world.command(&flags, &words(&["t"]));
        let output = command.env("TMPDIR", &odd).stdin(Stdio::null()).output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{audit:?}: {text}");
        let tmp = Path::new(OsStr::from_bytes(&output.stdout));
        assert!(tmp.starts_with(&odd), "{audit:?}: {} in {}", tmp.display(), odd.display());
        assert!(fs::read_dir(&odd).expect("it is there").next().is_none());
    }
}

#[test]
fn what_has_no_end_is_no_artifact() {
    let world = World::new();
    let fifo = rustix::fs::FileType::Fifo;
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, world.path("pipe"), fifo, mode, 0).expect("ours");
    let huge = File::create(world.path("huge")).expect("ours");
    huge.set_len((512 << 20) + 1).expect("a hole takes no room");
    for (name, why) in [
        ("/dev/zero", "it is not a regular file"),
        ("pipe", "it is not a regular file"),
        ("out", "it is not a regular file"),
        ("huge", "it is larger than 512 MiB"),
    ] {
        for cache in [&[][..], &["--no-cache"]] {
            let mut command = crate::common::cargo_sandbox(&world.dir(), ["runner", "--no-manifest"]);
            let run = run({
                command.args(cache).arg(name);
                command
            })
            .expect(101);
            assert!(run.stderr.contains(why), "{name}: {}", run.stderr);
            assert!(run.elapsed < Duration::from_secs(20), "{name} took {:?}", run.elapsed);
        }
    }
}
