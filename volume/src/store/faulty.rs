//! Fault injection: a store that fails as real ones do, from a seed. A call fails before it has an
//! effect, or after it and the answer is lost; it is slow; or what it reads is altered. For tests
//! and simulations only.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{ObjectInfo, ObjectStore, PutOutcome, StoreError};

/// Which faults are injected, each with a probability from 0 to 1.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// The call fails before it has an effect.
    pub fail_before: f64,
    /// The call has its effect, and the answer is lost.
    pub fail_after: f64,
    /// One bit of what was read is flipped.
    pub flip_bit: f64,
    /// Each call waits up to this long.
    pub max_delay: Duration,
}

/// Passes calls to another store, with faults.
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    faults: Mutex<Faults>,
    random: Mutex<StdRng>,
    is_cut_off: AtomicBool,
    calls: AtomicU64,
    calls_left: AtomicU64,
    bytes_put: AtomicU64,
}

impl FaultyStore {
    /// A store with faults from a seed.
    pub fn new(inner: Arc<dyn ObjectStore>, seed: u64, faults: Faults) -> Self {
        Self {
            inner,
            faults: Mutex::new(faults),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            is_cut_off: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            calls_left: AtomicU64::new(u64::MAX),
            bytes_put: AtomicU64::new(0),
        }
    }

    /// Changes the faults from now on.
    pub fn set_faults(&self, faults: Faults) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// Whether every call is refused from now on.
    pub fn cut_off(&self, is_cut_off: bool) {
        self.is_cut_off.store(is_cut_off, Ordering::SeqCst);
        self.calls_left.store(u64::MAX, Ordering::SeqCst);
    }

    /// Lets this many more calls through, then refuses: simulates a crash between any two of them.
    pub fn cut_off_after(&self, calls: u64) {
        self.calls_left.store(calls, Ordering::SeqCst);
    }

    /// Calls that reached the store so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Bytes of all objects that were written so far.
    pub fn bytes_put(&self) -> u64 {
        self.bytes_put.load(Ordering::SeqCst)
    }

    async fn with_faults<T>(&self, call: BoxFuture<'_, Result<T, StoreError>>) -> Result<T, StoreError> {
        let faults = *self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let (delay, fails_before, fails_after) = {
            let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
            (
                random.random::<f64>(),
                random.random_bool(faults.fail_before),
                random.random_bool(faults.fail_after),
            )
        };
        if !faults.max_delay.is_zero() {
            tokio::time::sleep(faults.max_delay.mul_f64(delay)).await;
        }
        let left = self.calls_left.load(Ordering::SeqCst);
        if left == 0 || self.is_cut_off.load(Ordering::SeqCst) {
            return Err(StoreError::Denied("cut off".to_owned()));
        }
        if left != u64::MAX {
            self.calls_left.fetch_sub(1, Ordering::SeqCst);
        }
        if fails_before {
            return Err(StoreError::Unavailable("injected fault before the call".to_owned()));
        }
        self.calls.fetch_add(1, Ordering::SeqCst);
        let done = call.await;
        if fails_after {
            Err(StoreError::Unavailable("injected fault after the call".to_owned()))
        } else {
            done
        }
    }

    fn maybe_flip(&self, bytes: Bytes) -> Bytes {
        let chance = self.faults.lock().unwrap_or_else(PoisonError::into_inner).flip_bit;
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes.is_empty() || !random.random_bool(chance) {
            return bytes;
        }
        let mut bytes = bytes.to_vec();
        let index = random.random_range(0..bytes.len());
        bytes[index] ^= 1 << random.random_range(0..8);
        bytes.into()
    }
}

impl ObjectStore for FaultyStore {
    fn put_if_absent<'a>(
        &'a self,
        name: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, Result<PutOutcome, StoreError>> {
        Box::pin(async move {
            let length = body.len() as u64;
            let inner = self.inner.put_if_absent(name, body);
            let counted = Box::pin(async move {
                let put = inner.await;
                self.bytes_put.fetch_add(length, Ordering::SeqCst);
                put
            });
            self.with_faults(counted).await
        })
    }

    fn get<'a>(&'a self, name: &'a str, max_bytes: u64) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            let bytes = self.with_faults(self.inner.get(name, max_bytes)).await?;
            Ok(self.maybe_flip(bytes))
        })
    }

    fn get_range<'a>(&'a self, name: &'a str, range: Range<u64>) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            let bytes = self.with_faults(self.inner.get_range(name, range)).await?;
            Ok(self.maybe_flip(bytes))
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectInfo>, StoreError>> {
        Box::pin(self.with_faults(self.inner.list(prefix, after)))
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.with_faults(self.inner.delete(name)))
    }
}
