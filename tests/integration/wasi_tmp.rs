//! The private directory in the place of `/tmp`, behind wall 1 alone: what a guest finds there, and that it gets
//! nowhere else by it.

use crate::wasi_support::*;
use cargo_sandbox::wasi::Preopens;
use sandbox_policy::{Mount, MountPoint, Mounts};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering;

/// A place with a private directory, `box` that is granted too, and `out` that is not.
fn with_private() -> Place {
    let place = place();
    place.file("box/f", "granted").file("out/f", "secret");
    fs::create_dir(place.path("private")).unwrap();
    place
}

fn view(place: &Place, kept: &[&[u8]], granted: bool) -> Mounts {
    let kept = kept.iter().map(|name| name.to_vec()).collect::<BTreeSet<_>>();
    Mount::new(MountPoint::Tmp, place.path("private").as_os_str().as_bytes(), kept, granted).into()
}

/// A guest that may read and write in its private directory and in `box`, and sees the former as `/tmp`.
fn seeing(place: &Place) -> Run {
    let (private, granted) = (place.path("private"), place.path("box"));
    run()
        .grant("read", &private)
        .grant("write", &private)
        .grant("read", &granted)
        .grant("write", granted)
        .with(|run| {
            run.policy.mounts = view(place, &[], true);
        })
}

#[test]
fn what_is_called_tmp_is_the_private_directory() {
    let place = with_private();
    let ended = seeing(&place).probe(&place.in_it(
        "mkdir /tmp/d -- write /tmp/d/f text -- read /tmp/d/f -- read /tmp/d/../d/./f -- read //tmp//d/f \
         -- read @/private/d/f -- read @/box/../private/d/f -- list /tmp -- list /tmp/ -- list /tmp/. -- stat /tmp/d/f \
         -- rename /tmp/d/f /tmp/g -- append /tmp/g more -- rmdir /tmp/d -- beneath /tmp g",
    ));
    let (read, names) = ("ok text", "ok d");
    let ended = ended.fine(&[
        "ok",
        "ok",
        read,
        read,
        read,
        read,
        read,
        names,
        names,
        names,
        "ok file 4",
        "ok",
        "ok",
        "ok",
        "ok textmore",
    ]);
    assert_eq!(place.read("private/g").as_deref(), Some("textmore"));
    assert_eq!(ended.seen.mounted, 1, "it is said once");
    let other = seeing(&place).probe(&place.in_it("read @/private/g -- read @/box/f -- stat /tmpx"));
    assert_eq!((&*other.lines[2], other.seen.mounted), (DENIED, 0));
    assert_eq!(other.violations(), ["fs-stat /tmpx"]);
}

#[test]
fn what_is_really_there_is_neither_read_nor_changed() {
    let place = with_private();
    let real = tempfile::Builder::new().prefix("cargo-sandbox-test-").tempdir_in("/tmp").unwrap();
    fs::write(real.path().join("f"), "real").unwrap();
    let here = real.path().to_str().unwrap();
    let steps = format!(
        "read {here}/f -- stat {here} -- remove {here}/f -- mkdir {here} -- write {here}/f mine -- read {here}/f \
         -- truncate {here}/f -- rename {here}/f {here}/g -- list {here} -- remove-all {here}"
    );
    let lines = [MISSING, MISSING, MISSING, "ok", "ok", "ok mine", "ok", "ok", "ok g", "ok"];
    seeing(&place).probe(&steps).fine(&lines);
    assert_eq!(fs::read_to_string(real.path().join("f")).unwrap(), "real");
    assert_eq!(fs::read_dir(real.path()).unwrap().count(), 1);
    // A name that something else speaks of stays what it is: to be read here, and no more.
    let name = real.path().file_name().unwrap().as_bytes();
    let kept =
        seeing(&place).grant("read", real.path()).with(|run| run.policy.mounts = view(&place, &[name], true));
    let ended = kept.probe(&format!(
        "read {here}/f -- write {here}/f mine -- write /tmp/f mine -- list /tmp -- list {here}"
    ));
    ended.violated(&["ok real", DENIED, "ok", "ok f", "ok f"], &[&format!("fs-modify {here}/f")]);
    assert_eq!(fs::read_to_string(real.path().join("f")).unwrap(), "real");
}

