//! What must not have happened: the tree before and after, and what the guest brought out, against the rules.

use super::program::{Got, TIME};
use super::rules::{Rights, Rules, split};
use super::tree::{Kind, Node, Picture, secret};
use std::collections::BTreeMap;
use std::fmt;

/// Which law was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Law {
    /// Contents, length or times of something changed that no name of it let be modified.
    Changed,
    /// A name is gone, or another thing has it, where nothing may be deleted.
    Gone,
    /// A name is new where nothing may be created.
    Made,
    /// Contents were read that no name of theirs let be read.
    Read,
    /// A directory was listed, or a hidden name seen in one.
    Listed,
    /// Metadata or the text of a link was seen.
    Seen,
    /// A link leads to where nothing is granted.
    Leads,
    /// A link shows something that the guest has made at a name where nothing may be created.
    Shown,
    /// Something has a name under which more may be done with it.
    Gained,
    /// Permission bits.
    Mode,
    /// Something that is not granted was denied, or let through, and nobody was told.
    Unheard,
}

/// One fault, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault(pub Law, pub String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0, self.1)
    }
}

struct Judge<'a> {
    rules: &'a Rules,
    before: &'a Picture,
    after: &'a Picture,
    /// By inode: the names at the beginning, and what they together allow.
    first: BTreeMap<u64, (Vec<&'a str>, Rights)>,
    faults: Vec<Fault>,
}

/// Everything that was wrong.
pub(crate) fn judge(
    rules: &Rules,
    before: &Picture,
    after: &Picture,
    got: &[(u32, Option<Got>)],
) -> Vec<Fault> {
    let mut first = BTreeMap::new();
    for (inode, names) in before.names() {
        let rights = names.iter().fold(Rights::NONE, |all, name| all.and(rules.rights(name)));
        first.insert(inode, (names, rights));
    }
    let mut judge = Judge { rules, before, after, first, faults: Vec::new() };
    judge.names();
    judge.contents();
    judge.links();
    judge.brought(got);
    judge.faults
}

