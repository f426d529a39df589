//! `--fix`: grants into and out of a Cargo.toml, with comments, order and style kept.
//!
//! Pure: texts in, texts out. Where something is written is found by [`manifest`].

mod keep;
pub mod manifest;

pub use manifest::{Addition, Removal, apply, case_index};
