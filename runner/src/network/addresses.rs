//! The addresses that our resolver has found for allowed names. Pure: the time is an argument.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use protocol::network::EffectivePolicy;

use super::rules::MAX_ADDRESSES;

/// Names that one address may have at once. Large hosts share an address among more sites than a
/// workspace uses.
const MAX_NAMES_PER_ADDRESS: usize = 64;
/// How long connections may go to an address at least: programs connect again without a new query.
const MIN_LIFETIME: Duration = Duration::from_secs(15 * 60);
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// There is no space for more addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the workspace uses too many addresses at once")]
pub struct TooManyAddresses;

/// Which addresses belong to which names, each until its time is over.
#[derive(Debug, Default)]
pub struct ResolvedAddresses(HashMap<Ipv4Addr, HashMap<String, Instant>>);

impl ResolvedAddresses {
    /// Records that a name has these addresses. Returns those whose time must be renewed in the
    /// rules, with that time.
    pub fn insert(
        &mut self,
        now: Instant,
        name: &str,
        addresses: &[Ipv4Addr],
        ttl: Duration,
    ) -> Result<Vec<(Ipv4Addr, Duration)>, TooManyAddresses> {
        let lifetime = ttl.clamp(MIN_LIFETIME, MAX_LIFETIME);
        if self.0.len() + addresses.len() > MAX_ADDRESSES {
            self.remove_expired(now);
        }
        let is_new = |address: &&Ipv4Addr| !self.0.contains_key(*address);
        if self.0.len() + addresses.iter().filter(is_new).count() > MAX_ADDRESSES {
            return Err(TooManyAddresses);
        }
        let mut renewed = Vec::new();
        for address in addresses {
            let names = self.0.entry(*address).or_default();
            names.retain(|_, until| *until > now);
            if names.len() >= MAX_NAMES_PER_ADDRESS && !names.contains_key(name) {
                return Err(TooManyAddresses);
            }
            let loaded_until = names.values().max().copied();
            // An address that lasts for long enough is not loaded again with each query.
            if loaded_until.is_none_or(|until| until < now + lifetime / 2) {
                renewed.push((*address, lifetime));
            }
            let until = loaded_until.filter(|until| *until >= now + lifetime / 2).unwrap_or(now + lifetime);
            names.insert(name.to_owned(), until);
        }
        Ok(renewed)
    }

    /// Whether an address belongs to a name now.
    pub fn belongs(&self, now: Instant, address: Ipv4Addr, name: &str) -> bool {
        self.0.get(&address).and_then(|names| names.get(name)).is_some_and(|until| *until > now)
    }

    /// Removes the names that a policy does not allow. Returns the addresses that are left, and for
    /// how long.
    pub fn retain_allowed(&mut self, now: Instant, policy: &EffectivePolicy) -> Vec<(Ipv4Addr, Duration)> {
        for names in self.0.values_mut() {
            names.retain(|name, _| policy.allows(name));
        }
        self.remove_expired(now);
        let left =
            self.0.iter().filter_map(|(address, names)| Some((*address, *names.values().max()? - now)));
        left.collect()
    }

    fn remove_expired(&mut self, now: Instant) {
        for names in self.0.values_mut() {
            names.retain(|_, until| *until > now);
        }
        self.0.retain(|_, names| !names.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(30);

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(203, 0, 113, last)
    }

    #[test]
    fn address_is_loaded_once_and_renewed_in_time() {
        let (mut addresses, start) = (ResolvedAddresses::default(), Instant::now());
        let found = [address(1), address(2)];
        let loaded = addresses.insert(start, "a.example", &found, TTL).expect("space");
        assert_eq!(loaded, found.map(|address| (address, MIN_LIFETIME)));
        assert_eq!(addresses.insert(start + TTL, "a.example", &found, TTL), Ok(vec![]));
        let late = start + MIN_LIFETIME * 2 / 3;
        assert_eq!(addresses.insert(late, "a.example", &found[..1], TTL).expect("space").len(), 1);
        let end = start + MIN_LIFETIME + TTL;
        assert!(addresses.belongs(end, address(1), "a.example"));
        assert!(!addresses.belongs(end, address(2), "a.example"), "expired");
        assert!(!addresses.belongs(start, address(1), "b.example"), "another name");
    }

    #[test]
    fn policy_removes_addresses_of_other_names() {
        let (mut addresses, now) = (ResolvedAddresses::default(), Instant::now());
        addresses.insert(now, "a.example", &[address(1), address(2)], TTL).expect("space");
        addresses.insert(now, "b.example", &[address(2), address(3)], TTL).expect("space");
        let names = ["b.example".parse().expect("a name")].into();
        let mut left = addresses.retain_allowed(now, &EffectivePolicy::Allowlist { names });
        left.sort();
        assert_eq!(left, [(address(2), MIN_LIFETIME), (address(3), MIN_LIFETIME)]);
        assert!(!addresses.belongs(now, address(2), "a.example"));
        assert_eq!(addresses.retain_allowed(now, &EffectivePolicy::None), []);
    }

    #[test]
    fn addresses_are_bounded() {
        let (mut addresses, now) = (ResolvedAddresses::default(), Instant::now());
        let fill = |number: usize| Ipv4Addr::from(u32::try_from(number).expect("small") + (11 << 24));
        for number in 0..MAX_ADDRESSES {
            addresses.insert(now, &format!("h{number}.example"), &[fill(number)], TTL).expect("space");
        }
        assert_eq!(addresses.insert(now, "more.example", &[address(1)], TTL), Err(TooManyAddresses));
        assert_eq!(addresses.insert(now, "h0.example", &[fill(0)], TTL), Ok(vec![]), "known");
        let later = now + MIN_LIFETIME;
        assert!(addresses.insert(later, "more.example", &[address(1)], TTL).is_ok(), "others have expired");
        let names = (0..MAX_NAMES_PER_ADDRESS).map(|number| format!("n{number}.example"));
        for name in names {
            addresses.insert(later, &name, &[address(2)], TTL).expect("space");
        }
        assert_eq!(addresses.insert(later, "more.example", &[address(2)], TTL), Err(TooManyAddresses));
    }
}
