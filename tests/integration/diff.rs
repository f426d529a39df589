//! `diff` between revisions and between reports, and `--ceiling`, through the real binary.

use crate::common::{Fixture, command, run};

fn git(fixture: &Fixture, args: &[&str]) {
    let mut git = command("git");
    git.current_dir(fixture.dir()).args(["-c", "user.name=t", "-c", "user.email=t@localhost"]).args(args);
    run(git).expect(0);
}

fn committed(name: &str) -> Fixture {
    let fixture = Fixture::copy(name);
    git(&fixture, &["init", "-q"]);
    git(&fixture, &["add", "-A"]);
    git(&fixture, &["commit", "-qm", "base"]);
    fixture
}

#[test]
fn what_a_policy_gained_and_lost_is_said_for_each_crate() {
    let fixture = committed("copy-file");
    let same = run(fixture.command(["diff", "HEAD"])).expect(0);
    assert!(same.stdout.contains("0 gained, 0 lost"), "{}", same.stdout);
    let fixture = fixture.manifest(|text| text.replace("[\"input.txt\"]", "[\"assets\", \"input.txt\"]"));
    let wider = run(fixture.command(["diff", "HEAD"])).expect(80);
    assert!(wider.stdout.starts_with("copy-file\n"), "{}", wider.stdout);
    assert!(wider.stdout.contains("+ read, list, stat `assets`"), "{}", wider.stdout);
    assert!(
        wider.stdout.contains("Cargo.toml:11") && wider.stdout.contains("1 gained, 0 lost"),
        "{}",
        wider.stdout
    );
    let annotated = run(fixture.command(["diff", "HEAD", "--message-format", "github"])).expect(80);
    assert!(
        annotated.stderr.contains("::warning file=Cargo.toml,line=11,title=gained"),
        "{}",
        annotated.stderr
    );
    let seen = committed("as-tmp");
    let plain = run(seen.command(["diff", "HEAD"])).expect(0);
    assert!(plain.stdout.contains("0 gained"), "{}", plain.stdout);
    let seen = seen.manifest(|text| text.replace("[\"{tmp}\"]", "[{ path = \"{tmp}\", as = \"/tmp\" }]"));
    let more = run(seen.command(["diff", "HEAD"])).expect(80);
    assert!(more.stdout.contains("+ read, list `{tmp}` as `/tmp` ("), "{}", more.stdout);
    // Less is nothing gained; an exception that goes is.
    let narrower =
        committed("deny-inside-grant").manifest(|text| text.replace("[\"assets\"]", "[\"assets/deep\"]"));
    let run_it = run(narrower.command(["diff", "HEAD"])).expect(0);
    assert!(run_it.stdout.contains("- read, list, stat `assets`"), "{}", run_it.stdout);
    let without =
        committed("deny-inside-grant").manifest(|text| text.replace("deny = [\"assets/secret.pem\"]", ""));
    run(without.command(["diff", "HEAD"])).expect(80);
}

#[test]
fn something_that_is_no_revision_is_a_wrong_use() {
    let fixture = committed("copy-file");
    for wrong in ["no-such-revision", "--upload-pack=x", "HEAD:Cargo.toml"] {
        run(fixture.command(["diff", "--", wrong])).expect(2);
    }
    run(Fixture::copy("copy-file").command(["diff", "no-such-revision"])).expect(2);
}

#[test]
fn what_was_observed_is_compared_crate_by_crate() {
    let fixture = Fixture::copy("dependency");
    let report = |name: &str| {
        let mut command = fixture.command(["run", "--audit", "--report", name]);
        command.env("GREETING", "hello");
        run(command).expect(0);
    };
    report("old.json");
    run(fixture.command(["diff", "old.json", "old.json"])).expect(0);
    let source = fixture.read("deep-reader/src/lib.rs").expect("a source");
    let reads =
        source.replace("fs::read_to_string(\"/etc/passwd\")", "fs::read_to_string(\"/etc/hostname\")");
    assert_ne!(source, reads);
    std::fs::write(fixture.path("deep-reader/src/lib.rs"), reads).expect("ours");
    report("new.json");
    let diff = run(fixture.command(["diff", "old.json", "new.json"])).expect(80);
    assert!(diff.stdout.contains("deep-reader\n  + read `/etc/hostname`"), "{}", diff.stdout);
    run(fixture.command(["diff", "old.json", "absent.json"])).expect(2);
}

#[test]
fn a_pull_request_cannot_widen_its_own_policy() {
    let fixture = committed("copy-file").manifest(|text| text.replace("\nwrite = [\"output.txt\"]", ""));
    git(&fixture, &["commit", "-qam", "no writing"]);
    let fixture = fixture.manifest(|text| text.replace("\nread = [", "\nwrite = [\"output.txt\"]\nread = ["));
    run(fixture.command(["run"])).expect(0);
    std::fs::remove_file(fixture.path("output.txt")).expect("ours");
    let bounded = run(fixture.command(["run", "--ceiling", "HEAD", "--message-format", "github"])).expect(77);
    assert_eq!(fixture.read("output.txt"), None);
    assert!(
        bounded.stderr.contains("::warning file=Cargo.toml,line=11,title=above-ceiling"),
        "{}",
        bounded.stderr
    );
    assert!(bounded.stderr.contains("title=fs-create"), "{}", bounded.stderr);
    run(fixture.command(["run", "--ceiling", "HEAD~1"])).expect(0);
}
