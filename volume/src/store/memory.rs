//! Objects in memory, gone with the process: for simulations that are about something else than where objects lie.

use std::{
    collections::BTreeMap,
    ops::{Bound, Range},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{Listed, MAX_LIST, ObjectStore, Put, StoreError, check_name};

#[derive(Debug, Default)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<String, Bytes>>,
}

impl MemoryStore {
    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn object(&self, name: &str) -> Result<Bytes, StoreError> {
        check_name(name)?;
        self.objects().get(name).cloned().ok_or_else(|| StoreError::NotFound(name.to_owned()))
    }
}

impl ObjectStore for MemoryStore {
    fn put_if_absent<'a>(&'a self, name: &'a str, body: Bytes) -> BoxFuture<'a, Result<Put, StoreError>> {
        Box::pin(async move {
            check_name(name)?;
            let mut objects = self.objects();
            if objects.contains_key(name) {
                return Ok(Put::Existed);
            }
            objects.insert(name.to_owned(), body);
            Ok(Put::Created)
        })
    }

    fn get<'a>(&'a self, name: &'a str, bytes_max: u64) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            let object = self.object(name)?;
            let fits = object.len() as u64 <= bytes_max;
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
    ) -> BoxFuture<'a, Result<Vec<Listed>, StoreError>> {
        Box::pin(async move {
            let from = match after.filter(|after| *after >= prefix) {
                Some(after) => Bound::Excluded(after),
                None => Bound::Included(prefix),
            };
            let objects = self.objects();
            let found = objects.range::<str, _>((from, Bound::Unbounded));
            let found = found.take_while(|(name, _)| name.starts_with(prefix)).take(MAX_LIST);
            Ok(found.map(|(name, body)| Listed { name: name.clone(), bytes: body.len() as u64 }).collect())
        })
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            check_name(name)?;
            self.objects().remove(name);
            Ok(())
        })
    }
}
