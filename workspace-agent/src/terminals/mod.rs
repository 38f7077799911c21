//! Terminals: PTYs that outlive the clients attached to them.
//!
//! A [`terminal::Terminal`] owns one PTY and its program. It numbers the program's output from 0,
//! keeps the newest part in a [`ring`], and feeds all of it to a [`screen`] model. An [`attach`]
//! session sends a client the output from any offset: from the ring, or as a drawing of the screen
//! if the ring no longer has it. Knows no routes.

pub mod attach;
mod conceal;
pub mod registry;
pub mod ring;
pub mod screen;
mod splitter;
pub mod terminal;
