//! What the stack of a trap tells of the panic that ended a test: whether there was one, and whether
//! it would have reached libtest where panics unwind.
//!
//! On wasm `catch_unwind` is a plain call, which an optimised build inlines without a trace but in the
//! debug information. So a stack is only believed to hold none where debug information says so of
//! each of its functions.

use crate::symbols;
use sandbox_policy::access::Frame;

/// One trap's stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Whether std was ending the program because of a panic; `None` if that cannot be told.
    pub panicked: Option<bool>,
    /// What stands between the panic and libtest.
    pub way: Way,
}

/// What a panic would have met on its way to libtest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nothing.
    Free,
    /// A `catch_unwind`.
    Caught,
    /// A function of this name that may not unwind: natively the process aborts there.
    Barred(String),
    /// That cannot be told, for this reason.
    Unknown(&'static str),
}

impl Stack {
    /// Of a guest that unwinds: whatever it was, libtest has caught it.
    pub const UNWOUND: Self = Self { panicked: None, way: Way::Free };

    fn unknown(panicked: Option<bool>, why: &'static str) -> Self {
        Self { panicked, way: Way::Unknown(why) }
    }

    /// Reads a stack: for each frame its source-level frames, both innermost first. `bars` says of a
    /// source file and the name of a function in it whether a panic may not leave that function.
    pub fn read(stack: &[Vec<Frame>], bars: &mut dyn FnMut(&str, &str) -> bool) -> Self {
        let is = |what: fn(&Frame) -> bool| move |inlined: &Vec<Frame>| inlined.iter().any(what);
        let Some(test) = stack.iter().position(is(calls_the_test)) else {
            let named = stack.iter().flatten().any(|frame| !frame.function.is_empty());
            let why = if named { TOO_DEEP } else { NO_NAMES };
            return Self::unknown(None, why);
        };
        let stack = &stack[..test];
        let panicked = Some(stack.iter().any(is(ends_by_a_panic)));
        if stack.iter().any(is(catches)) {
            return Self { panicked, way: Way::Caught };
        }
        let own = &stack[stack.iter().rposition(is(panics)).map_or(0, |last| last + 1)..];
        // Calls that were made one, such as those in the two branches of an `if`, have the place that
        // they share: no column, perhaps no line, and none of the functions that only one was in.
        let is_known =
            |inlined: &Vec<Frame>| inlined.first().is_some_and(|frame| frame.line > 0 && frame.column > 0);
        if !own.iter().all(is_known) {
            return Self::unknown(panicked, NO_LINES);
        }
        let mut names = own.iter().flatten().filter(|frame| !is_of_std(frame)).filter_map(|frame| {
            let name = short_name(&frame.function);
            bars(&frame.file, name).then(|| name.to_owned())
        });
        let way = names.next().map_or(Way::Free, Way::Barred);
        Self { panicked, way }
    }
}

const NO_NAMES: &str = "the artifact has no names, so nobody knows what would have caught its panic";
const TOO_DEEP: &str = "its stack is too deep to tell what would have caught its panic";
const NO_LINES: &str =
    "a call on its stack has no exact debug information, and may have been inside a `catch_unwind`";

/// The identifier at the end of a function's path, empty for a closure: `b` of `a::b::<T>`.
fn short_name(function: &str) -> &str {
    let path = function.split_once('<').map_or(function, |(path, _)| path).trim_end_matches("::");
    let name = path.rsplit("::").next().unwrap_or_default();
    if name.starts_with('{') { "" } else { name }
}

/// The frame in libtest that calls a test's function; everything outside of it is libtest.
fn calls_the_test(frame: &Frame) -> bool {
    symbols::plain_path(&frame.function) == "test::__rust_begin_short_backtrace"
}

/// std's function for the end of every panic, and of nothing else: a hook that aborts is not in it.
fn ends_by_a_panic(frame: &Frame) -> bool {
    let path = symbols::plain_path(&frame.function);
    path == "rust_panic" || path == "__rustc::rust_panic"
}

/// What raises panics and runs hooks. Nothing of the program's own is inlined into it.
fn panics(frame: &Frame) -> bool {
    let path = symbols::plain_path(&frame.function);
    ["core::panicking::", "std::panicking::", "std::panic::", "__rustc::"]
        .iter()
        .any(|module| path.starts_with(module))
        || path.ends_with("::__rust_end_short_backtrace")
        || path == "rust_begin_unwind"
}

