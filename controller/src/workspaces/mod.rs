//! Workspaces in the database: what people see of them, and their lives. Knows no HTTP and no process.

pub mod create;
pub mod deleted;
pub mod fork;
pub mod imports;
pub mod life;
pub mod repairs;
pub mod snapshots;
pub mod view;
