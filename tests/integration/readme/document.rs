//! A Markdown document, as far as its checks need to understand it.

use crate::common::root;
use std::fs;
use std::path::PathBuf;

/// A fenced block.
#[derive(Debug)]
pub(crate) struct Block {
    /// The text of the HTML comment in the line before it, or empty.
    pub(crate) marker: String,
    /// What stands behind the opening fence.
    pub(crate) info: String,
    /// Line of the opening fence, from 1.
    pub(crate) line: usize,
    /// What is in it.
    pub(crate) body: String,
    start: usize,
}

/// A document.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    pub(crate) blocks: Vec<Block>,
    /// Where what is unlike all else begins, where what changes begins and ends, and what it becomes.
    changes: Vec<(usize, usize, usize, String)>,
}

/// Every document of the project.
pub(crate) fn documents() -> Vec<Document> {
    let mut paths: Vec<PathBuf> = ["", "docs", "benches"]
        .into_iter()
        .flat_map(|folder| fs::read_dir(root().join(folder)).expect("a folder of the project"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 6, "only {paths:?}");
    paths.into_iter().map(Document::read).collect()
}

impl Document {
    /// One document of the project, by its path from the root.
    pub(crate) fn named(name: &str) -> Self {
        Self::read(root().join(name))
    }

    fn read(path: PathBuf) -> Self {
        let name = path.strip_prefix(root()).expect("beneath the root").display().to_string();
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self::new(&name, path, text)
    }

    pub(crate) fn new(name: &str, path: PathBuf, text: String) -> Self {
        let mut blocks: Vec<Block> = Vec::new();
        let (mut offset, mut before, mut open) = (0, "", false);
        for (number, line) in (1..).zip(text.split_inclusive('\n')) {
            offset += line.len();
            match line.strip_prefix("```") {
                Some(_) if open => open = false,
                Some(info) => {
                    open = true;
                    let marker = before.trim().strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->"));
                    blocks.push(Block {
                        marker: marker.unwrap_or_default().trim().to_owned(),
                        info: info.trim().to_owned(),
                        line: number,
                        body: String::new(),
                        start: offset,
                    });
                }
                None if open => blocks.last_mut().expect("one is open").body.push_str(line),
                None => {}
            }
            before = line;
        }
        Self { name: name.to_owned(), path, text, blocks, changes: Vec::new() }
    }

    /// The text of a section: from its heading to the next one of the same or a higher level.
    #[track_caller]
    pub(crate) fn section(&self, heading: &str) -> &str {
        let start = self.text.find(&format!("{heading}\n"));
        let start = start.unwrap_or_else(|| panic!("{} has no section `{heading}`", self.name));
        let level = heading.chars().take_while(|c| *c == '#').count();
        let rest = &self.text[start + heading.len()..];
        let is_end = |line: &str| {
            let own = line.chars().take_while(|c| *c == '#').count();
            (1..=level).contains(&own)
        };
        let mut length = 0;
        for line in rest.split_inclusive('\n') {
            if is_end(line) {
                break;
            }
            length += line.len();
        }
        &rest[..length]
    }

    /// Asserts the contents of a block, or notes the change where documents are to be updated.
    #[track_caller]
    pub(crate) fn expect(&mut self, block: usize, body: &str) {
        let found = &self.blocks[block];
        if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
            let marker =
                self.text[..found.start].rfind("<!--").expect("a block that is compared has a marker");
            self.changes.push((marker, found.start, found.start + found.body.len(), body.to_owned()));
            return;
        }
        assert_eq!(
            found.body, body,
            "{}:{}: this block is not what happens (UPDATE_DOCUMENTS=1 writes it anew)",
            self.name, found.line
        );
    }

    /// Asserts the rows of the first table of a section, or notes the change where documents are to be updated.
    #[track_caller]
    pub(crate) fn expect_rows(&mut self, heading: &str, rows: &[Vec<String>]) {
        let section = self.section(heading);
        let rule = section.find("\n|---").unwrap_or_else(|| panic!("`{heading}` has no table")) + 1;
        let from = rule + section[rule..].find('\n').map_or(section.len() - rule, |end| end + 1);
        let rest = section[from..].split_inclusive('\n');
        let found: String = rest.take_while(|line| line.starts_with('|')).collect();
        let expected: String = rows.iter().map(|cells| format!("| {} |\n", cells.join(" | "))).collect();
        if std::env::var_os("UPDATE_DOCUMENTS").is_none() {
            assert_eq!(
                found, expected,
                "{}, `{heading}`: this is not the table of the code (UPDATE_DOCUMENTS=1 writes it anew)",
                self.name
            );
            return;
        }
        let section = section.as_ptr() as usize - self.text.as_ptr() as usize;
        self.changes.push((section, section + from, section + from + found.len(), expected));
    }

    /// Writes what [`Self::expect`] and [`Self::expect_rows`] noted.
    pub(crate) fn store(mut self) {
        if self.changes.is_empty() {
            return;
        }
        // Another test may have changed it meanwhile: blocks are found again by their old contents.
        let mut text = fs::read_to_string(&self.path).expect("it was read before");
        self.changes.sort();
        for (opening, start, end, body) in self.changes.iter().rev() {
            let (opening, old) = (&self.text[*opening..*start], &self.text[*start..*end]);
            let whole = format!("{opening}{old}");
            assert!(text.contains(&whole), "{}: somebody else changed it", self.name);
            text = text.replacen(&whole, &format!("{opening}{body}"), 1);
        }
        fs::write(&self.path, text).expect("the checkout is ours to write");
    }

    /// Relative links, with their lines. Those in blocks are no links.
    pub(crate) fn links(&self) -> Vec<(usize, String)> {
        let ends = |text: &str| text.find(')').map(|end| text[..end].to_owned());
        self.prose()
            .flat_map(|(line, text)| {
                text.match_indices("](")
                    .filter_map(|(at, _)| ends(&text[at + 2..]))
                    .map(move |link| (line, link))
                    .collect::<Vec<_>>()
            })
            .filter(|(_, link)| !link.contains("://") && !link.starts_with('#'))
            .collect()
    }

    /// What stands in single backticks, with its line.
    pub(crate) fn code_spans(&self) -> Vec<(usize, String)> {
        self.prose()
            .flat_map(|(line, text)| {
                text.split('`')
                    .skip(1)
                    .step_by(2)
                    .map(move |code| (line, code.to_owned()))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut fenced = false;
        (1..).zip(self.text.lines()).filter(move |(_, line)| {
            let fence = line.starts_with("```");
            fenced ^= fence;
            !fenced && !fence
        })
    }
}
