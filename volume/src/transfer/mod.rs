//! Homes as chunks, to copy them to another installation: listed and read there (`export`), and
//! written here (`import`).

pub mod chunk;
pub mod export;
pub mod import;

#[cfg(test)]
mod tests;
