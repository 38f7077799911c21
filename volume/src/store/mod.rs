//! Where objects live: written once, never changed. Knows no block and no key; what it stores is sealed already.
//!
//! Each call is one attempt with a deadline of its own. Whoever calls decides what to try again: [`StoreError::is_transient`].

mod directory;
mod faulty;
mod memory;
mod s3;

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use rand::RngExt as _;

pub use directory::DirectoryStore;
pub use faulty::{Faults, Faulty};
pub use memory::MemoryStore;
pub use s3::{S3Credentials, S3Options, S3Store};

use crate::key::{hex, random_bytes};

/// Longest name of an object: a tenant, a kind and a hash take 140.
const MAX_NAME_BYTES: usize = 512;

/// Names in one page of a listing.
pub const MAX_LIST: usize = 1000;

/// Attempts before a transient failure is given up: with the pauses below about half a minute, what a guest's flush can
/// bear without its kernel calling the disk dead.
const ATTEMPTS: u32 = 7;
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(8);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("the store holds no object {0}")]
    NotFound(String),
    #[error("the store refused: {0}")]
    Denied(String),
    #[error("the store did not answer as it should; trying again may help: {0}")]
    Unavailable(String),
    #[error("the object {0} is not what was asked for")]
    Malformed(String),
    #[error("the store is not usable: {0}")]
    Unfit(String),
    #[error(
        "{0:?} is no address of a store: use file:///directory or s3://bucket/prefix?endpoint=…&region=…"
    )]
    Address(String),
}

impl StoreError {
    /// Whether the same call may succeed a little later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Created,
    /// An object of this name was there; it has not been changed.
    Existed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    pub bytes: u64,
}

/// A place for objects. Names are parts of `[a-z0-9._-]` divided by `/`.
pub trait ObjectStore: Send + Sync + 'static {
    /// Writes the object whole, durably, unless one of its name exists.
    fn put_if_absent<'a>(&'a self, name: &'a str, body: Bytes) -> BoxFuture<'a, Result<Put, StoreError>>;

    /// The whole object; one larger than `bytes_max` is refused before it is read.
    fn get<'a>(&'a self, name: &'a str, bytes_max: u64) -> BoxFuture<'a, Result<Bytes, StoreError>>;

    /// Exactly these bytes of the object.
    fn get_range<'a>(&'a self, name: &'a str, range: Range<u64>) -> BoxFuture<'a, Result<Bytes, StoreError>>;

    /// The next names with this prefix, in order, after the given one; at most [`MAX_LIST`].
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Listed>, StoreError>>;

    /// Removes the object if it is there.
    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Proves that the store keeps its promises; refuses one that lets a second create through.
    fn probe(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let name = format!("probe/{}", hex(&random_bytes::<16>()));
            let outcome = probe_as(self, &name).await;
            let removed = retrying(|| self.delete(&name)).await;
            outcome.and(removed)
        })
    }
}

async fn probe_as<S: ObjectStore + ?Sized>(store: &S, name: &str) -> Result<(), StoreError> {
    let unfit = |what: &str| Err(StoreError::Unfit(what.to_owned()));
    retrying(|| store.put_if_absent(name, Bytes::from_static(b"first"))).await?;
    let second = retrying(|| store.put_if_absent(name, Bytes::from_static(b"other"))).await?;
    if second != Put::Existed {
        return unfit("it let an object be created twice (no If-None-Match)");
    }
    if retrying(|| store.get(name, 64)).await? != "first" {
        return unfit("an object did not read back as it was written");
    }
    if retrying(|| store.get_range(name, 1..4)).await? != "irs" {
        return unfit("it does not serve ranges");
    }
    if !retrying(|| store.list("probe/", None)).await?.iter().any(|listed| listed.name == name) {
        // Listings may lag behind on some stores, and nothing that is needed for a home rests on them.
        tracing::warn!(object = name, "the store's listing does not show a new object at once");
    }
    Ok(())
}

/// Tries a call again while it fails transiently, with growing pauses and jitter.
pub async fn retrying<T, F>(mut call: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut pause = PAUSE_FIRST;
    for _ in 1..ATTEMPTS {
        match call().await {
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, ?pause, "store call failed, trying again");
            }
            done => return done,
        }
        let jittered = pause.mul_f64(rand::rng().random_range(0.5..1.0));
        tokio::time::sleep(jittered).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
    call().await
}

/// The store at an address: `file:///directory` or `s3://bucket/prefix?endpoint=…&region=…`. Credentials of S3 come from
/// the environment, the profile or the machine's role, never from the address.
pub async fn open(url: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
    if let Some(path) = url.strip_prefix("file://") {
        if !path.starts_with('/') {
            return Err(StoreError::Address(url.to_owned()));
        }
        return Ok(Arc::new(DirectoryStore::open(path.into()).await?));
    }
    Ok(Arc::new(S3Store::open(S3Options::parse(url)?).await?))
}

/// Refuses names that could mean anything but a place beneath the store.
pub(crate) fn check_name(name: &str) -> Result<(), StoreError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    let part_is_good = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain);
    if name.len() <= MAX_NAME_BYTES && name.split('/').all(part_is_good) {
        Ok(())
    } else {
        Err(StoreError::Malformed(name.chars().take(MAX_NAME_BYTES).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_beneath_the_store() {
        for good in ["a", "a/b-1", "0198/packs/ff.x"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "../a", "a/..", "a/.hidden", "A", "a\0", "ä", &"x".repeat(513)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn addresses_that_are_none_are_refused() {
        for bad in
            ["", "objects", "file://objects", "http://x/", "s3://", "s3:///prefix", "s3://b?colour=red"]
        {
            assert!(matches!(open(bad).await, Err(StoreError::Address(_))), "{bad}");
        }
    }
}
