//! How `#[should_panic]` tests are run where libtest itself would not: where in an artifact their
//! descriptors lie, which bytes to change, and whether what happened then is the panic that was expected.
//!
//! Pure functions over bytes, but for [`probe::layout`], which runs the user's rustc once. Everything
//! a guest wrote is hostile: it may be wrong, huge or forged, and can at worst make its own tests'
//! verdicts wrong. docs/should-panic.md tells the whole story.

mod descriptor;
mod image;
mod judge;
mod panic_message;
mod probe;
mod stack;

pub use descriptor::{Descriptor, NotFound, Patch, ShouldPanic, Wanted, find};
pub use image::{Image, NoImage};
pub use judge::{Said, judge};
pub use probe::{Layout, NoLayout, TextAt, layout, measure};
pub use stack::{Stack, Way};
