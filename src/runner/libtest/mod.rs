//! What we know of libtest: how to ask a guest for its tests, how to run a single one, what its
//! output says, and how `#[should_panic]` tests are run where libtest itself would not.
//!
//! Pure functions over bytes, but for [`probe::layout`], which runs the user's rustc once. Everything
//! a guest wrote is hostile: it may be wrong, huge or forged, and can at worst make its own tests'
//! verdicts wrong. docs/should-panic.md tells the whole story.

pub mod descriptor;
pub mod image;
pub mod list;
pub mod outcome;
pub mod panic_message;
pub mod probe;
pub mod stack;

pub use descriptor::{Descriptor, Patch, ShouldPanic, find};
pub use image::Image;
pub use list::{ListedTest, Listing, parse_listing};
pub use outcome::{Ended, Said, judge};
pub use probe::{Layout, layout};
pub use stack::{Stack, Way};

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
