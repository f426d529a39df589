//! What a guest needs before it can run: compiled code and an environment.

use super::interrupt::Interrupt;
use super::{Failure, Setup, StrategyChoice};
use crate::audit::envelope::tmp_as_text;
use crate::cargo::object::MARKER;
use crate::compile::child::MAX_WASM;
use crate::compile::{Cache, ModuleInfo, Stamp, Strategy};
use crate::exit_status::ExitStatus;
use crate::worker::protocol::PreopenLayout;
use crate::worker::supervisor::{Artifact, Launcher, TierUp};
use rustix::fs::OFlags;
use sandbox_policy::access::{Decision, Operation, Resource};
use sandbox_policy::diagnostic::Diagnostic;
use sandbox_policy::{Decider, Policy};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Bytes that the code cache may hold.
const CACHE_BOUND: u64 = 2 << 30;

/// That code cannot be kept was said.
static NOT_KEPT: AtomicBool = AtomicBool::new(false);

/// How long the tests of one artifact run with Winch's code before Cranelift is asked: more than it
/// takes Cranelift to compile a large one (15 MB: 1 s on two processors that tests want too), so that
/// a suite that ends just then loses less than a third by it.
const TIER_UP: Duration = Duration::from_secs(3);

/// Code that is ready to run, and what is known of it.
#[derive(Debug)]
pub struct Guest {
    /// The file that it was compiled from.
    pub wasm: File,
    /// What that file was then.
    pub stamp: Stamp,
    /// Finished machine code.
    pub code: File,
    /// What the compile child read in it.
    pub module_info: ModuleInfo,
    /// With which compiler.
    pub strategy: Strategy,
    /// How directories are offered to it.
    pub layout: PreopenLayout,
}

/// The home directory. A relative one is none: it would be another one in each folder.
pub fn home_dir() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| home.is_absolute())
}

/// Where compiled code is kept: `$XDG_CACHE_HOME/cargo-sandbox` or `~/.cache/cargo-sandbox`.
pub fn cache_dir() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    base.or_else(|| home_dir().map(|home| home.join(".cache"))).map(|base| base.join("cargo-sandbox"))
}

/// Where cargo's answers are kept from one command to the next, if a folder of ours can be had for
/// it that nobody else may write to. Without one, and on CI machines, cargo is asked each time.
pub fn metadata_dir() -> Option<PathBuf> {
    if std::env::var_os("CI").is_some() {
        return None;
    }
    own_folder("metadata")
}

/// A folder of ours beside the cache that nobody else may write to, if it can be had.
pub fn own_folder(name: &str) -> Option<PathBuf> {
    let folder = cache_dir()?.join(name);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok()?;
    let found = std::fs::symlink_metadata(&folder).ok()?;
    let ours = found.is_dir()
        && found.uid() == rustix::process::geteuid().as_raw()
        && found.permissions().mode() & 0o077 == 0;
    ours.then_some(folder)
}

/// Compiles an artifact, or finds it compiled: with any of these compilers, the first one preferred, if
/// that is in the cache; otherwise with the last one. `ours` says that our own build made it: then it must
/// carry our marker, or what it names would not reach the gate as it is meant to.
///
/// Reading and compiling may take long, and an interruption does not wait for them: they go on in a thread
/// that nobody asks any more, until this process ends.
///
/// # Errors
/// It cannot be read or compiled, is no program for WASI preview 1, lacks the marker, or the command was
/// interrupted.
pub fn prepare(
    launcher: &Launcher,
    path: &Path,
    setup: &Setup,
    ours: bool,
    strategies: &'static [Strategy],
    interrupt: &Interrupt,
    warn: &mut dyn FnMut(Diagnostic),
) -> Result<Guest, Failure> {
    let (launcher, path, setup) = (launcher.clone(), path.to_owned(), *setup);
    let done = interrupt.unless(move || {
        let mut warnings = Vec::new();
        let guest = prepare_now(&launcher, &path, &setup, ours, strategies, &mut |one| warnings.push(one));
        (guest, warnings)
    })?;
    let (guest, warnings) = done.ok_or_else(Failure::interrupted)?;
    warnings.into_iter().for_each(warn);
    guest
}

