use super::*;
use std::os::unix::fs::PermissionsExt;

const PRINT: [u8; 32] = [7; 32];

struct Bench {
    tmp: tempfile::TempDir,
    cache: Cache,
}

fn bench(bound: u64) -> Bench {
    let tmp = tempfile::tempdir().unwrap();
    let cache = Cache::open(&tmp.path().join("cache"), bound).unwrap();
    Bench { tmp, cache }
}

impl Bench {
    fn artifact(&self, name: &str, contents: &[u8]) -> File {
        let path = self.tmp.path().join(name);
        std::fs::write(&path, contents).unwrap();
        File::open(path).unwrap()
    }

    fn put(&self, artifact: &mut File, code: &[u8]) -> Key {
        let miss = self.cache.find(artifact, &PRINT).unwrap().unwrap_err();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(code).unwrap();
        let module_info = ModuleInfo { marker: Some("1".to_owned()), ..ModuleInfo::default() };
        self.cache.put(&miss, artifact, &mut file, &module_info).unwrap();
        miss.key
    }

    fn found(&self, artifact: &mut File) -> Option<Vec<u8>> {
        let mut entry = self.cache.find(artifact, &PRINT).unwrap().ok()?;
        assert_eq!(entry.module_info.marker.as_deref(), Some("1"));
        let mut bytes = Vec::new();
        entry.code.read_to_end(&mut bytes).unwrap();
        Some(bytes)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.tmp.path().join("cache").join(name)
    }

    fn names(&self, prefix: &str) -> usize {
        std::fs::read_dir(self.tmp.path().join("cache"))
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_name().to_str().unwrap().starts_with(prefix))
            .count()
    }
}

#[test]
fn an_entry_is_found_by_content_under_the_same_engine_only() {
    let bench = bench(DEFAULT_BOUND);
    let mut one = bench.artifact("one", b"wasm one");
    bench.put(&mut one, b"code one");
    assert!(bench.found(&mut one).unwrap().starts_with(b"code one"));
    assert!(bench.found(&mut bench.artifact("copy", b"wasm one")).is_some());
    assert!(bench.found(&mut bench.artifact("two", b"wasm two")).is_none());
    assert!(bench.cache.find(&mut one, &[8; 32]).unwrap().is_err());
}

#[test]
fn any_damage_makes_an_entry_absent_even_when_it_was_seen_before() {
    let bench = bench(DEFAULT_BOUND);
    let mut artifact = bench.artifact("one", b"wasm one");
    let key = bench.put(&mut artifact, b"code one");
    std::thread::sleep(Duration::from_millis(150));
    assert!(bench.found(&mut artifact).is_some());
    assert_eq!(bench.names("seen-"), 1);
    let path = bench.path(&key.entry());
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(bench.found(&mut artifact).is_none(), "byte {at}");
        std::fs::write(&path, &whole[..at]).unwrap();
        assert!(bench.found(&mut artifact).is_none(), "cut at {at}");
    }
    std::fs::write(&path, &whole).unwrap();
    assert!(bench.found(&mut artifact).is_some());
}

#[test]
fn a_damaged_note_about_a_seen_artifact_is_ignored() {
    let bench = bench(DEFAULT_BOUND);
    let mut artifact = bench.artifact("one", b"wasm one");
    bench.put(&mut artifact, b"code one");
    std::thread::sleep(Duration::from_millis(150));
    bench.found(&mut artifact).unwrap();
    let name = seen_name(&Stamp::of(&artifact).unwrap(), &PRINT);
    for bytes in [&b""[..], &[0; 31], &[0; 200]] {
        std::fs::write(bench.path(&name), bytes).unwrap();
        assert!(bench.found(&mut artifact).is_some());
    }
}

#[test]
fn an_artifact_that_changes_in_place_is_hashed_again() {
    let bench = bench(DEFAULT_BOUND);
    let mut artifact = bench.artifact("one", b"wasm one");
    bench.put(&mut artifact, b"code one");
    std::thread::sleep(Duration::from_millis(150));
    bench.found(&mut artifact).unwrap();
    std::fs::write(bench.tmp.path().join("one"), b"wasm two").unwrap();
    assert!(bench.found(&mut artifact).is_none());
}

