//! File operations through our preview1, without the kernel's walls, against native. In a process
//! without a second thread, as a worker is: with one every system call on a descriptor is slower.

#[path = "../tests/integration/toolchain.rs"]
mod toolchain;
#[path = "../tests/integration/wasi_support/mod.rs"]
mod wasi_support;

use cargo_sandbox::wasi::Stdio;
use std::path::PathBuf;
use std::process::Command;
use wasi_support::*;

fn main() {
    let native = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("wasi_speed");
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/guests/wasi_speed.rs");
    let built = Command::new("rustc")
        .args(["--edition", "2024", "-O", "-o"])
        .arg(&native)
        .arg(source)
        .status()
        .unwrap();
    assert!(built.success());
    let (first, second) = (place(), place());
    let output = Command::new(&native).arg(first.path("")).output().unwrap();
    assert!(output.status.success());
    let native = figures(&std::fs::read(first.path("figures")).unwrap());
    let granted = run().grant("read", second.path("")).grant("write", second.path(""));
    let directory = second.in_it("@");
    let ended = granted.with(|run| run.stdio = Stdio::Inherit).start("wasi_speed", &[&directory]);
    let ours = figures(&std::fs::read(second.path("figures")).unwrap());
    assert_eq!(ended.trap, None);
    assert_eq!(native.len(), ours.len());
    eprintln!("(standard output went with the lines measured)");
    for ((name, native), (_, ours)) in native.iter().zip(&ours) {
        eprintln!("{name:16} native {native:8} ns, ours {ours:8} ns, {:.2} x", *ours as f64 / *native as f64);
    }
}

fn figures(text: &[u8]) -> Vec<(String, u64)> {
    let text = String::from_utf8_lossy(text);
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(name, figure)| (name.to_owned(), figure.parse().expect("a number"))).collect()
}
