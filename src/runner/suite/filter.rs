//! Which tests are meant: names, ignored or not, and one shard of all.

use super::libtest::ListedTest;

/// What is run of ignored tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ignored {
    /// They are named and not run.
    #[default]
    Skip,
    /// They are run as well (`--include-ignored`).
    Include,
    /// Only they are run (`--ignored`).
    Only,
}

/// One shard of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// By a hash of the name, which is stable when tests are added; otherwise every `of`th.
    pub hash: bool,
    /// Which one, from 1.
    pub shard: u32,
    /// Of how many.
    pub of: u32,
}

/// The choice of tests, as libtest and nextest make it.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// A name must contain one of these; all do if there is none.
    pub names: Vec<String>,
    /// `names` and `skip` are whole names.
    pub exact: bool,
    /// A name must contain none of these.
    pub skip: Vec<String>,
    /// Ignored tests.
    pub ignored: Ignored,
    /// One shard of what is left.
    pub shard: Option<Shard>,
}

/// How many tests were dealt out to `count:` shards so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted(u32);

impl Filter {
    /// Whether a test is meant. To be asked once for each test, in the order in which tests are
    /// listed: `count:` shards are dealt out as it is asked.
    pub(super) fn selects(&self, counted: &mut Counted, binary: &str, test: &ListedTest) -> bool {
        let matches = |pattern: &String| {
            if self.exact { test.name == *pattern } else { test.name.contains(pattern.as_str()) }
        };
        let named = self.names.is_empty() || self.names.iter().any(matches);
        let meant =
            named && !self.skip.iter().any(matches) && (self.ignored != Ignored::Only || test.ignored);
        meant && self.in_shard(counted, binary, &test.name)
    }

    fn in_shard(&self, counted: &mut Counted, binary: &str, name: &str) -> bool {
        let Some(Shard { hash, shard, of }) = self.shard else { return true };
        let number = if hash {
            let hash = blake3::hash(format!("{binary}\0{name}").as_bytes());
            let first: [u8; 8] = hash.as_bytes()[..8].try_into().expect("a hash is longer");
            (u64::from_le_bytes(first) % u64::from(of)) as u32
        } else {
            let number = counted.0;
            counted.0 = (number + 1) % of;
            number
        };
        number == shard - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(name: &str, ignored: bool) -> ListedTest {
        ListedTest {
            name: name.to_owned(),
            bench: false,
            ignored,
            ignore_message: String::new(),
            place: None,
        }
    }

    fn chosen(filter: Filter, names: &[&str]) -> Vec<String> {
        let mut counted = Counted::default();
        let chosen =
            names.iter().filter(|name| filter.selects(&mut counted, "a", &test(name, name.contains("slow"))));
        chosen.map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn names_are_chosen_as_libtest_does_it() {
        let all = ["a::read", "a::write", "b::read", "b::slow"];
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let filter = |chosen: &[&str]| Filter { names: names(chosen), ..Filter::default() };
        assert_eq!(chosen(filter(&[]), &all), all);
        assert_eq!(chosen(filter(&["read", "slow"]), &all), ["a::read", "b::read", "b::slow"]);
        assert_eq!(chosen(Filter { skip: names(&["a::"]), ..filter(&["read"]) }, &all), ["b::read"]);
        assert_eq!(chosen(Filter { exact: true, ..filter(&["read"]) }, &all), [""; 0]);
        assert_eq!(chosen(Filter { exact: true, ..filter(&["b::read"]) }, &all), ["b::read"]);
        assert_eq!(chosen(Filter { ignored: Ignored::Only, ..filter(&[]) }, &all), ["b::slow"]);
    }

    #[test]
    fn shards_are_disjoint_and_together_everything() {
        let names: Vec<String> = (0..100).map(|i| format!("test{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for hash in [true, false] {
            let shard = |shard| Filter { shard: Some(Shard { hash, shard, of: 3 }), ..Filter::default() };
            let mut all: Vec<String> = Vec::new();
            for number in 1..=3 {
                let some = chosen(shard(number), &names);
                assert!((20..=50).contains(&some.len()), "{} in {number}, {hash}", some.len());
                all.extend(some);
            }
            all.sort();
            let mut wanted: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            wanted.sort();
            assert_eq!(all, wanted);
        }
        let first = Filter { shard: Some(Shard { hash: false, shard: 1, of: 3 }), ..Filter::default() };
        assert_eq!(chosen(first, &["x", "y", "z", "w"]), ["x", "w"]);
    }
}