#[test]
fn an_artifact_that_changed_while_it_was_compiled_is_not_added() {
    let bench = bench(DEFAULT_BOUND);
    let mut artifact = bench.artifact("one", b"wasm one");
    let miss = bench.cache.find(&mut artifact, &PRINT).unwrap().unwrap_err();
    std::fs::write(bench.tmp.path().join("one"), b"wasm, other").unwrap();
    let mut code = tempfile::tempfile().unwrap();
    bench.cache.put(&miss, &artifact, &mut code, &ModuleInfo::default()).unwrap();
    assert_eq!(bench.names("code-"), 0);
}

#[test]
fn foreign_files_are_not_used() {
    let bench = bench(DEFAULT_BOUND);
    let mut artifact = bench.artifact("one", b"wasm one");
    let key = bench.put(&mut artifact, b"code one");
    let path = bench.path(&key.entry());
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o620)).unwrap();
    assert!(bench.found(&mut artifact).is_none());
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    assert!(bench.found(&mut artifact).is_some());
    std::fs::rename(&path, bench.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", &path).unwrap();
    assert!(bench.found(&mut artifact).is_none());
    // An entry copied to another key does not count there.
    let mut other = bench.artifact("two", b"wasm two");
    let key = bench.cache.find(&mut other, &PRINT).unwrap().unwrap_err().key;
    std::fs::rename(bench.path("elsewhere"), bench.path(&key.entry())).unwrap();
    assert!(bench.found(&mut other).is_none());
}

#[test]
fn a_folder_that_others_may_write_to_is_refused() {
    let tmp = tempfile::tempdir().unwrap();
    std::fs::set_permissions(tmp.path(), PermissionsExt::from_mode(0o770)).unwrap();
    let why = Cache::open(tmp.path(), 1).unwrap_err();
    assert!(why.message.contains("others may write"), "{}", why.message);
    std::fs::set_permissions(tmp.path(), PermissionsExt::from_mode(0o755)).unwrap();
    Cache::open(tmp.path(), 1).unwrap();
    assert_eq!(std::fs::metadata(tmp.path()).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn the_oldest_entries_go_first_and_the_newest_stays() {
    let bench = bench(40_000);
    let mut artifacts: Vec<_> =
        (0..4).map(|i| bench.artifact(&format!("a{i}"), format!("wasm {i}").as_bytes())).collect();
    for (i, artifact) in artifacts.iter_mut().enumerate() {
        let key = bench.put(artifact, &[i as u8; 15_000]);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 + i as u64);
        let times = std::fs::FileTimes::new().set_accessed(time).set_modified(time);
        File::open(bench.path(&key.entry())).unwrap().set_times(times).unwrap();
    }
    let left: Vec<_> = artifacts.iter_mut().map(|a| bench.found(a).is_some()).collect();
    assert_eq!(left, [false, false, true, true]);
    // One entry larger than the bound is kept until the next one comes.
    let mut large = bench.artifact("large", b"large");
    bench.put(&mut large, &[9; 90_000]);
    assert!(bench.found(&mut large).is_some());
    assert_eq!(bench.names("code-"), 1);
}

#[test]
fn two_processes_may_write_the_same_entry() {
    let bench = bench(DEFAULT_BOUND);
    let second = Cache::open(&bench.tmp.path().join("cache"), DEFAULT_BOUND).unwrap();
    let mut artifact = bench.artifact("one", b"wasm one");
    let key = Key::of(&mut artifact, &PRINT).unwrap();
    let module_info = ModuleInfo { marker: Some("1".to_owned()), ..ModuleInfo::default() };
    std::thread::scope(|scope| {
        for cache in [&bench.cache, &second] {
            scope.spawn(|| {
                for _ in 0..50 {
                    let mut code = tempfile::tempfile().unwrap();
                    code.write_all(&[3; 50_000]).unwrap();
                    cache.store(&key, &mut code, &module_info).unwrap();
                    assert!(cache.entry(&key, None).is_some());
                }
            });
        }
    });
    assert_eq!(bench.names("new-"), 0);
}
