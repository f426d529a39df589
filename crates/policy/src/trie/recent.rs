//! What the last walk came to, so that the next one need not begin at the root: programs look at the
//! same path several times over, and at many files of one directory.
//!
//! It holds results of the same walk and nothing else, and is used for one [`Trie`] only, which
//! never changes: with it or without, an answer is the same (a law in `crates/policy/tests/laws/main.rs`).

use super::{Active, Found, Trie, components};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// A directory with its slash at the end, and where a walk is that has come so far. Empty: none.
    directory: Vec<u8>,
    active: Active,
    found: Found,
    depth: u32,
    /// A path and what covers it. Empty: none.
    path: Vec<u8>,
    whole: Found,
}

impl Trie {
    /// The same as [`find`](Self::find).
    pub(crate) fn find_again<'r>(&self, path: &[u8], recent: &'r mut Recent) -> Option<&'r Found> {
        if recent.path.is_empty() || recent.path != path {
            recent.path.clear();
            let (directory, name) = path.split_at(path.iter().rposition(|byte| *byte == b'/')? + 1);
            if recent.directory.is_empty() || recent.directory != directory {
                self.walk_directory(directory, recent)?;
            }
            let mut active = recent.active.clone();
            let (mut whole, mut depth) = (recent.found.clone(), recent.depth);
            if !name.is_empty() {
                if name == b"." || name == b".." || name.contains(&0) {
                    return None;
                }
                depth += 1;
                self.advance(name, &mut active, depth, &mut |node, depth, exact| {
                    whole.visit(node, depth, exact)
                });
            } else if directory.len() > 1 {
                return None;
            }
            self.end(&active, depth, &mut |node, depth, exact| whole.visit(node, depth, exact));
            recent.whole = whole;
            recent.path.extend_from_slice(path);
        }
        Some(&recent.whole)
    }

    fn walk_directory(&self, directory: &[u8], recent: &mut Recent) -> Option<()> {
        recent.directory.clear();
        let (mut active, mut found, mut depth) = (Active::default(), Found::default(), 1);
        let mut visit = |node, depth, exact| found.visit(node, depth, exact);
        self.begin(&mut active, &mut visit);
        let names = if directory.len() > 1 { &directory[..directory.len() - 1] } else { directory };
        for name in components(names)? {
            depth += 1;
            self.advance(name, &mut active, depth, &mut visit);
        }
        (recent.active, recent.found, recent.depth) = (active, found, depth);
        recent.directory.extend_from_slice(directory);
        Some(())
    }
}
