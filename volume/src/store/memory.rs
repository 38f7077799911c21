//! Objects in memory, for simulations and tests in which it does not matter where objects live.

use std::{
    collections::BTreeMap,
    ops::{Bound, Range},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{MAX_LIST, ObjectInfo, ObjectStore, PutOutcome, StoreError, validate_name};

/// A store whose objects are lost with the process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<String, Bytes>>,
}

impl MemoryStore {
    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn object(&self, name: &str) -> Result<Bytes, StoreError> {
        validate_name(name)?;
        self.objects().get(name).cloned().ok_or_else(|| StoreError::NotFound(name.to_owned()))
    }
}

impl ObjectStore for MemoryStore {
    fn put_if_absent<'a>(
        &'a self,
        name: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, Result<PutOutcome, StoreError>> {
        Box::pin(async move {
            validate_name(name)?;
            let mut objects = self.objects();
            if objects.contains_key(name) {
                return Ok(PutOutcome::Existed);
            }
            objects.insert(name.to_owned(), body);
            Ok(PutOutcome::Created)
        })
    }

    fn get<'a>(&'a self, name: &'a str, max_bytes: u64) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            let object = self.object(name)?;
            let fits = object.len() as u64 <= max_bytes;
            if fits { Ok(object) } else { Err(StoreError::Malformed(name.to_owned())) }
        })
    }

    fn get_range<'a>(&'a self, name: &'a str, range: Range<u64>) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            let object = self.object(name)?;
            if range.start > range.end || range.end > object.len() as u64 {
                return Err(StoreError::Malformed(name.to_owned()));
            }
            Ok(object.slice(range.start as usize..range.end as usize))
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<ObjectInfo>, StoreError>> {
        Box::pin(async move {
            let from = match after.filter(|after| *after >= prefix) {
                Some(after) => Bound::Excluded(after),
                None => Bound::Included(prefix),
            };
            let objects = self.objects();
            let found = objects.range::<str, _>((from, Bound::Unbounded));
            let found = found.take_while(|(name, _)| name.starts_with(prefix)).take(MAX_LIST);
            Ok(found
                .map(|(name, body)| ObjectInfo { name: name.clone(), bytes: body.len() as u64 })
                .collect())
        })
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            validate_name(name)?;
            self.objects().remove(name);
            Ok(())
        })
    }
}
