//! The process that is started: it gives up what its guest may not have, then runs it. **Hostile from
//! then on**: nothing here is believed by the supervisor but what [`super::protocol`] lets it say.

mod channel_sink;
mod confine;
#[cfg(feature = "test-walls")]
mod fault_injection;
mod give_up;
mod guest;
mod main;
mod template;
mod zygote;

pub use main::main;
