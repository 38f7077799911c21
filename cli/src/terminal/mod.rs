//! The user's terminal while it shows a remote one: raw mode that is always restored, and the
//! escape keys of `burrow attach`.

pub mod clipboard;
pub mod escape;
pub mod guard;
pub mod keyboard;
pub mod modes;
pub mod queries;
