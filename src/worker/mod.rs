//! The confined processes. The supervisor never runs guest code and never parses a module: it starts
//! this same binary again, hands it what it needs through a socket, and listens with limits.
//!
//! The folders are the trust boundary:
//!
//! - [`supervisor`] starts, listens and kills. It never runs guest code.
//! - [`child`] is what is started: it gives up its rights, and from then on it is hostile.
//! - [`protocol`] is all that they share.

pub mod child;
pub mod protocol;
pub mod supervisor;
