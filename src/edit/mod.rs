//! `--fix`: grants into and out of a Cargo.toml, with comments, order and style kept.
//!
//! Pure: texts in, texts out. What to write is found by [`generalise`], where by [`manifest`].

pub mod generalise;
mod keep;
pub mod manifest;

pub use generalise::{Need, generalise};
pub use manifest::{Addition, Removal, apply, case_index};
