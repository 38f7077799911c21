//! Work that keeps a volume in shape while it is in use: packs that waste space (`compact`), damage
//! in the store (`repair`), and the local disk (`disk_space`).
//!
//! Compaction and repair have the same second half. They mark blocks as dirty, and the next
//! snapshot stores them again.

pub mod compact;
pub mod disk_space;
mod mark;
pub mod repair;

#[cfg(test)]
mod tests;
