//! The layout of libtest's descriptors, measured with a probe that the user's own rustc compiles.
//!
//! The probe is never run: it is linked as a module that exports its statics, and the numbers are
//! read from the module's data. It is compiled once for each rustc.

use super::image::Image;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::{Command, Stdio};
use wasmparser::{ExternalKind, Operator, Parser, Payload};

const SOURCE: &str = include_str!("probe_guest.rs");
/// First number of the probe's table: which table it is.
const MAGIC: u32 = 0x4c54_4431;
/// No descriptor is larger.
const MAX_SIZE: u32 = 4096;

/// How a `TestDescAndFn` lies in memory. Positions are bytes from its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    pub size: u32,
    /// Its alignment.
    pub align: u32,
    /// The bytes that say the name is a `StaticTestName`.
    pub name_tag: Vec<(u32, u8)>,
    pub name: TextAt,
    /// The path of the source file.
    pub source_file: TextAt,
    /// The line, a `u32`.
    pub start_line: u32,
    /// `ignore`, one byte.
    pub ignore: u32,
    /// First byte of what tells the variants of `ShouldPanic` apart.
    pub should_panic: u32,
    /// Those bytes in `ShouldPanic::No`, …
    pub no: Vec<u8>,
    pub yes: Vec<u8>,
    /// … and in `YesWithMessage`, …
    pub with_message: Vec<u8>,
    /// … where the expected text is here.
    pub message: TextAt,
}

/// Where a `&'static str` lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextAt {
    /// Its address, a `u32`.
    pub pointer: u32,
    /// Its length, a `u32`.
    pub length: u32,
}

impl TextAt {
    fn moved(self, by: u32) -> Self {
        Self { pointer: self.pointer + by, length: self.length + by }
    }
}

/// Why there is no layout. Every `#[should_panic]` test is then not run, for this reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoLayout(pub String);

impl std::fmt::Display for NoLayout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoLayout {}

fn no(reason: impl Into<String>) -> NoLayout {
    NoLayout(reason.into())
}

/// Measures the layout, or takes it from an earlier measurement in `folder` (ours, beneath
/// `target/sandbox`) of the same rustc and target.
///
/// `rustc` makes the command that the build used, with its environment and working directory; it is
/// asked for its version and compiles the probe. It takes 0.2 s the first time, 30 ms later.
///
/// # Errors
/// That rustc has no libtest for the target, or one of another shape.
pub fn layout(rustc: impl Fn() -> Command, target: &str, folder: &Path) -> Result<Layout, NoLayout> {
    let version = run(rustc().arg("-vV"))?;
    let mut hash = blake3::Hasher::new();
    for part in [SOURCE.as_bytes(), include_bytes!("probe.rs"), target.as_bytes(), &version] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let key = hash.finalize().to_hex();
    let cached = folder.join(format!("libtest-{}.json", &key[..32]));
    let earlier = std::fs::read(&cached).ok().and_then(|bytes| serde_json::from_slice::<Layout>(&bytes).ok());
    if let Some(layout) = earlier.filter(Layout::is_sane) {
        return Ok(layout);
    }
    let layout = measure(&compile(rustc, target, folder)?)?;
    // Without the cache it is only slower. A rename, so that two runs at once do no harm.
    let text = serde_json::to_vec(&layout).expect("numbers have a JSON form");
    if let Ok(mut file) = tempfile::NamedTempFile::new_in(folder)
        && std::io::Write::write_all(&mut file, &text).is_ok()
    {
        let _ = file.persist(&cached);
    }
    Ok(layout)
}

