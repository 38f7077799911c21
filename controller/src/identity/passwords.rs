//! Hashes and verifies passwords with argon2id, on blocking threads and a few at a time. The work
//! is the same whether the account exists or not. Users and the networks of clients take turns, so that
//! one of them does not keep the others from signing in.

use std::{sync::LazyLock, time::Duration};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use protocol::{Redacted, UserId};

use super::{rate_limits, secrets};
use crate::fair_permits::{Busy, FairPermits};

/// Shortest password, in characters.
pub const MIN_LENGTH: usize = 10;
/// Longest password, in characters.
pub const MAX_LENGTH: usize = 200;
/// Hashes at the same time. Each takes 19 MiB and about 20 ms of a core; more would only delay each
/// other.
const MAX_CONCURRENT: usize = 2;
/// Hashes at the same time for one user or network.
const MAX_CONCURRENT_PER_REQUESTER: usize = 1;
/// Requests of one user or network that wait. A class behind one router signs in at the same time.
const MAX_WAITING_PER_REQUESTER: usize = 128;
/// Longest wait for a turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);

/// Verified in place of the hash of an account that does not exist.
static UNKNOWN_ACCOUNT_HASH: LazyLock<String> =
    LazyLock::new(|| hash_now(secrets::generate_secret().expose()));

/// Whose share of the work a request uses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Requester {
    /// A user who is signed in.
    User(UserId),
    /// The network of a client that is not signed in.
    Network(String),
}

impl Requester {
    /// The network of a client with this address.
    pub fn at_address(address: &str) -> Self {
        Self::Network(rate_limits::network(address))
    }
}

/// The turn of a requester did not come in time, or too many of its requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Too many passwords are being checked. Try again in a moment")]
pub struct HashingBusy;

impl From<Busy> for HashingBusy {
    fn from(Busy: Busy) -> Self {
        Self
    }
}

/// Hashes and verifies passwords. Clones share the limit.
#[derive(Clone)]
pub struct Passwords(FairPermits<Requester>);

impl Passwords {
    pub fn new() -> Self {
        let permits = FairPermits::new(MAX_CONCURRENT, MAX_CONCURRENT_PER_REQUESTER);
        Self(permits.with_max_waiting_per_user(MAX_WAITING_PER_REQUESTER))
    }

    /// Hashes a password for the database.
    pub async fn hash(
        &self,
        requester: Requester,
        password: &Redacted<String>,
    ) -> Result<String, HashingBusy> {
        let password = password.clone();
        self.run_blocking(requester, move || hash_now(password.expose())).await
    }

    /// The index of the first hash that the password matches. One is always computed, so that the
    /// time tells nothing.
    pub async fn verify(
        &self,
        requester: Requester,
        password: &Redacted<String>,
        hashes: Vec<String>,
    ) -> Result<Option<usize>, HashingBusy> {
        let password = password.clone();
        self.run_blocking(requester, move || {
            if hashes.is_empty() {
                verify_now(password.expose(), &UNKNOWN_ACCOUNT_HASH);
                return None;
            }
            hashes.iter().position(|hash| verify_now(password.expose(), hash))
        })
        .await
    }

    async fn run_blocking<T: Send + 'static>(
        &self,
        requester: Requester,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HashingBusy> {
        let permit = self.0.acquire(requester, TURN_TIMEOUT).await?;
        // The work cannot be cancelled, so it has the permit until its end.
        let work = move || {
            let _permit = permit;
            work()
        };
        Ok(tokio::task::spawn_blocking(work).await.expect("hashing does not panic"))
    }
}

/// Why a password cannot be used, in words for the user. None if it can.
pub fn find_weakness(password: &str) -> Option<&'static str> {
    let length = password.chars().count();
    if length < MIN_LENGTH {
        return Some("Use at least 10 characters.");
    }
    if length > MAX_LENGTH {
        return Some("Use at most 200 characters.");
    }
    let first = password.chars().next();
    password.chars().all(|letter| Some(letter) == first).then_some("Use more than one character.")
}

fn hash_now(password: &str) -> String {
    Argon2::default().hash_password(password.as_bytes()).expect("the parameters are valid").to_string()
}

fn verify_now(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn verify_finds_matching_hash() {
        let passwords = Passwords::new();
        let password = Redacted::new("correct horse".to_owned());
        let anna = || Requester::User(UserId(uuid::Uuid::nil()));
        let hash = passwords.hash(anna(), &password).await.expect("free");
        assert!(hash.starts_with("$argon2id$"));
        assert_eq!(passwords.verify(anna(), &password, vec![hash.clone()]).await, Ok(Some(0)));
        let wrong = "wrong horse".to_owned().into();
        assert_eq!(passwords.verify(anna(), &wrong, vec![hash]).await, Ok(None));
        assert_eq!(passwords.verify(anna(), &password, vec![]).await, Ok(None));
    }

    #[tokio::test]
    async fn one_requester_leaves_hashing_to_others() {
        let passwords = Passwords::new();
        let password = Redacted::new("correct horse".to_owned());
        let (greedy, modest) = (Requester::at_address("2001:db8::1"), Requester::at_address("192.0.2.1"));
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (work, begun) = (passwords.clone(), std::sync::Arc::new(tokio::sync::Notify::new()));
        let (requester, notify) = (greedy.clone(), begun.clone());
        let endless = tokio::spawn(async move {
            let wait = move || {
                notify.notify_one();
                let _ = released.recv();
            };
            work.run_blocking(requester, wait).await
        });
        begun.notified().await;
        // Another address of the same network waits, and other requesters do not.
        let same_network = Requester::at_address("2001:db8::2");
        let mut waiting = Box::pin(passwords.hash(same_network, &password));
        assert!(futures_util::future::poll_immediate(&mut waiting).await.is_none());
        passwords.hash(modest, &password).await.expect("a turn");
        assert_eq!(passwords.0.waiting(), 1);
        drop(release);
        endless.await.expect("no panic").expect("a turn");
        waiting.await.expect("its turn has come");
    }

    #[test]
    fn weak_passwords_are_rejected() {
        for weak in ["", "123456789", "aaaaaaaaaaaaaaaaaa", &"ab".repeat(101)] {
            assert!(find_weakness(weak).is_some(), "{weak}");
        }
        assert!(find_weakness("häßlicheß1").is_none());
    }
}
