pub mod lock;
pub mod postgres;
