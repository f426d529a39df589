//! Programs: what a guest does, one call after the other, and how that is written for the guest and for people.

use super::tree::with_root;
use cargo_sandbox::wasi::{real_root, top_level};
use cargo_sandbox::worker::protocol::PreopenLayout;
use std::fmt;
use std::path::Path;

/// Where a path starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// The root of the tree; an absolute path of the guest.
    Tree,
    /// What the guest has in a slot, a directory as a rule.
    Slot(u8),
    /// `/tmp`, as the guest calls its private directory in an audit.
    Tmp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct At(pub Base, pub String);

pub(crate) const CREATE: u16 = 1;
pub(crate) const DIRECTORY: u16 = 2;
pub(crate) const EXCLUSIVE: u16 = 4;
pub(crate) const TRUNCATE: u16 = 8;

/// How a file is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) follow: bool,
    pub(crate) flags: u16,
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) append: bool,
}

/// One call. The numbers are slots that descriptors are kept in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Open(u8, At, Opening),
    Read(u8),
    ReadAt(u8, u64),
    Write(u8),
    WriteAt(u8, u64),
    SetSize(u8, u64),
    Allocate(u8, u64),
    SetTimes(u8),
    Seek(u8, u64),
    Close(u8),
    Renumber(u8, u8),
    List(u8),
    Look(u8),
    Stat(At, bool),
    SetTimesOf(At, bool),
    MakeDirectory(At),
    RemoveDirectory(At),
    Remove(At),
    /// The text first; `^` at its beginning stands for the root of the tree.
    Symlink(String, At),
    Link(At, bool, At),
    Rename(At, At),
    ReadLink(At),
}

impl Call {
    /// The first word of it.
    pub(crate) fn kind(&self) -> String {
        let text = self.to_string();
        let words: Vec<&str> = text.split(' ').collect();
        words[if words[0].starts_with('[') { 2 } else { 0 }].to_owned()
    }
}

/// How many first words there are.
pub(crate) const KINDS: usize = 21;

/// The seconds that only `SetTimes` and `SetTimesOf` write.
pub(crate) const TIME: i64 = 1_000_000_007;

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Base::Tree => write!(f, "{}", self.1),
            Base::Slot(slot) => write!(f, "[{slot}]/{}", self.1),
            Base::Tmp => write!(f, "/tmp/{}", self.1),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let followed = |follow: &bool| if *follow { "" } else { ", nofollow" };
        match self {
            Self::Open(slot, at, how) => {
                let words = [
                    (how.read, "read"),
                    (how.write, "write"),
                    (how.flags & CREATE != 0, "create"),
                    (how.flags & EXCLUSIVE != 0, "excl"),
                    (how.flags & TRUNCATE != 0, "trunc"),
                    (how.flags & DIRECTORY != 0, "directory"),
                    (how.append, "append"),
                    (!how.follow, "nofollow"),
                ];
                let words: Vec<&str> =
                    words.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect();
                write!(f, "[{slot}] = open {at} ({})", words.join(" "))
            }
            Self::Read(slot) => write!(f, "read [{slot}]"),
            Self::ReadAt(slot, offset) => write!(f, "pread [{slot}] at {offset}"),
            Self::Write(slot) => write!(f, "write [{slot}]"),
            Self::WriteAt(slot, offset) => write!(f, "pwrite [{slot}] at {offset}"),
            Self::SetSize(slot, size) => write!(f, "set_size [{slot}] {size}"),
            Self::Allocate(slot, size) => write!(f, "allocate [{slot}] {size}"),
            Self::SetTimes(slot) => write!(f, "set_times [{slot}]"),
            Self::Seek(slot, to) => write!(f, "seek [{slot}] {to}"),
            Self::Close(slot) => write!(f, "close [{slot}]"),
            Self::Renumber(from, to) => write!(f, "renumber [{from}] [{to}]"),
            Self::List(slot) => write!(f, "list [{slot}]"),
            Self::Look(slot) => write!(f, "fstat [{slot}]"),
            Self::Stat(at, follow) => write!(f, "stat {at}{}", followed(follow)),
            Self::SetTimesOf(at, follow) => write!(f, "set_times {at}{}", followed(follow)),
            Self::MakeDirectory(at) => write!(f, "mkdir {at}"),
            Self::RemoveDirectory(at) => write!(f, "rmdir {at}"),
            Self::Remove(at) => write!(f, "unlink {at}"),
            Self::Symlink(text, at) => write!(f, "symlink {at} -> {text}"),
            Self::Link(from, follow, to) => write!(f, "link {to} = {from}{}", followed(follow)),
            Self::Rename(from, to) => write!(f, "rename {from} -> {to}"),
            Self::ReadLink(at) => write!(f, "readlink {at}"),
        }
    }
}

