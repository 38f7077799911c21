//! How often someone may try what can be guessed: passwords, links, codes.

use std::{num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    state::keyed::DashMapStateStore,
};

use crate::api::error::{ApiError, Result};
use protocol::Code;

/// From one address: a class behind one router signs in at the same minute, a guesser wants far more.
const ADDRESS: (u32, Duration) = (120, Duration::from_secs(1));
/// For one e-mail: a person mistypes a few times.
const EMAIL: (u32, Duration) = (10, Duration::from_secs(20));
/// Device codes typed by one person.
const CODE: (u32, Duration) = (10, Duration::from_secs(10));
/// Keys that are remembered at the most; beyond it all are forgotten that have their full allowance again.
const MAX_KEYS: usize = 100_000;
/// Longest key that is told apart.
const MAX_KEY_BYTES: usize = 254;

type Keyed = RateLimiter<String, DashMapStateStore<String>, DefaultClock>;

pub struct Limits {
    address: Keyed,
    email: Keyed,
    code: Keyed,
}

impl Limits {
    pub fn new() -> Self {
        Self { address: keyed(ADDRESS), email: keyed(EMAIL), code: keyed(CODE) }
    }

    /// Something that can be guessed was tried from this address.
    pub fn address(&self, address: &str) -> Result<()> {
        check(&self.address, address)
    }

    pub fn email(&self, email: &str) -> Result<()> {
        check(&self.email, &email.to_lowercase())
    }

    pub fn code(&self, user: &str) -> Result<()> {
        check(&self.code, user)
    }
}

fn keyed((burst, every): (u32, Duration)) -> Keyed {
    let quota = Quota::with_period(every).expect("the periods are not zero");
    RateLimiter::dashmap(quota.allow_burst(NonZeroU32::new(burst).expect("the bursts are not zero")))
}

fn check(limiter: &Keyed, key: &str) -> Result<()> {
    if limiter.len() > MAX_KEYS {
        limiter.retain_recent();
    }
    let key = protocol::workspace::cut(key.to_owned(), MAX_KEY_BYTES);
    limiter.check_key(&key).map_err(|until| {
        let seconds = until.wait_time_from(DefaultClock::default().now()).as_secs() + 1;
        ApiError::new(Code::RateLimited, format!("Too many attempts. Try again in {seconds} s."))
            .retry_after(seconds)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_ends_and_others_are_not_hit() {
        let limits = Limits::new();
        let allowed = (0..1000).take_while(|_| limits.email("Anna@example.org").is_ok()).count();
        assert!((10..=12).contains(&allowed), "{allowed}");
        assert!(limits.email("anna@EXAMPLE.org").is_err());
        assert!(limits.email("ben@example.org").is_ok());
    }
}
