//! Rate limits for what can be guessed: passwords, links, codes.
//!
//! Wrong passwords count for the account and the address that they come from, so that nobody locks a user
//! out from elsewhere. A slower limit counts for the account alone, against guessing from many addresses.
//! It does not hold for an address from which the right password came before.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    net::IpAddr,
    sync::Mutex,
    time::{Duration, Instant},
};

/// A burst, and the time after which one more attempt is allowed.
#[derive(Clone, Copy)]
pub struct Limit {
    pub burst: u32,
    pub refill_interval: Duration,
}

/// Attempts from one address. A class behind one router signs in within a minute; guessing takes
/// far more.
const PER_ADDRESS: Limit = Limit { burst: 120, refill_interval: Duration::from_secs(1) };
/// Attempts for one account from one address. A user mistypes a few times.
const PER_ACCOUNT_AND_ADDRESS: Limit = Limit { burst: 10, refill_interval: Duration::from_secs(20) };
/// Attempts for one account from all addresses together that the user has not signed in from.
const PER_ACCOUNT: Limit = Limit { burst: 100, refill_interval: Duration::from_secs(30) };
/// User codes of device logins that one user may type.
const PER_USER: Limit = Limit { burst: 10, refill_interval: Duration::from_secs(10) };
/// Most keys of a limit.
const MAX_KEYS: usize = 100_000;
/// Accounts whose addresses are remembered.
const MAX_KNOWN_ACCOUNTS: usize = 20_000;
/// Addresses of one account that are remembered.
const MAX_KNOWN_ADDRESSES: usize = 16;
/// Keys that differ only behind this length share a limit.
const MAX_KEY_BYTES: usize = 254;

/// The attempt is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Too many attempts. Try again in {retry_after_seconds} s")]
pub struct RateLimited {
    pub retry_after_seconds: u64,
}

/// The rate limits of one controller.
pub struct RateLimits {
    addresses: KeyedLimit<String>,
    pairs: KeyedLimit<(String, String)>,
    accounts: KeyedLimit<String>,
    users: KeyedLimit<String>,
    known: Mutex<KnownAddresses>,
}

impl RateLimits {
    pub fn new() -> Self {
        Self {
            addresses: KeyedLimit::new(PER_ADDRESS, MAX_KEYS),
            pairs: KeyedLimit::new(PER_ACCOUNT_AND_ADDRESS, MAX_KEYS),
            accounts: KeyedLimit::new(PER_ACCOUNT, MAX_KEYS),
            users: KeyedLimit::new(PER_USER, MAX_KEYS),
            known: Mutex::default(),
        }
    }

    /// Counts an attempt from an address.
    pub fn check_address(&self, address: &str) -> Result<(), RateLimited> {
        self.addresses.check(Instant::now(), network(address))
    }

    /// Counts a password for an account, by its email address in any case.
    pub fn check_password(&self, email: &str, address: &str) -> Result<(), RateLimited> {
        self.check_password_at(Instant::now(), email, address)
    }

    fn check_password_at(&self, now: Instant, email: &str, address: &str) -> Result<(), RateLimited> {
        let (account, network) = (account(email), network(address));
        self.pairs.check(now, (account.clone(), network.clone()))?;
        let is_known = self.known.lock().expect("no holder panics").contains(&account, &network);
        if is_known { Ok(()) } else { self.accounts.check(now, account) }
    }

    /// Remembers that the right password of an account came from an address.
    pub fn record_success(&self, email: &str, address: &str) {
        self.known.lock().expect("no holder panics").insert(account(email), network(address));
    }

    /// Counts a user code that a user typed.
    pub fn check_user_code(&self, user: &str) -> Result<(), RateLimited> {
        self.users.check(Instant::now(), cut(user))
    }
}

fn account(email: &str) -> String {
    cut(&email.to_lowercase())
}

fn cut(key: &str) -> String {
    protocol::workspace::cut(key.to_owned(), MAX_KEY_BYTES)
}

/// What one client can have at most: an IPv4 address, or a /64 of IPv6.
pub fn network(address: &str) -> String {
    match address.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        Ok(IpAddr::V4(address)) => address.to_string(),
        Err(_) => cut(address),
    }
}

/// One limit for each key. A key takes a few bytes, and only while attempts are missing from its burst.
pub struct KeyedLimit<K> {
    limit: Limit,
    max_keys: usize,
    /// When each key has its full burst again (the theoretical arrival time of GCRA).
    full_at: Mutex<HashMap<K, Instant>>,
}

impl<K: Eq + Hash> KeyedLimit<K> {
    pub fn new(limit: Limit, max_keys: usize) -> Self {
        Self { limit, max_keys, full_at: Mutex::default() }
    }

