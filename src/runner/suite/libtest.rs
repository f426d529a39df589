//! How to ask a guest for its tests and how to run a single one; and the listing that it prints of itself.
//! That is a guest's word: it may be wrong, huge or forged, and can at worst make its own tests' verdicts
//! wrong.

use crate::should_panic::Wanted;
use std::collections::HashSet;

/// Arguments that make libtest list its tests with places in the source. They need
/// [`LIST_ENVIRONMENT`] on stable.
pub const LIST_JSON: [&str; 5] = ["--list", "--format", "json", "-Z", "unstable-options"];

/// Arguments for a listing of names only: what nextest asks of a harness, its own or libtest.
pub const LIST_TERSE: [&str; 3] = ["--list", "--format", "terse"];

/// The same for the ignored tests only.
pub const LIST_TERSE_IGNORED: [&str; 4] = ["--list", "--format", "terse", "--ignored"];

/// What the guest's environment must hold for [`LIST_JSON`], and for that run alone: libtest looks
/// at it to allow unstable options on stable.
pub const LIST_ENVIRONMENT: (&str, &str) = ("RUSTC_BOOTSTRAP", "1");

/// What the environment of a `#[should_panic]` test's run must hold, whatever the caller's says: a
/// backtrace would stand between the panic's text and the line that ends it.
pub const SHOULD_PANIC_ENVIRONMENT: (&str, &str) = ("RUST_BACKTRACE", "0");

/// Arguments that run one test and nothing else, its output not captured: on wasm a panic ends the
/// process, and captured output would be lost with it. `ignored` runs it even if it is `#[ignore]`d.
pub fn run_arguments(name: &str, ignored: bool) -> Vec<String> {
    let mut arguments = vec![name.to_owned(), "--exact".to_owned(), "--nocapture".to_owned()];
    if ignored {
        arguments.push("--include-ignored".to_owned());
    }
    arguments
}

/// A listing of more bytes than this is refused: 100,000 tests take about 25 MB.
pub const MAX_LISTING: usize = 64 << 20;
/// More tests than this are refused.
pub const MAX_TESTS: usize = 200_000;
/// A longer name is refused.
pub const MAX_NAME: usize = 4096;

/// One test or benchmark, as the binary lists it. The guest's word, to be escaped when shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedTest {
    /// Its path: `import::reads_csv`. Unique within the listing.
    pub name: String,
    /// `#[bench]`: libtest runs it once when it is named without `--bench`.
    pub bench: bool,
    /// `#[ignore]`.
    pub ignored: bool,
    /// The reason in `#[ignore = "…"]`; empty without one.
    pub ignore_message: String,
    /// Where it is written; `None` if the binary listed names only.
    pub place: Option<SourcePlace>,
}

impl ListedTest {
    /// What its descriptor is found by.
    pub fn wanted(&self) -> Wanted<'_> {
        let place = self.place.as_ref().map(|place| (place.path.as_str(), place.line));
        Wanted { name: &self.name, ignored: self.ignored, place }
    }
}

/// Where a test's function is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePlace {
    /// As rustc was given it: relative to the workspace root, usually.
    pub path: String,
    /// Line, from 1.
    pub line: u32,
}

/// What a binary that should hold tests turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing {
    /// It can list its tests and run one by name: libtest, or a harness that speaks its language.
    Tests(Vec<ListedTest>),
    /// It cannot (`harness = false` with a `main` of its own): the whole binary is one test, which
    /// passes if it exits with 0, as with `cargo test`. With the reason.
    Whole(NotAListing),
}

impl Listing {
    /// Chooses from what the binary answered: `json` to [`LIST_JSON`]; only if that was no
    /// listing, `terse` to [`LIST_TERSE`]; and only if that is one, `ignored` to
    /// [`LIST_TERSE_IGNORED`]. Each is the standard output of a run that exited with 0, or `None`.
    pub fn from_answers(json: Option<&[u8]>, terse: Option<&[u8]>, ignored: Option<&[u8]>) -> Self {
        let failed = NotAListing("it did not exit with 0 when asked for a list of its tests".to_owned());
        if let Some(Ok(tests)) = json.map(parse_listing) {
            return Self::Tests(tests);
        }
        let Some(terse) = terse else { return Self::Whole(failed) };
        match (parse_terse(terse, ignored.unwrap_or_default()), ignored) {
            // libtest would have answered with an empty JSON listing. A program that ignores its
            // arguments and prints nothing looks like this, and must not be passed over.
            (Ok(tests), _) if tests.is_empty() => {
                Self::Whole(no("it printed nothing when asked for its tests"))
            }
            (Ok(tests), Some(_)) => Self::Tests(tests),
            (Ok(_), None) => Self::Whole(failed),
            (Err(error), _) => Self::Whole(error),
        }
    }
}