fn prepare_now(
    launcher: &Launcher,
    path: &Path,
    setup: &Setup,
    ours: bool,
    strategies: &[Strategy],
    warn: &mut dyn FnMut(Diagnostic),
) -> Result<Guest, Failure> {
    let failed = |diagnostic| Failure::new(ExitStatus::Failed, diagnostic);
    let mut wasm = open_artifact(path).map_err(|error| {
        failed(Diagnostic::error("artifact", format!("cannot read `{}`: {error}", path.display())))
    })?;
    let stamp = Stamp::of(&wasm)?;
    let cache = if setup.cache { open_cache(warn) } else { None };
    let (last, others) = strategies.split_last().expect("there is a compiler");
    let mut found = None;
    if let Some(cache) = &cache {
        for other in others {
            if let Some(artifact) = launcher.cached(&mut wasm, *other, cache).map_err(failed)? {
                found = Some((artifact, *other));
                break;
            }
        }
    }
    let (Artifact { code, module_info, not_kept, .. }, strategy) = match found {
        Some(found) => found,
        None => (launcher.prepare(&mut wasm, *last, cache.as_ref()).map_err(failed)?, *last),
    };
    // What is wrong with the cache is wrong for every artifact of a command.
    if let Some(why) = not_kept.filter(|_| !NOT_KEPT.swap(true, Ordering::Relaxed)) {
        let folder = cache_dir().unwrap_or_default().join("code");
        let message = format!("compiled code cannot be kept in `{}`: {why}", folder.display());
        warn(
            Diagnostic::warning("cache", message)
                .note("each run compiles it anew")
                .help("make room there, or say `--no-cache`"),
        );
    }
    if module_info.component {
        let message = format!("`{}` is a component: wasip2 is not supported yet", path.display());
        return Err(failed(Diagnostic::error("module", message).help("build it for `wasm32-wasip1`")));
    }
    if !module_info.command {
        let message = format!("`{}` is no program: it exports no `_start`", path.display());
        return Err(failed(Diagnostic::error("module", message)));
    }
    let marked = module_info.marker.as_deref() == Some(MARKER);
    if ours && !marked {
        let message = format!("`{}` was not linked with the object of cargo-sandbox", path.display());
        return Err(failed(
            Diagnostic::error("marker", message)
                .note("without it the names of environment variables would not reach the gate")
                .help("a wrapper or linker that drops `-C link-arg` may be the cause; nothing was run"),
        ));
    }
    let layout = if marked { PreopenLayout::Root } else { PreopenLayout::TopLevel };
    Ok(Guest { wasm, stamp, code, module_info, strategy, layout })
}

/// Opens a file that has an end: a device or a pipe may have none, and a larger file is no module that the
/// compile child would read.
fn open_artifact(path: &Path) -> std::io::Result<File> {
    // A pipe must not hang us, nor a terminal become ours, before it is seen what it is.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    if found.len() > MAX_WASM {
        return Err(std::io::Error::other(format!("it is larger than {} MiB", MAX_WASM >> 20)));
    }
    Ok(file)
}

/// What is done where the tests of an artifact that Winch compiled run for long.
pub fn tier_up(guest: &Guest, setup: &Setup) -> Option<TierUp> {
    if setup.strategy != StrategyChoice::Auto || guest.strategy != Strategy::Winch {
        return None;
    }
    // Opened anew: others read the file through the descriptor that is there, and share its position.
    let wasm = File::open(format!("/proc/self/fd/{}", guest.wasm.as_raw_fd())).ok()?;
    // That it is not to be used was said when it was looked into.
    let cache = if setup.cache { open_cache(&mut |_| {}) } else { None };
    Some(TierUp { wasm, stamp: guest.stamp, strategy: Strategy::Cranelift, cache, after: TIER_UP })
}

fn open_cache(warn: &mut dyn FnMut(Diagnostic)) -> Option<Cache> {
    match Cache::open(&cache_dir()?.join("code"), CACHE_BOUND) {
        Ok(cache) => Some(cache),
        Err(warning) => {
            warn(warning);
            None
        }
    }
}

/// The compiler for a program whose run time is not known.
pub fn strategies(setup: &Setup) -> &'static [Strategy] {
    match setup.strategy {
        StrategyChoice::Winch => &[Strategy::Winch],
        StrategyChoice::Cranelift | StrategyChoice::Auto => &[Strategy::Cranelift],
    }
}

/// The compilers for the tests of one artifact, the one for new code last. Most artifacts of tests
/// are built to be run once: Winch compiles them three times as fast as Cranelift, and most tests
/// are over long before code that runs three times as fast would make up for that. Where they are not,
/// see [`tier_up`]: what Cranelift made is then in the cache, and preferred until the artifact changes.
pub fn test_strategies(setup: &Setup) -> &'static [Strategy] {
    match setup.strategy {
        StrategyChoice::Winch => &[Strategy::Winch],
        StrategyChoice::Cranelift => &[Strategy::Cranelift],
        StrategyChoice::Auto => &[Strategy::Cranelift, Strategy::Winch],
    }
}

/// The variable that says where a process is.
const PWD: &[u8] = b"PWD";

/// The guest's environment: of the caller's, what a grant names; then what the policy sets; and the
/// current directory, from which a guest that our object is in (`layout`) begins. Another one is told only
/// if it was asked for. `tmp` is the private directory, if there is one.
pub fn environment(
    policy: &Policy,
    decider: &Decider,
    tmp: Option<&Path>,
    layout: PreopenLayout,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    // Names that every guest may ask for are no grants: their values stay outside.
    let granted = |name: &OsString| {
        let resource = Resource::Env(name.as_bytes().to_owned());
        matches!(
            decider.decide(Operation::EnvRead, &resource),
            Decision::Allowed(Some(_)) | Decision::DependsOnOrigin
        )
    };
    let mut all: BTreeMap<Vec<u8>, Vec<u8>> = std::env::vars_os()
        .filter(|(name, _)| granted(name))
        .map(|(name, value)| (name.into_vec(), value.into_vec()))
        .collect();
    all.extend(
        policy.set.iter().map(|(name, value)| (name.clone().into_bytes(), value.clone().into_bytes())),
    );
    if let (Some(tmp), Some(value)) = (tmp, all.get_mut(&b"TMPDIR"[..]))
        && *value == tmp_as_text(tmp).into_bytes()
    {
        *value = tmp.as_os_str().as_bytes().to_vec();
    }
    if layout == PreopenLayout::Root || (all.contains_key(PWD) && !policy.set.contains_key("PWD")) {
        all.insert(PWD.to_vec(), policy.current_dir.clone());
    }
    all.into_iter().collect()
}
