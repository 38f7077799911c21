//! Terminals: PTYs that outlive the clients attached to them.
//!
//! A [`terminal::Terminal`] owns one PTY and its program. It numbers the program's output from 0,
//! keeps the newest part in a [`ring`], and feeds all of it to a [`screen`] model, which also answers the
//! program's queries. An [`attach`] session sends a client the output from any offset: from the ring, or as
//! a drawing of the screen if the ring no longer has it. The [`window`] bounds what is read before it is
//! drawn, and [`sizes`] are in the same order for the model and all clients. The user's shells mark their
//! prompts ([`shell_integration`]). Knows no routes.

pub mod attach;
pub mod registry;
pub mod ring;
pub mod screen;
mod shell_integration;
mod sizes;
pub mod terminal;
mod window;