/// Why output is not a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAListing(pub String);

impl std::fmt::Display for NotAListing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotAListing {}

fn no(reason: impl Into<String>) -> NotAListing {
    NotAListing(reason.into())
}

/// Reads the answer to [`LIST_JSON`]. Whole lines before the listing begins (a constructor's
/// output) are skipped; within it every line must be understood, and its closing line must agree.
///
/// # Errors
/// The output is no such listing, names a test twice, or is beyond a limit of this module.
pub fn parse_listing(output: &[u8]) -> Result<Vec<ListedTest>, NotAListing> {
    let text = checked_text(output)?;
    let mut records = records(text).skip_while(|record| !record.starts_with(RECORD));
    let discovery = |record: &str| {
        field(record, "type") == Some("suite")
            && field(record, "event") == Some("discovery")
            && record.ends_with(" }")
    };
    if !records.next().is_some_and(discovery) {
        return Err(no("the listing does not begin"));
    }
    let mut tests = Tests::default();
    for line in records {
        match field(line, "event").filter(|_| line.ends_with(" }")) {
            Some("discovered") => {
                tests.push(discovered(line).ok_or_else(|| no("a line of the listing is damaged"))?)?;
            }
            Some("completed") => {
                let total = number(line, "total").ok_or_else(|| no("the listing's last line is damaged"))?;
                if total as usize != tests.list.len() {
                    return Err(no("the listing's last line does not agree with the rest"));
                }
                return Ok(tests.list);
            }
            _ => return Err(no("a line of the listing is damaged")),
        }
    }
    Err(no("the listing does not end"))
}

/// Reads the answers to [`LIST_TERSE`] and [`LIST_TERSE_IGNORED`]: lines of
/// `NAME: test` or `NAME: benchmark`, and nothing else.
///
/// # Errors
/// As for [`parse_listing`].
pub fn parse_terse(all: &[u8], ignored: &[u8]) -> Result<Vec<ListedTest>, NotAListing> {
    let ignored: HashSet<&str> = checked_text(ignored)?
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| terse_line(line).map(|(name, _)| name))
        .collect::<Result<_, _>>()?;
    let mut tests = Tests::default();
    for line in checked_text(all)?.lines().filter(|line| !line.is_empty()) {
        let (name, bench) = terse_line(line)?;
        tests.push(ListedTest {
            name: name.to_owned(),
            bench,
            ignored: ignored.contains(name),
            ignore_message: String::new(),
            place: None,
        })?;
    }
    Ok(tests.list)
}

/// The tests so far, each name once.
#[derive(Default)]
struct Tests {
    list: Vec<ListedTest>,
    names: HashSet<String>,
}

impl Tests {
    fn push(&mut self, test: ListedTest) -> Result<(), NotAListing> {
        if test.name.is_empty() || test.name.len() > MAX_NAME {
            return Err(no("a test's name is empty or too long"));
        }
        if self.list.len() == MAX_TESTS {
            return Err(no("it lists too many tests"));
        }
        if !self.names.insert(test.name.clone()) {
            return Err(no(format!("it lists the test `{}` twice", test.name)));
        }
        self.list.push(test);
        Ok(())
    }
}

fn checked_text(output: &[u8]) -> Result<&str, NotAListing> {
    if output.len() > MAX_LISTING {
        return Err(no("its list of tests is too long"));
    }
    std::str::from_utf8(output).map_err(|_| no("its list of tests is not UTF-8"))
}

fn terse_line(line: &str) -> Result<(&str, bool), NotAListing> {
    if let Some(name) = line.strip_suffix(": test") {
        Ok((name, false))
    } else if let Some(name) = line.strip_suffix(": benchmark") {
        Ok((name, true))
    } else {
        Err(no("it printed something else when asked for a list of its tests"))
    }
}

/// How each record of a listing begins.
const RECORD: &str = "{ \"type\": \"";

/// The records of a listing. Each is a line, but for a line end in an `ignore_message`, which
/// libtest prints as it is.
fn records(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let next = rest.match_indices('\n').map(|(at, _)| at + 1).find(|at| rest[*at..].starts_with(RECORD));
        let (record, after) = rest.split_at(next.unwrap_or(rest.len()));
        rest = after;
        Some(record.strip_suffix('\n').unwrap_or(record))
    })
}

/// The raw text of a string field that never holds an escape.
fn field<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("\"{key}\": \""))?;
    rest.split('"').next()
}

fn number(line: &str, key: &str) -> Option<u32> {
    let (_, rest) = line.rsplit_once(&format!("\"{key}\": "))?;
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}

