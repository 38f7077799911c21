//! One process per running workspace; also builds the images that workspaces boot from.

pub mod export;
pub mod images;