/// Only who passes `/tmp` itself comes to the private directory.
#[test]
fn a_relative_link_in_what_stays_leads_to_what_is_really_beside_it() {
    let place = with_private();
    let real = tempfile::Builder::new().prefix("cargo-sandbox-test-").tempdir_in("/tmp").unwrap();
    fs::write(real.path().join("f"), "real").unwrap();
    let name = real.path().file_name().unwrap().to_str().unwrap();
    place.file(&format!("private/{name}/f"), "private");
    let link = tempfile::Builder::new()
        .prefix("cargo-sandbox-test-")
        .make_in("/tmp", |path| std::os::unix::fs::symlink(name, path))
        .unwrap();
    let (kept, link) = (link.path().file_name().unwrap().as_bytes(), link.path());
    let run = seeing(&place).grant("read", real.path()).grant("read", link).with(|run| {
        run.policy.mounts = view(&place, &[kept], true);
        run.policy.links.push(link.as_os_str().as_bytes().to_vec());
    });
    run.probe(&format!("read {}/f -- read /tmp/{name}/f", link.display())).fine(&["ok real", "ok private"]);
}

#[test]
fn dots_lead_from_it_to_what_is_really_above() {
    let place = with_private();
    place.file("passwd", "secret").file("private/f", "text");
    let ended = seeing(&place).probe(
        "read /tmp/../passwd -- stat /tmp/.. -- list /tmp/../out -- read /tmp/../../../etc/passwd -- read /etc/../tmp/f \
         -- write /tmp/../new x -- read /tmp/../private/f",
    );
    // From a name that stays what it is up again is where the guest sees `/tmp`.
    let around = place.in_it("read @/../f -- read @/box/../../f -- list @/.. -- read @/../../tmp/f");
    let (read, listed) = ("ok text", "ok f");
    seeing(&place).probe(&around).fine(&[read, read, listed, read]);
    let up = "fs-read /etc/passwd";
    place.violated(
        ended,
        &[DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "ok text"],
        &["fs-read @/passwd", "fs-stat @", "fs-list @/out", up, "fs-stat /etc", "fs-create @/new"],
    );
}

#[test]
fn links_lead_where_the_guest_sees_them_lead() {
    let place = with_private();
    place.file("private/f", "text").link("private/absolute", "/tmp/f").link("box/absolute", "/tmp/f");
    let up = "../".repeat(place.path("box").components().count() - 1);
    place
        .link("box/relative", &format!("{up}tmp/f"))
        .link("box/folder", "/tmp")
        .link("private/out", "@/out/f");
    let read = "ok text";
    let ended = seeing(&place).probe(&place.in_it(
        "read /tmp/absolute -- read @/box/absolute -- read @/box/relative -- read @/box/folder/f -- list @/box/folder \
         -- read /tmp/out -- symlink /etc/passwd /tmp/passwd -- symlink /tmp/f /tmp/made -- read /tmp/made \
         -- symlink /tmp/f @/box/made -- read @/box/made -- symlink /tmp/../f /tmp/dots",
    ));
    let listed = "ok absolute,f,out";
    let lines = [read, read, read, read, listed, DENIED, DENIED, "ok", read, "ok", read, DENIED];
    let wanted = ["fs-read @/out/f", "fs-create @/private/passwd", "fs-create @/private/dots"];
    place.violated(ended, &lines, &wanted);
    // To others, who see another `/tmp`, a link of the guest says the same as to itself.
    for made in ["private/made", "box/made"] {
        assert_eq!(fs::read_link(place.path(made)).unwrap(), place.path("private/f"), "{made}");
    }
}

