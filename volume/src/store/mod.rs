//! Where objects live: written once, never changed. Knows no blocks and no keys; what it stores is
//! encrypted already.
//!
//! Each call is one attempt with its own deadline. The caller decides what to retry
//! ([`StoreError::is_transient`]), usually with [`with_retries`].

mod directory;
#[cfg(any(test, feature = "simulation"))]
mod faulty;
#[cfg(any(test, feature = "simulation"))]
mod memory;
mod s3;

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{
    FutureExt as _, Stream,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use rand::RngExt as _;

pub use directory::DirectoryStore;
#[cfg(any(test, feature = "simulation"))]
pub use faulty::{Faults, FaultyStore};
#[cfg(any(test, feature = "simulation"))]
pub use memory::MemoryStore;
pub use s3::{S3Credentials, S3Options, S3Store};

use crate::format::key::{hex, random_bytes};

/// Longest name of an object in bytes. A tenant, a kind and a hash take 140.
const MAX_NAME_BYTES: usize = 512;

/// Names in one page of a listing.
pub const MAX_LIST: usize = 1000;

/// Attempts before a transient failure is returned. With the delays below they take about half a
/// minute. A guest's kernel waits that long for its disk.
const MAX_ATTEMPTS: u32 = 7;
/// Delay before the second attempt. It doubles with each further one.
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(200);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(8);

/// Why a call to a store failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no object of this name.
    #[error("Cannot find the object {0} in the store")]
    NotFound(String),
    /// The store refused, and will refuse again: credentials, permissions, a read-only disk.
    #[error("Cannot access the store: {0}. Check its credentials and permissions")]
    Denied(String),
    /// The store did not answer, or not as it should. The same call may succeed later.
    #[error("Cannot reach the store: {0}. Try again later")]
    Unavailable(String),
    /// The rest of the disk under a directory of objects is reserved for the database.
    #[error("Cannot store the object: the disk of {0} is nearly full")]
    Full(String),
    /// The object has another size than expected, or the name is not valid.
    #[error("Cannot use the object {0}: its size or its name is not valid")]
    Malformed(String),
    /// The store lacks something that volumes need.
    #[error("Cannot use this store: {0}")]
    Unsupported(String),
    /// The text is not the URL of a store.
    #[error(
        "Cannot parse the store URL {0:?}: use file:///directory or s3://bucket/prefix?endpoint=…&region=…"
    )]
    InvalidUrl(String),
}

impl StoreError {
    /// Whether the same call may succeed a little later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// What a write has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object was created.
    Created,
    /// An object of this name existed. It was not changed.
    Existed,
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Full name, without the store's own prefix.
    pub name: String,
    /// Size of the object's body.
    pub bytes: u64,
}

/// An object whose content arrives in pieces. Their order and total size are those of the object; an error
/// ends them.
pub struct ObjectStream {
    /// Size of the object.
    pub bytes: u64,
    /// Its content.
    pub pieces: BoxStream<'static, Result<Bytes, StoreError>>,
}

/// A place for objects. A name consists of parts of `[a-z0-9._-]`, separated by `/`.
pub trait ObjectStore: Send + Sync + 'static {
    /// Writes an object, completely and durably, unless one of this name exists.
    fn put_if_absent<'a>(
        &'a self,
        name: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, Result<PutOutcome, StoreError>>;

    /// Reads an object. One that is larger than `max_bytes` is refused before it is read.
    fn get<'a>(&'a self, name: &'a str, max_bytes: u64) -> BoxFuture<'a, Result<Bytes, StoreError>>;

    /// Like [`Self::get`], without ever holding the whole object in memory where the store can do that.
    fn get_stream<'a>(
        &'a self,
        name: &'a str,
        max_bytes: u64,
    ) -> BoxFuture<'a, Result<ObjectStream, StoreError>> {
        Box::pin(self.get(name, max_bytes).map(|got| {
            let content = got?;
            let bytes = content.len() as u64;
            Ok(ObjectStream { bytes, pieces: Box::pin(futures_util::stream::once(async { Ok(content) })) })
        }))
    }

    /// Reads exactly these bytes of an object.
    fn get_range<'a>(&'a self, name: &'a str, range: Range<u64>) -> BoxFuture<'a, Result<Bytes, StoreError>>;

    /// Lists the next objects whose names have this prefix, in order, after the given name; at most
    /// [`MAX_LIST`].
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectInfo>, StoreError>>;

    /// Deletes an object. Succeeds if it does not exist.
    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Checks that the store does what volumes need, above all that it does not create an object
    /// twice. Otherwise [`StoreError::Unsupported`].
    fn probe(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let name = format!("probe/{}", hex(&random_bytes::<16>()));
            let outcome = probe_as(self, &name).await;
            let removed = with_retries(|| self.delete(&name)).await;
            outcome.and(removed)
        })
    }
}

