//! The only place that decides who may do what and when a workspace runs, and the only one that writes the database.
pub mod lifecycle;
