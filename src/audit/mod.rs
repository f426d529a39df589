//! From an audit to grants: what a run without grants is let do ([`envelope`]), what it needed, as the fewest entries
//! ([`minimise`], [`generalise`]), what it did not need ([`unused`]), and the manifest that says so ([`edit`]).

mod audited;
pub mod edit;
pub mod envelope;
pub mod generalise;
pub mod minimise;
pub mod unused;

pub use audited::Audited;
