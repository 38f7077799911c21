pub mod listen;
pub mod lock;
pub mod place;
pub mod postgres;
