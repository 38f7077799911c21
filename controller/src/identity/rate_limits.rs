//! Rate limits for what can be guessed: passwords, links, codes.

use std::{num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    state::keyed::DashMapStateStore,
};

/// A burst, and the time after which one more attempt is allowed.
struct Limit {
    burst: u32,
    refill_interval: Duration,
}

/// Attempts from one address. A class behind one router signs in within a minute; guessing takes
/// far more.
const PER_ADDRESS: Limit = Limit { burst: 120, refill_interval: Duration::from_secs(1) };
/// Attempts for one email address. A user mistypes a few times.
const PER_EMAIL: Limit = Limit { burst: 10, refill_interval: Duration::from_secs(20) };
/// User codes of device logins that one user may type.
const PER_USER: Limit = Limit { burst: 10, refill_interval: Duration::from_secs(10) };
/// Most keys of a limit. Beyond it, keys that have their full burst again are dropped.
const MAX_KEYS: usize = 100_000;
/// Keys that differ only behind this length share a limit.
const MAX_KEY_BYTES: usize = 254;

type KeyedLimiter = RateLimiter<String, DashMapStateStore<String>, DefaultClock>;

/// The attempt is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Too many attempts. Try again in {retry_after_seconds} s")]
pub struct RateLimited {
    pub retry_after_seconds: u64,
}

/// The rate limits of one controller.
pub struct RateLimits {
    addresses: KeyedLimiter,
    emails: KeyedLimiter,
    users: KeyedLimiter,
}

impl RateLimits {
    pub fn new() -> Self {
        Self { addresses: limiter(PER_ADDRESS), emails: limiter(PER_EMAIL), users: limiter(PER_USER) }
    }

    /// Counts an attempt from an address.
    pub fn check_address(&self, address: &str) -> Result<(), RateLimited> {
        check(&self.addresses, address)
    }

    /// Counts an attempt for an email address, in any case.
    pub fn check_email(&self, email: &str) -> Result<(), RateLimited> {
        check(&self.emails, &email.to_lowercase())
    }

    /// Counts a user code that a user typed.
    pub fn check_user_code(&self, user: &str) -> Result<(), RateLimited> {
        check(&self.users, user)
    }
}

fn limiter(Limit { burst, refill_interval }: Limit) -> KeyedLimiter {
    let quota = Quota::with_period(refill_interval).expect("the intervals are not zero");
    RateLimiter::dashmap(quota.allow_burst(NonZeroU32::new(burst).expect("the bursts are not zero")))
}

fn check(limiter: &KeyedLimiter, key: &str) -> Result<(), RateLimited> {
    if limiter.len() > MAX_KEYS {
        limiter.retain_recent();
    }
    let key = protocol::workspace::cut(key.to_owned(), MAX_KEY_BYTES);
    limiter.check_key(&key).map_err(|until| RateLimited {
        retry_after_seconds: until.wait_time_from(DefaultClock::default().now()).as_secs() + 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn email_limit_ignores_case_and_spares_others() {
        let limits = RateLimits::new();
        let allowed = (0..1000).take_while(|_| limits.check_email("Anna@example.org").is_ok()).count();
        assert!((10..=12).contains(&allowed), "{allowed}");
        assert!(limits.check_email("anna@EXAMPLE.org").is_err());
        assert!(limits.check_email("ben@example.org").is_ok());
    }
}
