//! Makes random programs. Mostly a call is about what is there by then and may be done: what nobody lets happen shows
//! nothing. The rest is tempting, or odd.

use super::program::{At, Base, CREATE, Call, DIRECTORY, EXCLUSIVE, Opening, TRUNCATE};
use super::random::Random;
use super::rules::{Entry, Rights, Rules, TMP};
use super::tree::{Item, Tree, above, relative};
use std::collections::{BTreeMap, HashMap};

/// Names for what is new.
const NAMES: &[&str] = &[
    "Cargo.toml",
    "build.rs",
    ".cargo",
    ".git",
    "config",
    "config.toml",
    "Makefile",
    "secret.pem",
    "key.pem",
    "new",
    "n.txt",
    "m.csv",
    "sub",
    "d",
    "e",
    "a",
    "x.txt",
    "deep",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
    Link,
}

struct Maker<'a> {
    random: &'a mut Random,
    /// What is there by now, if all went as it seems that it must.
    there: BTreeMap<String, Kind>,
    /// What the policy speaks of.
    areas: Vec<String>,
    /// Where each slot's descriptor was opened, and as what.
    slots: Vec<(u8, String, Kind)>,
    /// The guest sees its private directory as `/tmp`.
    tmp: bool,
    rules: Rules,
    known: HashMap<String, Rights>,
    calls: Vec<Call>,
}

/// A program of some calls, about a tree and what a policy says of it.
pub(crate) fn random(random: &mut Random, tree: &Tree, entries: &[Entry], audit: bool) -> Vec<Call> {
    let mut there: BTreeMap<String, Kind> =
        tree.paths().into_iter().map(|path| (path, Kind::Directory)).collect();
    for item in &tree.0 {
        let (path, kind) = match item {
            Item::Directory(path) => (path, Kind::Directory),
            Item::File(path) | Item::Hard(path, _) => (path, Kind::File),
            Item::Link(path, _) => (path, Kind::Link),
        };
        there.insert(path.clone(), kind);
    }
    let areas = entries.iter().map(area).collect();
    // Where links lead does not matter here: this only says what is worth trying.
    let rules = Rules::new(entries, audit, str::to_owned);
    let calls = 8 + random.below(40);
    let known = HashMap::new();
    let tmp = audit || entries.iter().any(|entry| entry.as_tmp);
    let mut maker = Maker { random, there, areas, slots: Vec::new(), tmp, rules, known, calls: Vec::new() };
    while maker.calls.len() < calls {
        maker.step();
    }
    maker.calls
}

/// The folder or file that an entry is about.
fn area(entry: &Entry) -> String {
    let text = if let Some(rest) = entry.text.strip_prefix('^') {
        rest.trim_start_matches('/').to_owned()
    } else if let Some(rest) = entry.text.strip_prefix("{tmp}") {
        format!("{TMP}{rest}")
    } else {
        format!("pkg/{}", entry.text)
    };
    let end = text.find('*').unwrap_or(text.len());
    text[..end].trim_end_matches('/').to_owned()
}

