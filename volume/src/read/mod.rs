//! Reads from the store into the cache: the blocks that a request needs ([`fetch`]), and those that
//! later requests will probably need ([`prefetch`]).

pub mod fetch;
pub mod prefetch;
