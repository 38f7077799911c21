//! A volume as a whole, against a plain array of bytes.

mod history;
mod model;
mod power;
mod promises;