/// What the guest brought out of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    /// The bytes of a file.
    Contents(Vec<u8>),
    /// The entries of a directory: name and inode.
    Entries(Vec<(String, u64)>),
    /// An inode that was named, or one that was open.
    Inode(u64),
    OpenInode(u64),
    /// The text of a link.
    Text(String),
}

/// A program as the guest of `guest.rs` reads it.
pub(crate) struct Encoded {
    /// For the first argument.
    pub(crate) image: Vec<u8>,
    calls: Vec<Call>,
    /// For each call, where what it brings out is in the answer.
    at: Vec<usize>,
}

/// Addresses in the guest's memory.
pub(crate) const IMAGE: usize = 0x1_0000;
pub(crate) const RECORDS: usize = IMAGE + 64;
const ANSWER: usize = 0x8_0000;
pub(crate) const RECORD: usize = 88;

/// The functions that the guest can call, with the types of their parameters; number 1 is the first one.
pub(crate) const FUNCTIONS: &[(&str, &str)] = &[
    ("path_open", "iiiiiIIii"),
    ("fd_read", "iiii"),
    ("fd_pread", "iiiIi"),
    ("fd_write", "iiii"),
    ("fd_pwrite", "iiiIi"),
    ("fd_filestat_set_size", "iI"),
    ("fd_allocate", "iII"),
    ("fd_filestat_set_times", "iIIi"),
    ("fd_seek", "iIii"),
    ("fd_close", "i"),
    ("fd_renumber", "ii"),
    ("fd_readdir", "iiiIi"),
    ("fd_filestat_get", "ii"),
    ("path_filestat_get", "iiiii"),
    ("path_filestat_set_times", "iiiiIIi"),
    ("path_create_directory", "iii"),
    ("path_remove_directory", "iii"),
    ("path_unlink_file", "iii"),
    ("path_symlink", "iiiii"),
    ("path_link", "iiiiiii"),
    ("path_rename", "iiiiii"),
    ("path_readlink", "iiiiii"),
];

/// A parameter: a number, or what is in memory at an address when the call is made.
#[derive(Clone, Copy)]
enum Word {
    Is(u64),
    In(usize),
}

struct Encoder<'a> {
    root: &'a Path,
    layout: PreopenLayout,
    /// The descriptor of `/tmp`, where that is one of several.
    tmp: u64,
    records: Vec<u8>,
    strings: Vec<u8>,
    /// Where the strings begin.
    base: usize,
}

/// Room for what one call brings out, after the number of bytes.
const ROOM: usize = 2048;

impl Encoder<'_> {
    fn string(&mut self, bytes: &[u8]) -> [Word; 2] {
        let at = self.base + self.strings.len();
        self.strings.extend_from_slice(bytes);
        [Word::Is(at as u64), Word::Is(bytes.len() as u64)]
    }

    /// An `iovec`.
    fn vector(&mut self, at: usize, length: usize) -> Word {
        while !self.strings.len().is_multiple_of(8) {
            self.strings.push(0);
        }
        let bytes = [(at as u32).to_le_bytes(), (length as u32).to_le_bytes()].concat();
        self.string(&bytes)[0]
    }

    fn slot(slot: u8) -> Word {
        Word::In(IMAGE + 4 * usize::from(slot))
    }

    fn at(&mut self, at: &At) -> [Word; 3] {
        let (fd, path) = match (at.0, self.layout) {
            (Base::Slot(slot), _) => (Self::slot(slot), at.1.clone()),
            (Base::Tree, PreopenLayout::Root) => {
                (Word::Is(3), format!("{}/{}", &self.root.display().to_string()[1..], at.1))
            }
            // The package is the current directory.
            (Base::Tree, PreopenLayout::TopLevel) => (Word::Is(3), format!("../{}", at.1)),
            (Base::Tmp, PreopenLayout::Root) => (Word::Is(3), format!("tmp/{}", at.1)),
            (Base::Tmp, PreopenLayout::TopLevel) => (Word::Is(self.tmp), at.1.clone()),
        };
        let [text, length] = self.string(path.as_bytes());
        [fd, text, length]
    }

    fn record(&mut self, name: &str, result: usize, words: &[Word]) {
        let number = FUNCTIONS.iter().position(|(function, _)| *function == name).expect("one of them") + 1;
        let indirect =
            |(index, word): (usize, &Word)| if let Word::In(_) = word { 1_u32 << index } else { 0 };
        let mask: u32 = words.iter().enumerate().map(indirect).sum();
        for head in [number as u32, result as u32, mask, 0] {
            self.records.extend_from_slice(&head.to_le_bytes());
        }
        for index in 0..9 {
            let word = match words.get(index) {
                Some(Word::Is(word)) => *word,
                Some(Word::In(at)) => *at as u64,
                None => 0,
            };
            self.records.extend_from_slice(&word.to_le_bytes());
        }
    }
}