/// Compiles the probe and returns the module.
fn compile(rustc: impl Fn() -> Command, target: &str, folder: &Path) -> Result<Vec<u8>, NoLayout> {
    let failed = |error: std::io::Error| no(format!("the layout of libtest could not be measured: {error}"));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let scratch = tempfile::tempdir_in(folder).map_err(failed)?;
    let source = scratch.path().join("probe.rs");
    let module = scratch.path().join("probe.wasm");
    std::fs::write(&source, SOURCE).map_err(failed)?;
    let mut command = rustc();
    command
        .args([
            "--edition=2021",
            "--crate-name=cargo_sandbox_probe",
            "--crate-type=cdylib",
            "--target",
            target,
        ])
        .args(["--cap-lints=allow", "-Copt-level=1", "-Cstrip=debuginfo", "-o"])
        .arg(&module)
        .arg(&source)
        .env("RUSTC_BOOTSTRAP", "1");
    run(&mut command)?;
    std::fs::read(&module).map_err(failed)
}

fn run(command: &mut Command) -> Result<Vec<u8>, NoLayout> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| no(format!("the layout of libtest could not be measured: rustc: {error}")))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let first = text.lines().find(|line| line.starts_with("error")).unwrap_or("rustc failed");
    Err(no(format!("the layout of libtest could not be measured: {first}")))
}

/// Reads the layout from the compiled probe.
///
/// # Errors
/// It is not the probe, or libtest's types are of a shape that cannot be told from bytes.
pub fn measure(module: &[u8]) -> Result<Layout, NoLayout> {
    let probe = Probe { image: Image::parse(module).map_err(|error| no(error.0))?, statics: statics(module) };
    let table: Vec<u32> = probe
        .bytes("LAYOUT", 9 * 4)?
        .chunks_exact(4)
        .map(|word| u32::from_le_bytes(word.try_into().expect("four bytes")))
        .collect();
    let [MAGIC, size, align, name, name_size, panic, panic_size, source_file, line_and_ignore] = table[..]
    else {
        return Err(no("the probe's table is not the expected one"));
    };
    if name_size > MAX_SIZE || panic_size > MAX_SIZE {
        return Err(no("libtest's types are too large"));
    }
    let text = probe.text_at("TEXT", 8, "cargo-sandbox text")?;

    let name_a = probe.bytes("NAME_A", name_size)?;
    let name_at = probe.text_at("NAME_A", name_size, "cargo-sandbox name a")?;
    if probe.text_at("NAME_B", name_size, "cargo-sandbox longer name b")? != name_at {
        return Err(no("names of libtest's tests lie at no fixed place"));
    }
    // What tells a static name from the two other kinds, and is the same in both static ones.
    let name_b = probe.bytes("NAME_B", name_size)?;
    let dynamic = probe.bytes("NAME_DYN", name_size)?;
    let aligned = probe.bytes("NAME_ALIGNED", name_size)?;
    let name_tag: Vec<(u32, u8)> = (0..name_size)
        .filter(|i| !name_at.covers(*i))
        .map(|i| (i, i as usize))
        .filter(|(_, i)| name_a[*i] != dynamic[*i] || name_a[*i] != aligned[*i])
        .map(|(at, i)| (at + name, name_a[i]))
        .collect();
    let tag_is_fixed = name_tag.iter().all(|(at, byte)| name_b[(at - name) as usize] == *byte);
    if name_tag.is_empty() || !tag_is_fixed {
        return Err(no("static names of libtest's tests cannot be told from others"));
    }

    let [no_, yes, with_a, with_b] = ["PANIC_NO", "PANIC_YES", "PANIC_WITH_A", "PANIC_WITH_B"]
        .map(|name| probe.bytes(name, panic_size))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?[..]
    else {
        unreachable!("four went in");
    };
    let message = probe.text_at("PANIC_WITH_A", panic_size, "cargo-sandbox panic a")?;
    let same = probe.text_at("PANIC_WITH_B", panic_size, "cargo-sandbox longer panic b")? == message;
    let first = (0..no_.len()).find(|i| no_[*i] != yes[*i]);
    let last = (0..no_.len()).rfind(|i| no_[*i] != yes[*i]);
    let (Some(first), Some(last), true) = (first, last, same) else {
        return Err(no("the kinds of `ShouldPanic` cannot be told apart"));
    };
    let layout = Layout {
        size,
        align,
        name_tag,
        name: name_at.moved(name),
        source_file: text.moved(source_file),
        start_line: line_and_ignore & 0xffff,
        ignore: line_and_ignore >> 16,
        should_panic: panic + first as u32,
        no: no_[first..=last].to_vec(),
        yes: yes[first..=last].to_vec(),
        with_message: with_a[first..=last].to_vec(),
        message: message.moved(panic),
    };
    if with_b[first..=last] != layout.with_message || !layout.is_sane() {
        return Err(no("the kinds of `ShouldPanic` cannot be told apart"));
    }
    Ok(layout)
}