async fn probe_as<S: ObjectStore + ?Sized>(store: &S, name: &str) -> Result<(), StoreError> {
    let unsupported = |what: &str| Err(StoreError::Unsupported(what.to_owned()));
    with_retries(|| store.put_if_absent(name, Bytes::from_static(b"first"))).await?;
    let second = with_retries(|| store.put_if_absent(name, Bytes::from_static(b"other"))).await?;
    if second != PutOutcome::Existed {
        return unsupported("it created one object twice. It must support If-None-Match");
    }
    if with_retries(|| store.get(name, 64)).await? != "first" {
        return unsupported("an object did not read back as it was written");
    }
    if with_retries(|| store.get_range(name, 1..4)).await? != "irs" {
        return unsupported("it does not support range requests");
    }
    if !with_retries(|| store.list("probe/", None)).await?.iter().any(|listed| listed.name == name) {
        // Listings may be delayed on some stores. No home depends on them.
        tracing::warn!(object = name, "the store does not list a new object at once");
    }
    Ok(())
}

/// Retries a call while its failure is transient, with growing delays and jitter.
pub async fn with_retries<T, F>(mut call: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut delay = FIRST_RETRY_DELAY;
    for _ in 1..MAX_ATTEMPTS {
        match call().await {
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, ?delay, "a call to the store failed, retrying");
            }
            done => return done,
        }
        let jittered = delay.mul_f64(rand::rng().random_range(0.5..1.0));
        tokio::time::sleep(jittered).await;
        delay = (delay * 2).min(MAX_RETRY_DELAY);
    }
    call().await
}

/// All objects after a name whose names have this prefix, in order, page by page. Calls are retried. A page
/// may be short, because some stores return fewer objects than they have: only an empty page is the end.
pub fn list_pages<'a>(
    store: &'a dyn ObjectStore,
    prefix: &'a str,
    after: Option<String>,
) -> impl Stream<Item = Result<Vec<ObjectInfo>, StoreError>> + Send + 'a {
    stream::try_unfold(after, move |after| async move {
        let page = with_retries(|| store.list(prefix, after.as_deref())).await?;
        let last = page.last().map(|object| object.name.clone());
        Ok(last.map(|last| (page, Some(last))))
    })
}

/// Opens the store at a URL: `file:///directory` or `s3://bucket/prefix?endpoint=…&region=…`. The
/// credentials for S3 come from the environment, the profile or the host's role, never from the
/// URL.
pub async fn open(url: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
    if let Some(path) = url.strip_prefix("file://") {
        if !path.starts_with('/') {
            return Err(StoreError::InvalidUrl(url.to_owned()));
        }
        return Ok(Arc::new(DirectoryStore::open(path.into()).await?));
    }
    Ok(Arc::new(S3Store::open(S3Options::parse(url)?).await?))
}

/// Refuses names that could refer to anything outside the store.
pub(crate) fn validate_name(name: &str) -> Result<(), StoreError> {
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
    fn names_outside_the_store_are_refused() {
        for good in ["a", "a/b-1", "0198/packs/ff.x"] {
            assert!(validate_name(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "../a", "a/..", "a/.hidden", "A", "a\0", "ä", &"x".repeat(513)] {
            assert!(validate_name(bad).is_err(), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn invalid_urls_are_refused() {
        for bad in
            ["", "objects", "file://objects", "http://x/", "s3://", "s3:///prefix", "s3://b?colour=red"]
        {
            assert!(matches!(open(bad).await, Err(StoreError::InvalidUrl(_))), "{bad}");
        }
    }
}
