//! Homes over time: committed snapshots, which of them are kept, what they hold, and what they need in the object store.
//! Knows no HTTP.

pub mod browser;
pub mod chunks;
mod commit;
pub mod gc;
pub mod imports;
mod prune;
mod query;
pub mod retention;
mod roots;
pub mod tar;

pub use commit::{Moved, Told, commit, take_in};
pub use prune::thin;
pub use query::{Found, Which, delete, find, find_held, keep, kind_text, list, rename, restore};
pub use roots::{give_up, roots};