#[test]
fn nothing_is_gained_by_moving_things_out_of_it_or_into_it() {
    let place = with_private();
    place.file("private/f", "text").file("private/g", "text");
    let private = place.path("private");
    let write_only = || {
        run()
            .grant("write", &private)
            .grant("read", place.path("box"))
            .grant("write", place.path("box"))
            .with(|run| {
                run.policy.mounts = view(&place, &[], true);
            })
    };
    let steps = place.in_it("link /tmp/f @/box/linked -- rename /tmp/f @/box/moved -- link @/out/f /tmp/linked -- rename @/out/f /tmp/moved");
    let gained = ["fs-create @/box/linked", "fs-create @/box/moved", "fs-stat @/out/f", "fs-delete @/out/f"];
    place.violated(write_only().probe(&steps), &[DENIED; 4], &gained);
    let allowed =
        place.in_it("link /tmp/f @/box/linked -- rename /tmp/f @/box/moved -- rename @/box/moved /tmp/back");
    seeing(&place).probe(&allowed).fine(&["ok"; 3]);
    assert_eq!(
        (place.read("box/linked").as_deref(), place.read("private/back").as_deref()),
        (Some("text"), Some("text"))
    );
}

#[test]
fn links_swapped_in_it_never_lead_out() {
    let place = with_private();
    place.file("private/sub/f", "granted").link("private/other", "@/out");
    let (stop, thread) = swapping(place.path("private/sub"), place.path("private/other"));
    let ended = seeing(&place).probe("swap /tmp/sub/f 20000");
    let with_grant = seeing(&place).grant("read", place.path("out")).probe("swap /tmp/sub/f 20000");
    stop.store(true, Ordering::Relaxed);
    assert!(thread.join().unwrap() > 1000, "it was swapped");
    assert_eq!(ended.lines, ["ok true true []"], "both forms were met, and nothing else");
    assert!(with_grant.lines[0].contains("secret"), "the same way leads out when it is granted");
}

#[test]
fn a_guest_built_elsewhere_finds_it_among_its_directories() {
    let place = with_private();
    let name = place.path("").components().nth(2).unwrap().as_os_str().to_owned();
    let preopens = || Preopens::TopLevel(vec![b"/etc".to_vec(), b"/tmp".to_vec()]);
    let run = seeing(&place).with(|run| {
        run.preopens = preopens();
        run.policy.current_dir = place.path("box").as_os_str().as_bytes().to_vec();
    });
    assert!(place.path("").starts_with("/tmp"), "the name `{name:?}` is kept");
    run.probe(&place.in_it("write /tmp/f text -- list /tmp -- read /tmp/f -- read @/box/f -- read f"))
        .fine(&["ok", "ok f", "ok text", "ok granted", "ok granted"]);
}

#[test]
fn an_audit_shows_it_and_no_grant_counts_there_by_that_name() {
    let place = with_private();
    let audit = |granted| {
        let private = place.path("private");
        let envelope = run().grant("read", "/").grant("read", &private).grant("write", &private);
        let run = run().grant("read", &private).grant("write", &private).audit(envelope);
        run.with(|run| run.policy.mounts = view(&place, &[], granted))
    };
    let steps = place.in_it("write @/private/f text -- read /tmp/f -- read /tmp/d/../f -- read @/private/f");
    let ended = audit(false).probe(&steps);
    let read = "fs-read @/private/f";
    assert_eq!(ended.lines, ["ok", "ok text", MISSING, "ok text"]);
    assert_eq!(ended.violations(), place.these(&[read, read]));
    assert_eq!(ended.seen.mounted, 1);
    // Without any grant: what is on the way there is no need of its own.
    let bare = audit(false).with(|run| run.policy.grants.clear());
    let ended = bare.probe("mkdir /tmp/d -- write /tmp/d/../g text -- list /tmp/d/..");
    let wanted = ["fs-create @/private/d", "fs-create @/private/g", "fs-list @/private"];
    place.violated(ended, &["ok", "ok", "ok d,f,g"], &wanted);
    audit(true).probe(&place.in_it("write /tmp/f text -- read /tmp/f")).fine(&["ok", "ok text"]);
}