/// std's `catch_unwind` and its parts: `try` before Rust 1.91.
fn catches(frame: &Frame) -> bool {
    is_of_std(frame)
        && symbols::plain_path(&frame.function)
            .split("::")
            .any(|name| ["catch_unwind", "try", "do_call"].contains(&name))
}

/// By its path in the debug information; functions that were inlined may have no other.
fn is_of_std(frame: &Frame) -> bool {
    ["std", "core", "alloc"].contains(&frame.krate.as_str()) || symbols::is_std_path(&frame.file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STD: &str = "/usr/src/rustc-1.97.1/library/std/src/panicking.rs";

    fn frame(function: &str, file: &str) -> Frame {
        let krate = function.split("::").next().filter(|krate| !krate.contains('<')).unwrap_or_default();
        let line = u32::from(!file.is_empty());
        Frame { krate: krate.into(), function: function.into(), file: file.into(), line, column: line }
    }

    /// A stack, its frames given as inlined functions and their files.
    fn read(own: &[&[(&str, &str)]]) -> Stack {
        let panic: &[&[(&str, &str)]] =
            &[&[("abort", "")], &[("__rustc::rust_panic", STD)], &[("core::panicking::panic_fmt", STD)]];
        let test: &[&[(&str, &str)]] =
            &[&[("test::__rust_begin_short_backtrace::<fn()>", "")], &[("test::run_test", "")]];
        let frames: Vec<Vec<Frame>> = [panic, own, test]
            .concat()
            .iter()
            .map(|inlined| inlined.iter().map(|(function, file)| frame(function, file)).collect())
            .collect();
        Stack::read(&frames, &mut |file, function| (file, function) == ("src/lib.rs", "boom"))
    }

    #[test]
    fn a_way_is_free_only_where_all_of_it_is_known() {
        let own = ("a::deep", "src/lib.rs");
        assert_eq!(read(&[&[own], &[own]]), Stack { panicked: Some(true), way: Way::Free });
        assert_eq!(read(&[&[own], &[("a::test", "")]]).way, Way::Unknown(NO_LINES));
        assert_eq!(read(&[&[own], &[("", "")]]).way, Way::Unknown(NO_LINES));
        // Two calls that became one.
        let test = [frame("test::__rust_begin_short_backtrace", "")].to_vec();
        let merged = Frame { column: 0, ..frame("a::test", "src/lib.rs") };
        assert_eq!(Stack::read(&[vec![merged], test], &mut |_, _| false).way, Way::Unknown(NO_LINES));
    }

    #[test]
    fn a_catch_is_seen_in_every_way_it_is_written() {
        let own = ("a::test", "src/lib.rs");
        for (function, file) in [
            ("std::panicking::catch_unwind::do_call::<a::test::{closure#0}, ()>", ""),
            ("std::panic::catch_unwind::<a::test::{closure#0}, ()>", STD),
            ("std::panicking::try::do_call", ""),
            // Line tables alone: inlined functions have short names.
            ("catch_unwind<a::test::{closure_env#0}, ()>", STD),
        ] {
            assert_eq!(read(&[&[own, (function, file), own], &[own]]).way, Way::Caught, "{function}");
        }
        // A test that is named so.
        assert_eq!(read(&[&[("a::catch_unwind::{closure#0}", "src/lib.rs")]]).way, Way::Free);
    }

    #[test]
    fn an_abort_is_no_panic_and_a_cut_stack_tells_nothing() {
        let hook =
            [vec![frame("std::process::abort", STD)], vec![frame("std::panicking::panic_with_hook", STD)]];
        let test = [vec![frame("test::__rust_begin_short_backtrace", "")]];
        let aborted = Stack::read(&[&hook[..], &test[..]].concat(), &mut |_, _| false);
        assert_eq!(aborted.panicked, Some(false));
        assert_eq!(Stack::read(&hook, &mut |_, _| false), Stack::unknown(None, TOO_DEEP));
        assert_eq!(Stack::read(&[vec![frame("", "")]], &mut |_, _| false), Stack::unknown(None, NO_NAMES));
    }

    #[test]
    fn a_function_that_may_not_unwind_is_named() {
        let own = ("a::test", "src/lib.rs");
        let stack = read(&[&[("a::inner::boom", "src/lib.rs")], &[own]]);
        assert_eq!(stack.way, Way::Barred("boom".into()));
    }
}