fn is_beneath(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Maker<'_> {
    fn rights(&mut self, path: &str) -> Rights {
        if let Some(rights) = self.known.get(path) {
            return *rights;
        }
        let rights = self.rules.rights(path);
        self.known.insert(path.to_owned(), rights);
        rights
    }

    /// Something that is there.
    fn any(&mut self, kind: Option<Kind>) -> String {
        let fits = |path: &&String| kind.is_none_or(|kind| self.there[*path] == kind);
        let mut all: Vec<&String> = self.there.keys().filter(fits).collect();
        if self.random.chance(85) {
            let near: Vec<&String> = all
                .iter()
                .copied()
                .filter(|path| self.areas.iter().any(|area| is_beneath(path, area)))
                .collect();
            if !near.is_empty() {
                all = near;
            }
        }
        if all.is_empty() { "pkg".to_owned() } else { (*self.random.of(&all)).clone() }
    }

    /// A path without anything odd in it, mostly one with these rights, and at times one just without.
    fn path(&mut self, wanted: Rights, kind: Option<Kind>) -> String {
        let new = wanted == Rights::CREATE;
        let tempting = self.random.chance(10);
        let mut path = String::new();
        for _ in 0..12 {
            path = if new { self.fresh() } else { self.any(kind) };
            let taken = new && self.there.contains_key(&path) && self.random.chance(70);
            if self.rights(&path).has(wanted) != tempting && !taken {
                break;
            }
        }
        match self.random.below(40) {
            0 => format!("{path}/{}", self.random.of(NAMES)),
            1 => above(&path).to_owned(),
            2 => self.any(None),
            _ => path,
        }
    }

    /// A name in a directory, or what an entry speaks of.
    fn fresh(&mut self) -> String {
        if !self.areas.is_empty() && self.random.chance(15) {
            return self.random.of(&self.areas).clone();
        }
        let folder = self.any(Some(Kind::Directory));
        format!("{folder}/{}", self.random.of(NAMES))
    }

    /// A path as a guest may write it, and the plain one.
    fn at(&mut self, wanted: Rights, kind: Option<Kind>) -> (At, String) {
        let plain = self.path(wanted, kind);
        let mut path = plain.clone();
        let mut base = Base::Tree;
        let folders: Vec<(u8, String)> = self
            .slots
            .iter()
            .filter(|(.., kind)| *kind == Kind::Directory)
            .map(|(slot, folder, _)| (*slot, folder.clone()))
            .collect();
        if !folders.is_empty() && self.random.chance(25) {
            let (slot, folder) = self.random.of(&folders).clone();
            base = Base::Slot(slot);
            path = match plain.strip_prefix(&format!("{folder}/")) {
                Some(rest) => rest.to_owned(),
                // Up and down again, or whatever is called so in there.
                None if self.random.chance(70) => relative(&format!("{folder}/x"), &plain),
                None => (*self.random.of(NAMES)).to_owned(),
            };
        } else if self.tmp
            && self.random.chance(30)
            && let Some(rest) = plain.strip_prefix(TMP)
        {
            base = Base::Tmp;
            path = rest.trim_start_matches('/').to_owned();
        }
        match self.random.below(60) {
            0 | 1 => path.push('/'),
            2 => path.push_str("/."),
            3 => path = path.replacen('/', "//", 1),
            4 => path = format!("./{path}"),
            5 | 6 => {
                if let Some((folder, name)) = path.rsplit_once('/') {
                    let last = folder.rsplit('/').next().unwrap_or("");
                    path = format!("{folder}/../{last}/{name}");
                }
            }
            7 => path = format!("{path}/../{}", self.random.of(NAMES)),
            8 => path.push_str("/.."),
            _ => {}
        }
        (At(base, path), plain)
    }

    /// From now on it is there, if nothing was in the way.
    fn add(&mut self, path: &str, kind: Kind) {
        let parent = self.there.get(above(path)) == Some(&Kind::Directory);
        if parent && self.rights(path).has(Rights::CREATE) && !self.there.contains_key(path) {
            self.there.insert(path.to_owned(), kind);
        }
    }

    fn take(&mut self, path: &str) -> Vec<(String, Kind)> {
        if !self.rights(path).has(Rights::DELETE) {
            return Vec::new();
        }
        let all: Vec<(String, Kind)> = self
            .there
            .iter()
            .filter(|(name, _)| is_beneath(name, path))
            .map(|(name, kind)| (name.clone(), *kind))
            .collect();
        self.there.retain(|name, _| !is_beneath(name, path));
        all
    }

    /// One thing gets the name of another.
    fn carry(&mut self, from: &str, to: &str) {
        if from == to || is_beneath(to, from) || !self.rights(to).has(Rights::CREATE) {
            return;
        }
        if self.there.get(above(to)) != Some(&Kind::Directory) {
            return;
        }
        for (name, kind) in self.take(from) {
            self.there.insert(format!("{to}{}", &name[from.len()..]), kind);
        }
    }

    fn slot(&mut self, kind: Kind) -> u8 {
        // Mostly one that is in use, as what it is.
        let fits: Vec<u8> = self.slots.iter().filter(|it| it.2 == kind).map(|it| it.0).collect();
        match fits.is_empty() || self.random.chance(8) {
            true => self.random.below(6) as u8,
            false => *self.random.of(&fits),
        }
    }

    fn opened(&mut self, at: At, plain: String, how: Opening) -> u8 {
        let slot = self.random.below(6) as u8;
        if how.flags & CREATE != 0 {
            self.add(&plain, Kind::File);
        }
        self.slots.retain(|it| it.0 != slot);
        let may = self.rights(&plain) != Rights::NONE;
        if may && let Some(kind) = self.there.get(&plain) {
            self.slots.push((slot, plain, *kind));
        }
        self.calls.push(Call::Open(slot, at, how));
        slot
    }

    fn open(&mut self) {
        let kind = self.random.below(12);
        let (at, plain) = match kind {
            0..=2 => self.at(Rights::LIST, Some(Kind::Directory)),
            3..=5 => self.at(Rights::READ, Some(Kind::File)),
            6 | 7 => self.at(Rights::CREATE, None),
            8 | 10 => self.at(Rights::MODIFY, Some(Kind::File)),
            9 => self.at(Rights::MODIFY.and(Rights::READ), Some(Kind::File)),
            _ => self.at(Rights::NONE, None),
        };
        let follow = self.random.chance(85);
        let how = match kind {
            0..=2 => Opening { follow, flags: DIRECTORY, read: true, ..Opening::default() },
            3..=5 => Opening { follow, read: true, ..Opening::default() },
            6 => Opening { follow, write: true, flags: CREATE | TRUNCATE, ..Opening::default() },
            7 => Opening { follow, write: true, flags: CREATE | EXCLUSIVE, ..Opening::default() },
            8 => Opening { follow, write: true, append: true, ..Opening::default() },
            9 => Opening { follow, write: true, read: true, ..Opening::default() },
            10 => Opening { follow, write: true, ..Opening::default() },
            _ => Opening {
                follow,
                flags: self.random.below(16) as u16,
                read: self.random.chance(50),
                write: self.random.chance(50),
                append: self.random.chance(20),
            },
        };
        let slot = self.opened(at, plain, how);
        if how.flags & DIRECTORY != 0 {
            if self.random.chance(50) {
                self.calls.push(Call::List(slot));
            }
        } else if self.random.chance(60) {
            self.calls.push(if how.read { Call::Read(slot) } else { Call::Write(slot) });
        }
    }

    fn step(&mut self) {
        let weights = [22, 18, 8, 8, 7, 5, 3, 4, 4, 3, 10, 6, 5];
        let (file, folder, link) = (Some(Kind::File), Some(Kind::Directory), Some(Kind::Link));
        match self.random.weighted(&weights) {
            0 => {
                let kind = *self.random.of(&[None, folder, folder, file, link]);
                let (from, old) = self.at(Rights::DELETE, kind);
                let (to, new) = match self.random.chance(20) {
                    // In the place of something.
                    true => self.at(Rights::CREATE.and(Rights::DELETE), kind),
                    false => self.at(Rights::CREATE, None),
                };
                self.carry(&old, &new);
                self.calls.push(Call::Rename(from, to));
            }
            1 => self.open(),
            2 => {
                let kind = *self.random.of(&[None, file, file, link]);
                let ((from, _), (to, new)) = (self.at(Rights::STAT, kind), self.at(Rights::CREATE, None));
                self.add(&new, Kind::File);
                self.calls.push(Call::Link(from, self.random.chance(20), to));
            }
            3 => {
                let ((at, plain), target) = (self.at(Rights::CREATE, None), self.path(Rights::STAT, None));
                let text = match self.random.below(10) {
                    0..=5 => relative(&plain, &target),
                    6..=8 => format!("^/{target}"),
                    _ => format!("{}/../{}", self.random.of(NAMES), self.random.of(NAMES)),
                };
                self.add(&plain, Kind::Link);
                self.calls.push(Call::Symlink(text, at));
            }
            4 => {
                let (at, plain) = self.at(Rights::CREATE, None);
                self.add(&plain, Kind::Directory);
                self.calls.push(Call::MakeDirectory(at));
            }
            5 => {
                let kind = *self.random.of(&[file, file, link]);
                let (at, plain) = self.at(Rights::DELETE, kind);
                self.take(&plain);
                self.calls.push(Call::Remove(at));
            }
            6 => {
                let (at, plain) = self.at(Rights::DELETE, folder);
                let empty = self.there.keys().filter(|name| is_beneath(name, &plain)).count() == 1;
                if empty {
                    self.take(&plain);
                }
                self.calls.push(Call::RemoveDirectory(at));
            }
            7 => {
                let (at, _) = self.at(Rights::STAT, None);
                self.calls.push(Call::Stat(at, self.random.chance(70)));
            }
            8 => {
                let (at, _) = self.at(Rights::STAT, link);
                self.calls.push(Call::ReadLink(at));
            }
            9 => {
                let (at, _) = self.at(Rights::MODIFY, None);
                self.calls.push(Call::SetTimesOf(at, self.random.chance(70)));
            }
            10 => self.descriptor(),
            11 => self.swap(),
            _ => self.bring(),
        }
    }

    fn descriptor(&mut self) {
        if self.slots.is_empty() && self.random.chance(90) {
            return self.open();
        }
        let (slot, other, folder) =
            (self.slot(Kind::File), self.slot(Kind::Directory), self.slot(Kind::Directory));
        let number = self.random.below(40) as u64;
        self.calls.push(match self.random.below(15) {
            0 | 1 => Call::Read(slot),
            2 | 13 => Call::ReadAt(slot, number),
            3 => Call::Write(slot),
            4 => Call::WriteAt(slot, number),
            5 => Call::SetSize(slot, number),
            6 => Call::Allocate(slot, number + 300),
            7 => Call::SetTimes(if number < 20 { slot } else { folder }),
            8 => Call::Seek(slot, number),
            9 => Call::List(folder),
            10 => Call::Look(if number < 20 { slot } else { folder }),
            11 => Call::Close(slot),
            _ => Call::Renumber(slot, other),
        });
    }

    /// One directory into the place of another one.
    fn swap(&mut self) {
        let folder = Some(Kind::Directory);
        let ((one, first), (other, second)) =
            (self.at(Rights::DELETE, folder), self.at(Rights::DELETE, folder));
        let (away, third) = self.at(Rights::CREATE, None);
        self.carry(&first, &third);
        self.carry(&second, &first);
        self.calls.push(Call::Rename(one.clone(), away));
        self.calls.push(Call::Rename(other, one));
    }

    /// A directory with something in it is made in one place and moved to another.
    fn bring(&mut self) {
        let ((at, plain), (to, new)) = (self.at(Rights::CREATE, None), self.at(Rights::CREATE, None));
        self.add(&plain, Kind::Directory);
        self.calls.push(Call::MakeDirectory(at.clone()));
        let name = *self.random.of(NAMES);
        let inside = At(at.0, format!("{}/{name}", at.1));
        if self.random.chance(70) {
            let how = Opening { write: true, flags: CREATE, follow: true, ..Opening::default() };
            self.opened(inside, format!("{plain}/{name}"), how);
        } else {
            let target = self.path(Rights::STAT, None);
            let text =
                relative(&format!("{}/{name}", if self.random.chance(50) { &new } else { &plain }), &target);
            self.add(&format!("{plain}/{name}"), Kind::Link);
            self.calls.push(Call::Symlink(text, inside));
        }
        self.carry(&plain, &new);
        self.calls.push(Call::Rename(at, to));
    }
}
