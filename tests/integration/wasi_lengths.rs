//! No length that a guest gives makes the host copy as much. Each function of preview1 is called with lengths
//! and counts of every size, over a memory full of text, while the test looks at its own memory.

use cargo_sandbox::wasi::{Host, HostConfig, Mode, Preopens, Sink, Stdio, Stream, Turns};
use sandbox_policy::access::{GrantId, OperationSet, RawFrame, RawViolation};
use sandbox_policy::{Grant, GrantPattern, PathPattern, Policy, Provenance, Scope};
use std::io::IoSlice;
use wasmtime::{Engine, Linker, Module, Store, Val};

/// Function, and its parameters: `f` a descriptor, `p` a pointer, `n` a length or count, `x` a number, `l` one of
/// 64 bits. What ends the guest is left out.
const FUNCTIONS: &[(&str, &str)] = &[
    ("args_get", "pp"),
    ("args_sizes_get", "pp"),
    ("environ_get", "pp"),
    ("environ_sizes_get", "pp"),
    ("clock_res_get", "xp"),
    ("clock_time_get", "xlp"),
    ("fd_advise", "fllx"),
    ("fd_allocate", "fll"),
    ("fd_datasync", "f"),
    ("fd_fdstat_get", "fp"),
    ("fd_fdstat_set_flags", "fx"),
    ("fd_fdstat_set_rights", "fll"),
    ("fd_filestat_get", "fp"),
    ("fd_filestat_set_size", "fl"),
    ("fd_filestat_set_times", "fllx"),
    ("fd_pread", "fpnlp"),
    ("fd_prestat_dir_name", "fpn"),
    ("fd_prestat_get", "fp"),
    ("fd_pwrite", "fpnlp"),
    ("fd_read", "fpnp"),
    ("fd_readdir", "fpnlp"),
    ("fd_seek", "flxp"),
    ("fd_sync", "f"),
    ("fd_tell", "fp"),
    ("fd_write", "fpnp"),
    ("path_create_directory", "fpn"),
    ("path_filestat_get", "fxpnp"),
    ("path_filestat_set_times", "fxpnllx"),
    ("path_link", "fxpnfpn"),
    ("path_open", "fxpnxllxp"),
    ("path_readlink", "fpnpnp"),
    ("path_remove_directory", "fpn"),
    ("path_rename", "fpnfpn"),
    ("path_symlink", "pnfpn"),
    ("path_unlink_file", "fpn"),
    ("poll_oneoff", "ppnp"),
    ("random_get", "pn"),
    ("sock_accept", "fxp"),
    ("sock_recv", "fpnxpp"),
    ("sock_send", "fpnxp"),
    ("sock_shutdown", "fx"),
];

/// Pages of the guest's memory: a little more than the largest length.
const PAGES: usize = 1700;
const LARGE: u32 = 100 << 20;

struct Nobody;