fn number(is: bool) -> Word {
    Word::Is(is.into())
}

impl Encoded {
    /// `out` is a file that the guest writes its answer to.
    pub(crate) fn new(calls: &[Call], root: &Path, out: &Path, layout: PreopenLayout) -> Self {
        let tops = top_level(&real_root().expect("there is a root")).expect("it can be listed");
        let tmp = tops.iter().position(|name| name == b"/tmp").map_or(9999, |index| 4 + index as u64);
        let base = RECORDS + (calls.len() + 3) * RECORD;
        let mut e = Encoder { root, layout, tmp, records: Vec::new(), strings: Vec::new(), base };
        let mut place = ANSWER + calls.len() * 4;
        let mut at = Vec::new();
        for (index, call) in calls.iter().enumerate() {
            place = place.next_multiple_of(8);
            at.push(place - ANSWER);
            let (used, buffer) = (Word::Is(place as u64), place + 8);
            let (room, one) = (Word::Is(ROOM as u64), Word::Is(1));
            let here = Word::Is(buffer as u64);
            let (name, words): (&str, Vec<Word>) = match call {
                Call::Open(slot, at, how) => {
                    let [fd, text, length] = e.at(at);
                    let rights = 2 * u64::from(how.read) + 64 * u64::from(how.write);
                    let flags = Word::Is(how.flags.into());
                    let out = Word::Is((IMAGE + 4 * usize::from(*slot)) as u64);
                    let words = [
                        fd,
                        number(how.follow),
                        text,
                        length,
                        flags,
                        Word::Is(rights),
                        Word::Is(u64::MAX),
                        number(how.append),
                        out,
                    ];
                    ("path_open", words.to_vec())
                }
                Call::Read(slot) => {
                    let vector = e.vector(buffer, 512);
                    ("fd_read", vec![Encoder::slot(*slot), vector, one, used])
                }
                Call::ReadAt(slot, offset) => {
                    let vector = e.vector(buffer, 512);
                    ("fd_pread", vec![Encoder::slot(*slot), vector, one, Word::Is(*offset), used])
                }
                Call::Write(slot) | Call::WriteAt(slot, _) => {
                    let text = format!("guest {index} wrote this");
                    let [Word::Is(text), Word::Is(length)] = e.string(text.as_bytes()) else {
                        unreachable!()
                    };
                    let vector = e.vector(text as usize, length as usize);
                    match call {
                        Call::WriteAt(_, offset) => {
                            ("fd_pwrite", vec![Encoder::slot(*slot), vector, one, Word::Is(*offset), used])
                        }
                        _ => ("fd_write", vec![Encoder::slot(*slot), vector, one, used]),
                    }
                }
                Call::SetSize(slot, size) => {
                    ("fd_filestat_set_size", vec![Encoder::slot(*slot), Word::Is(*size)])
                }
                Call::Allocate(slot, size) => {
                    ("fd_allocate", vec![Encoder::slot(*slot), Word::Is(0), Word::Is(*size)])
                }
                Call::SetTimes(slot) => {
                    let time = Word::Is(TIME as u64 * 1_000_000_000);
                    ("fd_filestat_set_times", vec![Encoder::slot(*slot), time, time, Word::Is(5)])
                }
                Call::Seek(slot, to) => {
                    ("fd_seek", vec![Encoder::slot(*slot), Word::Is(*to), Word::Is(0), used])
                }
                Call::Close(slot) => ("fd_close", vec![Encoder::slot(*slot)]),
                Call::Renumber(from, to) => ("fd_renumber", vec![Encoder::slot(*from), Encoder::slot(*to)]),
                Call::List(slot) => ("fd_readdir", vec![Encoder::slot(*slot), here, room, Word::Is(0), used]),
                Call::Look(slot) => ("fd_filestat_get", vec![Encoder::slot(*slot), here]),
                Call::Stat(at, follow) => {
                    let [fd, text, length] = e.at(at);
                    ("path_filestat_get", vec![fd, number(*follow), text, length, here])
                }
                Call::SetTimesOf(at, follow) => {
                    let [fd, text, length] = e.at(at);
                    let time = Word::Is(TIME as u64 * 1_000_000_000);
                    (
                        "path_filestat_set_times",
                        vec![fd, number(*follow), text, length, time, time, Word::Is(5)],
                    )
                }
                Call::MakeDirectory(at) => ("path_create_directory", e.at(at).to_vec()),
                Call::RemoveDirectory(at) => ("path_remove_directory", e.at(at).to_vec()),
                Call::Remove(at) => ("path_unlink_file", e.at(at).to_vec()),
                Call::Symlink(text, at) => {
                    let text = with_root(text, e.root);
                    let [text, length] = e.string(text.as_bytes());
                    let [fd, path, path_length] = e.at(at);
                    ("path_symlink", vec![text, length, fd, path, path_length])
                }
                Call::Link(from, follow, to) => {
                    let ([fd, old, old_length], [to, new, new_length]) = (e.at(from), e.at(to));
                    ("path_link", vec![fd, number(*follow), old, old_length, to, new, new_length])
                }
                Call::Rename(from, to) => ("path_rename", [e.at(from), e.at(to)].concat()),
                Call::ReadLink(at) => {
                    let [fd, text, length] = e.at(at);
                    ("path_readlink", vec![fd, text, length, here, room, used])
                }
            };
            e.record(name, ANSWER + 4 * index, &words);
            place = buffer + if brings(call) { ROOM } else { 0 };
        }
        // The answer goes out through a slot that no program uses.
        let name = out.file_name().expect("a file").display();
        let [_, text, length] = e.at(&At(Base::Tree, format!("../{name}")));
        let (fd, zero) = (Word::Is(3), Word::Is(0));
        let slot = Word::Is((IMAGE + 4 * 15) as u64);
        let scratch = Word::Is((IMAGE - 16) as u64);
        e.record("path_open", IMAGE - 32, &[fd, zero, text, length, zero, Word::Is(64), zero, zero, slot]);
        let vector = e.vector(ANSWER, place - ANSWER);
        e.record("fd_write", IMAGE - 32, &[Word::In(IMAGE + 4 * 15), vector, Word::Is(1), scratch]);
        let mut image: Vec<u8> = std::iter::repeat_n(9999_u32.to_le_bytes(), 16).flatten().collect();
        image.extend_from_slice(&e.records);
        image.extend(std::iter::repeat_n(0, RECORD));
        assert_eq!(IMAGE + image.len(), base, "the strings come after one empty record");
        image.extend_from_slice(&e.strings);
        assert!(IMAGE + image.len() < ANSWER, "a program of {} bytes is too long", image.len());
        Self { image, calls: calls.to_vec(), at }
    }

