//! Passwords: argon2id on blocking threads, a few at a time, the same work whether the account exists or not.

use std::sync::{Arc, LazyLock};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use protocol::Redacted;
use tokio::sync::Semaphore;

pub const MIN_LENGTH: usize = 10;
pub const MAX_LENGTH: usize = 200;
/// Each takes 19 MiB and about 20 ms of a core; more at once only delay each other and everyone else.
const MAX_CONCURRENT: usize = 2;

/// Hashed in place of an unknown account's password.
static NOBODYS: LazyLock<String> = LazyLock::new(|| hash_now(crate::identity::secrets::secret().expose()));

#[derive(Clone)]
pub struct Passwords(Arc<Semaphore>);

impl Passwords {
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_CONCURRENT)))
    }

    pub async fn hash(&self, password: &Redacted<String>) -> String {
        let password = password.clone();
        self.work(move || hash_now(password.expose())).await
    }

    /// The first of the hashes that fits; one is always computed.
    pub async fn verify(&self, password: &Redacted<String>, hashes: Vec<String>) -> Option<usize> {
        let password = password.clone();
        self.work(move || {
            if hashes.is_empty() {
                verify_now(password.expose(), &NOBODYS);
                return None;
            }
            hashes.iter().position(|hash| verify_now(password.expose(), hash))
        })
        .await
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let _turn = self.0.acquire().await.expect("the semaphore is never closed");
        tokio::task::spawn_blocking(work).await.expect("hashing does not panic")
    }
}

/// Why a password cannot be used, in words for the person.
pub fn weakness(password: &str) -> Option<&'static str> {
    let length = password.chars().count();
    if length < MIN_LENGTH {
        return Some("At least 10 characters.");
    }
    if length > MAX_LENGTH {
        return Some("At most 200 characters.");
    }
    let first = password.chars().next();
    password.chars().all(|letter| Some(letter) == first).then_some("Not the same character throughout.")
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
    async fn passwords_are_told_apart() {
        let passwords = Passwords::new();
        let password = Redacted::new("correct horse".to_owned());
        let hash = passwords.hash(&password).await;
        assert!(hash.starts_with("$argon2id$"));
        assert_eq!(passwords.verify(&password, vec![hash.clone()]).await, Some(0));
        assert_eq!(passwords.verify(&"wrong horse".to_owned().into(), vec![hash]).await, None);
        assert_eq!(passwords.verify(&password, vec![]).await, None);
    }

    #[test]
    fn weak_ones_are_named() {
        for weak in ["", "123456789", "aaaaaaaaaaaaaaaaaa", &"ab".repeat(101)] {
            assert!(weakness(weak).is_some(), "{weak}");
        }
        assert!(weakness("häßlicheß1").is_none());
    }
}