impl Sink for Nobody {
    fn violation(&mut self, _violation: RawViolation) {}
    fn used(&mut self, _grant: GrantId) {}
    fn origin(&mut self, _backtrace: &[RawFrame]) -> Option<String> {
        None
    }
    fn output(&mut self, _stream: Stream, bufs: &[IoSlice<'_>]) -> std::io::Result<usize> {
        Ok(bufs.iter().map(|buf| buf.len()).sum())
    }
}

fn wat() -> String {
    let types = |shape: &str| shape.replace('l', " i64").replace(['f', 'p', 'n', 'x'], " i32");
    let (mut imports, mut thunks) = (String::new(), String::new());
    for (name, shape) in FUNCTIONS {
        let params = types(shape);
        imports += &format!(
            "(import \"wasi_snapshot_preview1\" \"{name}\" (func ${name} (param{params}) (result i32)))\n"
        );
        let get: String = (0..shape.len()).map(|index| format!("(local.get {index})")).collect();
        thunks += &format!("(func (export \"{name}\") (param{params}) (result i32) (call ${name} {get}))\n");
    }
    format!("(module {imports} (memory (export \"memory\") {PAGES}) {thunks})")
}

/// By how much this process had more memory meanwhile than at its beginning, in bytes.
fn grown(act: impl FnOnce()) -> u64 {
    // From now on the peak counts anew (proc_pid_clear_refs(5)).
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = line("VmRSS:");
    act();
    line("VmHWM:").saturating_sub(before)
}

fn line(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of the kernel's");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn no_length_of_a_guest_makes_the_host_copy_it() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().canonicalize().unwrap();
    std::fs::create_dir(place.join("a")).unwrap();
    let grant = Grant {
        id: GrantId(0),
        operations: OperationSet::FS_ALL,
        pattern: GrantPattern::Path(PathPattern::at(b"/")),
        target: None,
        by: Vec::new(),
        scope: Scope::Always,
        protected: false,
        provenance: Provenance::default(),
    };
    let mut policy = Policy { grants: vec![grant], ..Policy::default() };
    // Nothing is written, whatever it is called with.
    (policy.limits.disk, policy.limits.files) = (Some(0), Some(0));
    let engine = Engine::default();
    let host = Host::new(HostConfig {
        policy,
        mode: Mode::Enforce,
        audit: None,
        root: cargo_sandbox::wasi::root_at(&place).unwrap(),
        preopens: Preopens::Root,
        args: vec![b"guest".to_vec()],
        env: Vec::new(),
        stdio: Stdio::Channel,
        alone: false,
        turns: std::sync::Arc::new(Turns::new().unwrap()),
        folding: cargo_sandbox::wasi::Folding::default(),
        sink: Box::new(Nobody),
    })
    .unwrap();
    let mut linker = Linker::new(&engine);
    cargo_sandbox::wasi::add_to_linker(&mut linker).unwrap();
    let mut store = Store::new(&engine, host);
    let module = Module::new(&engine, wat::parse_str(wat()).unwrap()).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    store.data_mut().attach(memory);
    // Names and slashes, so that nothing is refused for a NUL; at 0 buffers of the largest size.
    memory.data_mut(&mut store).chunks_exact_mut(2).for_each(|pair| pair.copy_from_slice(b"/a"));
    for index in 0..1024 {
        let buffer = [(1_u32 << 16).to_le_bytes(), LARGE.to_le_bytes()].concat();
        memory.data_mut(&mut store)[index * 8..][..8].copy_from_slice(&buffer);
    }
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut pick = |choices: &[u64]| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        choices[(state % choices.len() as u64) as usize]
    };
    let text = b"/a".repeat(1 << 15);
    for (name, shape) in FUNCTIONS {
        let function = instance.get_func(&mut store, name).unwrap();
        // What is filled for the guest takes its time.
        for _ in 0..if *name == "random_get" { 4 } else { 300 } {
            let large = u64::from(LARGE);
            let args: Vec<Val> = shape
                .chars()
                .map(|kind| match kind {
                    'f' => Val::I32(pick(&[1, 3, 3, 3, 4]) as i32),
                    'p' => Val::I32(pick(&[
                        0,
                        1 << 16,
                        1 << 16,
                        (1 << 16) + 1,
                        large + (1 << 20),
                        u64::from(u32::MAX),
                    ]) as i32),
                    'n' => Val::I32(pick(&[
                        2,
                        100,
                        4095,
                        4096,
                        1 << 20,
                        large,
                        large,
                        large,
                        u64::from(u32::MAX),
                    ]) as i32),
                    'x' => Val::I32(pick(&[0, 0, 1, 2, u64::from(u32::MAX)]) as i32),
                    _ => Val::I64(pick(&[0, 2, large, u64::MAX]) as i64),
                })
                .collect();
            let mut result = [Val::I32(-1)];
            let grown = grown(|| {
                let called = function.call(&mut store, &args, &mut result);
                called.unwrap_or_else(|error| panic!("{name} {args:?}: {error:?}"));
            });
            assert!(grown < 16 << 20, "{name} {args:?} answers {result:?} and takes {} MiB", grown >> 20);
            // The answers would be written over what is there to be read.
            memory.data_mut(&mut store)[1 << 16..1 << 17].copy_from_slice(&text);
        }
    }
}
