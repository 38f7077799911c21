//! One process per running workspace; also builds the images that workspaces boot from.

mod agent;
pub mod export;
mod front;
mod home;
pub mod images;
pub mod network;
mod report;
mod run;
mod runtime;
mod slot;
mod stream;
mod sweep;

pub use run::{RunError, run};
pub use runtime::accelerator;
pub use sweep::sweep;
