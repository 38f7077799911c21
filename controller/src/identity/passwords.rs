//! Hashes and verifies passwords with argon2id, on blocking threads and a few at a time. The work
//! is the same whether the account exists or not.

use std::sync::{Arc, LazyLock};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use protocol::Redacted;
use tokio::sync::Semaphore;

use super::secrets;

/// Shortest password, in characters.
pub const MIN_LENGTH: usize = 10;
/// Longest password, in characters.
pub const MAX_LENGTH: usize = 200;
/// Hashes at the same time. Each takes 19 MiB and about 20 ms of a core; more would only delay each
/// other.
const MAX_CONCURRENT: usize = 2;

/// Verified in place of the hash of an account that does not exist.
static UNKNOWN_ACCOUNT_HASH: LazyLock<String> =
    LazyLock::new(|| hash_now(secrets::generate_secret().expose()));

/// Hashes and verifies passwords. Clones share the limit.
#[derive(Clone)]
pub struct Passwords(Arc<Semaphore>);

impl Passwords {
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_CONCURRENT)))
    }

    /// Hashes a password for the database.
    pub async fn hash(&self, password: &Redacted<String>) -> String {
        let password = password.clone();
        self.run_blocking(move || hash_now(password.expose())).await
    }

    /// The index of the first hash that the password matches. One is always computed, so that the
    /// time tells nothing.
    pub async fn verify(&self, password: &Redacted<String>, hashes: Vec<String>) -> Option<usize> {
        let password = password.clone();
        self.run_blocking(move || {
            if hashes.is_empty() {
                verify_now(password.expose(), &UNKNOWN_ACCOUNT_HASH);
                return None;
            }
            hashes.iter().position(|hash| verify_now(password.expose(), hash))
        })
        .await
    }

    async fn run_blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let _permit = self.0.acquire().await.expect("the semaphore is never closed");
        tokio::task::spawn_blocking(work).await.expect("hashing does not panic")
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
        let hash = passwords.hash(&password).await;
        assert!(hash.starts_with("$argon2id$"));
        assert_eq!(passwords.verify(&password, vec![hash.clone()]).await, Some(0));
        assert_eq!(passwords.verify(&"wrong horse".to_owned().into(), vec![hash]).await, None);
        assert_eq!(passwords.verify(&password, vec![]).await, None);
    }

    #[test]
    fn weak_passwords_are_rejected() {
        for weak in ["", "123456789", "aaaaaaaaaaaaaaaaaa", &"ab".repeat(101)] {
            assert!(find_weakness(weak).is_some(), "{weak}");
        }
        assert!(find_weakness("häßlicheß1").is_none());
    }
}