/// Reads one test. libtest escapes names and paths but not `ignore_message`, so the line need not
/// be JSON: what precedes that field is read from the front, what follows it from the back.
fn discovered(line: &str) -> Option<ListedTest> {
    let (_, rest) = line.split_once("\"name\": ")?;
    let (name, rest) = string(rest)?;
    let rest = rest.strip_prefix(", \"ignore\": ")?;
    let (ignored, rest) = match rest.strip_prefix("true") {
        Some(rest) => (true, rest),
        None => (false, rest.strip_prefix("false")?),
    };
    let rest = rest.strip_prefix(", \"ignore_message\": \"")?;
    let (message, rest) = rest.rsplit_once("\", \"source_path\": ")?;
    let (path, rest) = string(rest)?;
    Some(ListedTest {
        name,
        bench: field(line, "type")? == "bench",
        ignored,
        ignore_message: message.to_owned(),
        place: Some(SourcePlace { path, line: number(rest, "start_line")? }),
    })
}

/// The JSON string that `text` begins with, and what follows it.
fn string(text: &str) -> Option<(String, &str)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let value = values.next()?.ok()?;
    Some((value, &text[values.byte_offset()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISCOVERY: &str = "{ \"type\": \"suite\", \"event\": \"discovery\" }\n";

    fn test_line(name: &str, ignored: bool, message: &str) -> String {
        format!(
            "{{ \"type\": \"test\", \"event\": \"discovered\", \"name\": \"{name}\", \"ignore\": {ignored}, \
             \"ignore_message\": \"{message}\", \"source_path\": \"src/lib.rs\", \"start_line\": 3, \
             \"start_col\": 28, \"end_line\": 4, \"end_col\": 30 }}\n"
        )
    }

    fn completed(total: usize) -> String {
        format!(
            "{{ \"type\": \"suite\", \"event\": \"completed\", \"tests\": {total}, \"benchmarks\": 0, \
             \"total\": {total}, \"ignored\": 1 }}\n"
        )
    }

    #[test]
    fn what_libtest_prints_is_read() {
        let text = format!(
            "constructor\n{DISCOVERY}{}{}{}",
            test_line("a::b", false, ""),
            test_line("c", true, "no \" reason,\n\"source_path\": \"x\""),
            completed(2)
        );
        let tests = parse_listing(text.as_bytes()).expect("a listing");
        assert_eq!(tests.len(), 2);
        assert_eq!(tests[0].name, "a::b");
        assert_eq!(tests[0].place, Some(SourcePlace { path: "src/lib.rs".into(), line: 3 }));
        assert!(tests[1].ignored);
        assert_eq!(tests[1].ignore_message, "no \" reason,\n\"source_path\": \"x\"");
    }

    #[test]
    fn cut_doubled_and_contradicting_listings_are_refused() {
        let one = test_line("a", false, "");
        for (bad, why) in [
            (DISCOVERY.to_owned(), "does not end"),
            (format!("{one}{}", completed(1)), "does not begin"),
            (format!("{DISCOVERY}{one}{one}{}", completed(2)), "twice"),
            (format!("{DISCOVERY}{one}{}", completed(2)), "does not agree"),
            (format!("{DISCOVERY}noise\n{one}{}", completed(1)), "does not begin"),
            (format!("{DISCOVERY}{one}noise\n{}", completed(1)), "damaged"),
            (format!("{DISCOVERY}{}{}", &one[..60], completed(1)), "damaged"),
        ] {
            let error = parse_listing(bad.as_bytes()).expect_err(&bad);
            assert!(error.0.contains(why), "{error} for {bad}");
        }
        assert!(parse_listing(b"\xff").is_err());
    }

    #[test]
    fn no_cut_of_a_listing_panics() {
        let text = format!("{DISCOVERY}{}{}", test_line("ä\\n\\u0041", true, "é"), completed(1));
        assert_eq!(parse_listing(text.as_bytes()).expect("a listing")[0].name, "ä\nA");
        for end in 0..text.len() - 1 {
            assert!(parse_listing(&text.as_bytes()[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn harnesses_of_their_own_list_names_or_are_run_whole() {
        let terse = Listing::from_answers(None, Some(b"a: test\nb b: benchmark\n"), Some(b"a: test\n"));
        let Listing::Tests(tests) = terse else { panic!("{terse:?}") };
        assert_eq!((tests[0].ignored, tests[1].bench, tests[1].name.as_str()), (true, true, "b b"));
        assert!(matches!(
            Listing::from_answers(Some(b"hello\n"), Some(b"hello\n"), Some(b"")),
            Listing::Whole(_)
        ));
        assert!(matches!(Listing::from_answers(None, None, None), Listing::Whole(_)));
        // A silent program is run; only libtest itself is believed to have no tests.
        assert!(matches!(Listing::from_answers(None, Some(b""), Some(b"")), Listing::Whole(_)));
        let empty = format!("{DISCOVERY}{}", completed(0));
        assert_eq!(Listing::from_answers(Some(empty.as_bytes()), None, None), Listing::Tests(Vec::new()));
    }
}