impl TextAt {
    fn covers(self, at: u32) -> bool {
        (self.pointer..self.pointer + 4).contains(&at) || (self.length..self.length + 4).contains(&at)
    }
}

impl Layout {
    /// Whether every position lies within the descriptor and the variants differ: whoever may write
    /// the cache must not make us read beyond a descriptor.
    fn is_sane(&self) -> bool {
        let fits = |at: u32, length: usize| u64::from(at) + length as u64 <= u64::from(self.size);
        let text_fits = |text: TextAt| fits(text.pointer, 4) && fits(text.length, 4);
        let kind = self.no.len();
        self.size <= MAX_SIZE
            && [1, 2, 4, 8, 16].contains(&self.align)
            && !self.name_tag.is_empty()
            && self.name_tag.iter().all(|(at, _)| fits(*at, 1))
            && [self.name, self.source_file, self.message].into_iter().all(text_fits)
            && fits(self.start_line, 4)
            && fits(self.ignore, 1)
            && fits(self.should_panic, kind)
            && kind > 0
            && self.yes.len() == kind
            && self.with_message.len() == kind
            && self.no != self.yes
            && self.no != self.with_message
            && self.yes != self.with_message
    }
}

/// The probe's data and where each static lies in it.
struct Probe<'a> {
    image: Image<'a>,
    statics: Vec<(String, u32)>,
}

impl<'a> Probe<'a> {
    fn bytes(&self, name: &str, length: u32) -> Result<&'a [u8], NoLayout> {
        let full = format!("CARGO_SANDBOX_{name}");
        let found = self.statics.iter().find(|(known, _)| *known == full);
        found
            .and_then(|(_, address)| self.image.bytes(*address, length))
            .ok_or_else(|| no(format!("the probe does not hold `{full}`")))
    }

    /// Where in a static the address and length of `text` are.
    fn text_at(&self, name: &str, length: u32, text: &str) -> Result<TextAt, NoLayout> {
        let bytes = self.bytes(name, length)?;
        let word =
            |at: u32| u32::from_le_bytes(bytes[at as usize..at as usize + 4].try_into().expect("four bytes"));
        let words = || (0..length.saturating_sub(3)).step_by(4);
        for length in words().filter(|at| word(*at) as usize == text.len()) {
            for pointer in words().filter(|at| *at != length) {
                if self.image.text(word(pointer), text.len() as u32) == Some(text) {
                    return Ok(TextAt { pointer, length });
                }
            }
        }
        Err(no(format!("the text in the probe's `{name}` was not found")))
    }
}

/// The exported immutable globals with constant values: a linker exports a static as its address.
fn statics(module: &[u8]) -> Vec<(String, u32)> {
    let mut globals = Vec::new();
    let mut statics = Vec::new();
    for payload in Parser::new(0).parse_all(module).map_while(Result::ok) {
        match payload {
            Payload::GlobalSection(reader) => {
                globals = reader
                    .into_iter()
                    .map_while(Result::ok)
                    .map(|global| match global.init_expr.get_operators_reader().read() {
                        Ok(Operator::I32Const { value }) if !global.ty.mutable => Some(value.cast_unsigned()),
                        _ => None,
                    })
                    .collect();
            }
            Payload::ExportSection(reader) => {
                for export in reader.into_iter().map_while(Result::ok) {
                    if export.kind == ExternalKind::Global
                        && let Some(Some(address)) = globals.get(export.index as usize)
                    {
                        statics.push((export.name.to_owned(), *address));
                    }
                }
            }
            _ => {}
        }
    }
    statics
}
