//! The person's terminal while a remote one is shown in it: raw mode, restored whatever happens; keys that are ours.

pub mod escape;
pub mod guard;
pub mod keyboard;
pub mod modes;
