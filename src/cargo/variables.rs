//! The variables that only cargo's children see: by them it calls us in the place of rustc and rustdoc.

use std::ffi::OsStr;

/// Set for cargo's children: we are called as `cargo-sandbox RUSTC ARGS…`. Its value is the folder for
/// the object.
pub(super) const CALLED: &str = "CARGO_SANDBOX_RUSTC_WRAPPER";
/// The user's own workspace wrapper, which we stand before.
pub(super) const CHAINED: &str = "CARGO_SANDBOX_CHAINED_WRAPPER";
/// What cargo reads.
pub(super) const CARGOS: &str = "RUSTC_WORKSPACE_WRAPPER";

/// Whether a variable is for cargo's children only.
pub(super) fn is_ours(name: &OsStr) -> bool {
    [CALLED, CHAINED, CARGOS, "RUSTDOC"].iter().any(|ours| name == *ours)
}