    /// Counts an attempt. An attempt that is refused does not count.
    pub fn check(&self, now: Instant, key: K) -> Result<(), RateLimited> {
        let Limit { burst, refill_interval } = self.limit;
        let mut full_at = self.full_at.lock().expect("no holder panics");
        let full = full_at.get(&key).copied().unwrap_or(now).max(now) + refill_interval;
        let wait = full.duration_since(now).saturating_sub(refill_interval * burst);
        if !wait.is_zero() {
            return Err(RateLimited { retry_after_seconds: wait.as_secs() + 1 });
        }
        full_at.insert(key, full);
        if full_at.len() > self.max_keys {
            make_room(&mut full_at, now, self.max_keys);
        }
        Ok(())
    }

    /// Gives a key its full burst again.
    pub fn reset(&self, key: &K) {
        self.full_at.lock().expect("no holder panics").remove(key);
    }
}

/// Drops keys with a full burst. If that is not enough: those with the fewest attempts, which a flood
/// of new keys consists of.
fn make_room<K: Eq + Hash>(full_at: &mut HashMap<K, Instant>, now: Instant, max_keys: usize) {
    full_at.retain(|_, full| *full > now);
    let kept = max_keys / 4 * 3;
    if full_at.len() > kept {
        let mut times: Vec<Instant> = full_at.values().copied().collect();
        let dropped = times.len() - kept;
        let (_, limit, _) = times.select_nth_unstable(dropped - 1);
        let limit = *limit;
        full_at.retain(|_, full| *full > limit);
    }
}

/// The networks from which users have signed in, the newest last.
#[derive(Default)]
struct KnownAddresses {
    by_account: HashMap<String, VecDeque<String>>,
    /// Accounts in the order in which they came.
    order: VecDeque<String>,
}

impl KnownAddresses {
    fn contains(&self, account: &str, network: &str) -> bool {
        self.by_account.get(account).is_some_and(|networks| networks.iter().any(|known| known == network))
    }

    fn insert(&mut self, account: String, network: String) {
        if !self.by_account.contains_key(&account) {
            self.order.push_back(account.clone());
        }
        if self.order.len() > MAX_KNOWN_ACCOUNTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_account.remove(&oldest);
        }
        let networks = self.by_account.entry(account).or_default();
        networks.retain(|known| *known != network);
        networks.push_back(network);
        if networks.len() > MAX_KNOWN_ADDRESSES {
            networks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wrong passwords until the limit.
    fn guess(limits: &RateLimits, now: Instant, email: &str, address: &str) -> usize {
        (0..1000).take_while(|_| limits.check_password_at(now, email, address).is_ok()).count()
    }

    #[test]
    fn guesses_elsewhere_spare_victim() {
        let (limits, now) = (RateLimits::new(), Instant::now());
        assert_eq!(guess(&limits, now, "Anna@example.org", "198.51.100.7"), 10);
        assert!(limits.check_password_at(now, "anna@EXAMPLE.org", "198.51.100.7").is_err(), "any case");
        assert!(limits.check_password_at(now, "anna@example.org", "203.0.113.9").is_ok(), "the victim");
        assert!(limits.check_password_at(now, "ben@example.org", "198.51.100.7").is_ok(), "another account");
        let later = now + Duration::from_secs(21);
        assert!(limits.check_password_at(later, "anna@example.org", "198.51.100.7").is_ok());
    }

    #[test]
    fn many_addresses_share_slower_limit() {
        let (limits, now) = (RateLimits::new(), Instant::now());
        limits.record_success("anna@example.org", "203.0.113.9");
        let guessed: usize =
            (0..200).map(|host| guess(&limits, now, "anna@example.org", &format!("10.0.0.{host}"))).sum();
        assert_eq!(guessed, 100);
        assert!(limits.check_password_at(now, "anna@example.org", "192.0.2.1").is_err(), "a new address");
        assert!(limits.check_password_at(now, "anna@example.org", "203.0.113.9").is_ok(), "her own address");
    }

    #[test]
    fn one_client_is_a_64_of_ipv6() {
        assert_eq!(network("2001:db8:1:2:a::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:198.51.100.7"), network("198.51.100.7"));
    }

    #[test]
    fn keys_are_bounded_and_guessed_ones_stay() {
        let (limit, now) = (KeyedLimit::new(PER_ACCOUNT_AND_ADDRESS, 1000), Instant::now());
        while limit.check(now, u32::MAX).is_ok() {}
        for key in 0..10_000 {
            limit.check(now, key).expect("a new key has its burst");
            assert!(limit.full_at.lock().expect("not poisoned").len() <= 1000);
        }
        assert!(limit.check(now, u32::MAX).is_err(), "a flood of keys resets none that is guessed");
    }

    #[test]
    fn known_addresses_are_bounded() {
        let mut known = KnownAddresses::default();
        for number in 0..MAX_KNOWN_ACCOUNTS + 10 {
            known.insert(number.to_string(), "198.51.100.7".to_owned());
        }
        for number in 0..100 {
            known.insert("last".to_owned(), number.to_string());
        }
        assert!(known.by_account.len() <= MAX_KNOWN_ACCOUNTS && known.order.len() <= MAX_KNOWN_ACCOUNTS);
        assert_eq!(known.by_account["last"].len(), MAX_KNOWN_ADDRESSES);
        assert!(known.contains("last", "99") && !known.contains("0", "198.51.100.7"));
    }
}