impl Judge<'_> {
    fn fault(&mut self, law: Law, text: String) {
        self.faults.push(Fault(law, text));
    }

    fn names(&mut self) {
        let same = |one: &Picture, other: &Picture, name: &str| {
            let inode = |picture: &Picture| picture.nodes.get(name).map(|node| node.inode);
            inode(one) == inode(other)
        };
        for name in self.before.nodes.keys() {
            let rights = self.rules.rights(name);
            if !same(self.before, self.after, name) && !rights.has(Rights::DELETE) {
                self.fault(Law::Gone, format!("`{name}` is not what it was; allowed there: {rights:?}"));
            }
        }
        for (name, node) in &self.after.nodes {
            if same(self.before, self.after, name) {
                continue;
            }
            let rights = self.rules.rights(name);
            if !rights.has(Rights::CREATE) {
                self.fault(Law::Made, format!("`{name}` is new; allowed there: {rights:?}"));
            }
            if let Some((names, had)) = self.first.get(&node.inode)
                && !had.has(rights)
            {
                let text = format!("`{name}` ({rights:?}) is what was {names:?} ({had:?})");
                self.fault(Law::Gained, text);
            }
        }
    }

    fn contents(&mut self) {
        let by_inode: BTreeMap<u64, &Node> =
            self.before.nodes.values().map(|node| (node.inode, node)).collect();
        for (name, node) in &self.after.nodes {
            let (Some(old), Some((names, had))) = (by_inode.get(&node.inode), self.first.get(&node.inode))
            else {
                continue;
            };
            let folder = node.kind == Kind::Directory;
            let changed = node.kind != old.kind
                // What is made and removed in a directory is its own question.
                || (if folder { node.modified.0 == TIME } else { node.modified != old.modified });
            let text = format!("`{name}`, at first {names:?} ({had:?})");
            if changed && !had.has(Rights::MODIFY) {
                self.faults.push(Fault(Law::Changed, text.clone()));
            }
            if node.mode != old.mode {
                self.faults.push(Fault(Law::Mode, text));
            }
        }
    }

    /// A link says where it leads, and that place is decided. What it meets on the way is another link, with its own
    /// question; but where the text goes up again behind a name, it is followed to its end.
    fn links(&mut self) {
        for (name, node) in &self.after.nodes {
            let Kind::Link(text) = &node.kind else { continue };
            let mut leads = vec![Some(self.after.step(name, text))];
            let mut parts = split(text).into_iter().filter(|part| *part != ".");
            if parts.any(|part| part != "..") && parts.any(|part| part == "..") {
                leads.push(self.after.lead(name));
            }
            let names = self.first.get(&node.inode).map_or(&[][..], |(names, _)| names);
            let before: Vec<_> = names.iter().map(|name| self.before.step(name, text)).collect();
            if !names.contains(&name.as_str()) {
                self.faults.extend(self.shown(name));
            }
            // A loop leads nowhere.
            for leads in leads.into_iter().flatten().filter(|leads| !before.contains(leads)) {
                if !leads.as_ref().is_ok_and(|path| self.rules.may_lead(path)) {
                    let leads = leads.unwrap_or_else(|outside| outside);
                    let text = format!("`{name}` -> `{text}` leads to `{leads}`, where nothing is granted");
                    self.faults.push(Fault(Law::Leads, text));
                }
            }
        }
    }

    /// What the guest has made, and others find below a link where it could not have been made.
    fn shown(&self, link: &str) -> Vec<Fault> {
        let Some(Node { kind: Kind::Link(text), .. }) = self.after.nodes.get(link) else { return Vec::new() };
        let (Ok(to), leads) = (self.after.step(link, text), self.after.lead(link)) else { return Vec::new() };
        // What leads on by another link is that one's question.
        if leads != Some(Ok(to.clone())) {
            return Vec::new();
        }
        let below = format!("{to}/");
        let new = self.after.nodes.iter().filter(|(_, node)| !self.first.contains_key(&node.inode));
        new.filter_map(|(name, _)| {
            let seen = format!("{link}/{}", name.strip_prefix(&below)?);
            let rights = self.rules.rights(&seen);
            let text = format!("`{name}` is new and seen as `{seen}`; allowed there: {rights:?}");
            (!rights.has(Rights::CREATE)).then_some(Fault(Law::Shown, text))
        })
        .collect()
    }

    fn brought(&mut self, got: &[(u32, Option<Got>)]) {
        for (index, (_, got)) in got.iter().enumerate() {
            let Some(got) = got else { continue };
            let number = index + 1;
            match got {
                Got::Contents(bytes) => self.contents_read(number, bytes),
                Got::Entries(entries) => self.listed(number, entries),
                Got::Inode(inode) | Got::OpenInode(inode) => {
                    let Some((names, had)) = self.first.get(inode) else { continue };
                    let enough = match got {
                        // What could be opened may be looked at.
                        Got::OpenInode(_) => *had != Rights::NONE,
                        _ => had.has(Rights::STAT),
                    };
                    if !enough {
                        let text = format!("call {number} looked at {names:?} ({had:?})");
                        self.fault(Law::Seen, text);
                    }
                }
                Got::Text(text) => {
                    let link = |node: &&Node| node.kind == Kind::Link(text.clone());
                    let Some(node) = self.before.nodes.values().find(link) else { continue };
                    let (names, had) = &self.first[&node.inode];
                    // The guest may have made another one like it.
                    let again = self
                        .after
                        .nodes
                        .values()
                        .any(|other| other.kind == node.kind && !self.first.contains_key(&other.inode));
                    if !had.has(Rights::STAT) && !again {
                        let text = format!("call {number} read the link {names:?} ({had:?})");
                        self.fault(Law::Seen, text);
                    }
                }
            }
        }
    }

    fn contents_read(&mut self, number: usize, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let mut faults = Vec::new();
        for (name, node) in &self.before.nodes {
            let Kind::File(_) = node.kind else { continue };
            let (names, had) = &self.first[&node.inode];
            if text.contains(&secret(name)) && !had.has(Rights::READ) {
                faults.push(Fault(Law::Read, format!("call {number} read {names:?} ({had:?})")));
            }
        }
        self.faults.append(&mut faults);
    }

    fn listed(&mut self, number: usize, entries: &[(String, u64)]) {
        let own = entries.iter().find(|(name, _)| name == ".").map(|(_, inode)| *inode);
        if let Some((names, had)) = own.and_then(|inode| self.first.get(&inode))
            && !had.has(Rights::LIST)
        {
            let text = format!("call {number} listed {names:?} ({had:?})");
            self.fault(Law::Listed, text);
        }
        for (name, inode) in entries.iter().filter(|(name, _)| name != "." && name != "..") {
            let Some((names, _)) = self.first.get(inode) else { continue };
            if names.iter().all(|name| self.rules.hidden(name)) {
                let text = format!("call {number} found `{name}`, which is hidden: {names:?}");
                self.fault(Law::Listed, text);
            }
        }
    }
}
