//! One process per running workspace; also builds the images that workspaces boot from.

mod agent;
pub mod export;
mod front;
mod home;
pub mod images;
mod report;
mod run;
mod runtime;
mod slot;

pub use run::{RunError, run};
pub use runtime::accelerator;
