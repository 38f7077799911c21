//! A store that fails as real ones do, from a seed: before the effect, after the effect with the answer lost, slowly, or with
//! altered bytes. For tests and simulations; real code, because what is proved with it must hold.

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

use super::{Listed, ObjectStore, Put, StoreError};

/// How often what goes wrong; each a chance from 0 to 1.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Nothing happened, and the call fails.
    pub before: f64,
    /// It happened, and the answer is lost.
    pub after: f64,
    /// One bit of what was read is another.
    pub flipped: f64,
    /// Each call waits up to so long.
    pub delay_max: Duration,
}

pub struct Faulty {
    inner: Arc<dyn ObjectStore>,
    faults: Mutex<Faults>,
    random: Mutex<StdRng>,
    cut_off: AtomicBool,
    calls: AtomicU64,
    calls_left: AtomicU64,
    bytes_put: AtomicU64,
}

impl Faulty {
    pub fn new(inner: Arc<dyn ObjectStore>, seed: u64, faults: Faults) -> Self {
        Self {
            inner,
            faults: Mutex::new(faults),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            cut_off: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            calls_left: AtomicU64::new(u64::MAX),
            bytes_put: AtomicU64::new(0),
        }
    }

    pub fn set_faults(&self, faults: Faults) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// From now on every call is refused for good, or no longer.
    pub fn cut_off(&self, cut_off: bool) {
        self.cut_off.store(cut_off, Ordering::SeqCst);
        self.calls_left.store(u64::MAX, Ordering::SeqCst);
    }

    /// Lets so many more calls through, then cuts off: a crash between any two of them.
    pub fn cut_off_after(&self, calls: u64) {
        self.calls_left.store(calls, Ordering::SeqCst);
    }

    /// Calls that reached the store.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Bytes of all bodies that reached the store.
    pub fn bytes_put(&self) -> u64 {
        self.bytes_put.load(Ordering::SeqCst)
    }

    async fn around<T>(&self, call: BoxFuture<'_, Result<T, StoreError>>) -> Result<T, StoreError> {
        let faults = *self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let (delay, before, after) = {
            let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
            (random.random::<f64>(), random.random_bool(faults.before), random.random_bool(faults.after))
        };
        if !faults.delay_max.is_zero() {
            tokio::time::sleep(faults.delay_max.mul_f64(delay)).await;
        }
        let left = self.calls_left.load(Ordering::SeqCst);
        if left == 0 || self.cut_off.load(Ordering::SeqCst) {
            return Err(StoreError::Denied("cut off".to_owned()));
        }
        if left != u64::MAX {
            self.calls_left.fetch_sub(1, Ordering::SeqCst);
        }
        if before {
            return Err(StoreError::Unavailable("injected before the effect".to_owned()));
        }
        self.calls.fetch_add(1, Ordering::SeqCst);
        let done = call.await;
        if after { Err(StoreError::Unavailable("injected after the effect".to_owned())) } else { done }
    }

    fn maybe_flipped(&self, bytes: Bytes) -> Bytes {
        let chance = self.faults.lock().unwrap_or_else(PoisonError::into_inner).flipped;
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

impl ObjectStore for Faulty {
    fn put_if_absent<'a>(&'a self, name: &'a str, body: Bytes) -> BoxFuture<'a, Result<Put, StoreError>> {
        Box::pin(async move {
            let length = body.len() as u64;
            let inner = self.inner.put_if_absent(name, body);
            let counted = Box::pin(async move {
                let put = inner.await;
                self.bytes_put.fetch_add(length, Ordering::SeqCst);
                put
            });
            self.around(counted).await
        })
    }

    fn get<'a>(&'a self, name: &'a str, bytes_max: u64) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            let bytes = self.around(self.inner.get(name, bytes_max)).await?;
            Ok(self.maybe_flipped(bytes))
        })
    }

    fn get_range<'a>(&'a self, name: &'a str, range: Range<u64>) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            let bytes = self.around(self.inner.get_range(name, range)).await?;
            Ok(self.maybe_flipped(bytes))
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Listed>, StoreError>> {
        Box::pin(self.around(self.inner.list(prefix, after)))
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.around(self.inner.delete(name)))
    }
}