    /// What each call answered, and what it brought out.
    pub(crate) fn decode(&self, answer: &[u8]) -> Option<Vec<(u32, Option<Got>)>> {
        let word = |at: usize| answer.get(at..at + 4).map(|b| u32::from_le_bytes(b.try_into().unwrap()));
        let long = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let mut all = Vec::new();
        for (index, (call, at)) in self.calls.iter().zip(&self.at).enumerate() {
            let errno = word(4 * index)?;
            if errno != 0 || !brings(call) {
                all.push((errno, None));
                continue;
            }
            let used = (word(*at)? as usize).min(ROOM);
            let buffer = answer.get(at + 8..at + 8 + ROOM)?;
            all.push((
                0,
                Some(match call {
                    Call::Read(_) | Call::ReadAt(..) => Got::Contents(buffer[..used].to_vec()),
                    Call::Look(_) => Got::OpenInode(long(&buffer[8..16])),
                    Call::Stat(..) => Got::Inode(long(&buffer[8..16])),
                    Call::ReadLink(_) => Got::Text(String::from_utf8_lossy(&buffer[..used]).into_owned()),
                    _ => {
                        let (mut entries, mut rest) = (Vec::new(), &buffer[..used]);
                        while rest.len() >= 24 {
                            let inode = long(&rest[8..16]);
                            let length =
                                u32::from_le_bytes(rest[16..20].try_into().expect("four bytes")) as usize;
                            let Some(name) = rest.get(24..24 + length) else { break };
                            entries.push((String::from_utf8_lossy(name).into_owned(), inode));
                            rest = &rest[24 + length..];
                        }
                        Got::Entries(entries)
                    }
                }),
            ));
        }
        Some(all)
    }
}

/// Whether a call tells the guest more than its number.
fn brings(call: &Call) -> bool {
    matches!(
        call,
        Call::Read(_) | Call::ReadAt(..) | Call::Look(_) | Call::Stat(..) | Call::ReadLink(_) | Call::List(_)
    )
}
