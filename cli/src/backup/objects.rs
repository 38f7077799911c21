//! Copies objects from one store to another.

use std::{collections::HashMap, sync::Arc};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use volume::{
    StoreError,
    store::{MAX_LIST, ObjectInfo, ObjectStore, with_retries},
};

use super::ObjectTotals;
use crate::output::{progress::Step, size};

/// Objects that are copied at the same time. Each is in memory as a whole; a pack has at most 8 MiB.
const MAX_COPIES: usize = 8;

/// What a copy has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Copied {
    /// The objects of the source that the target has now.
    pub(super) totals: ObjectTotals,
    /// Objects that were written now.
    pub(super) new: ObjectTotals,
    /// Objects that were deleted between being listed and being read.
    pub(super) vanished: u64,
}

/// Copies the objects that the target lacks. An object never changes, so one of the same name and size is the
/// same.
pub(super) async fn copy(
    source: &Arc<dyn ObjectStore>,
    target: &Arc<dyn ObjectStore>,
    step: &mut Step,
) -> Result<Copied, StoreError> {
    let mut copied = Copied::default();
    let mut after = None;
    loop {
        let page = list(source, after.as_deref()).await?;
        let Some(last) = page.last() else { return Ok(copied) };
        let there = list_until(target, after.as_deref(), &last.name).await?;
        let there = &there;
        after = Some(last.name.clone());
        let is_last_page = page.len() < MAX_LIST;
        let results = stream::iter(page.into_iter().map(|object| {
            let found = there.get(&object.name).copied();
            async move { copy_object(source, target, object, found).await }
        }))
        .buffer_unordered(MAX_COPIES)
        .try_collect::<Vec<_>>()
        .await?;
        for result in results {
            copied.add(result);
        }
        step.detail(&format!("{} objects, {}", copied.totals.count, size(copied.totals.bytes)));
        if is_last_page {
            return Ok(copied);
        }
    }
}

/// What happened to one object, and its size.
enum Outcome {
    Kept(u64),
    Written(u64),
    Vanished,
}

impl Copied {
    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Kept(bytes) => self.totals.add(bytes),
            Outcome::Written(bytes) => {
                self.totals.add(bytes);
                self.new.add(bytes);
            }
            Outcome::Vanished => self.vanished += 1,
        }
    }
}

impl ObjectTotals {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

async fn copy_object(
    source: &Arc<dyn ObjectStore>,
    target: &Arc<dyn ObjectStore>,
    object: ObjectInfo,
    found: Option<u64>,
) -> Result<Outcome, StoreError> {
    let ObjectInfo { name, bytes } = object;
    if found == Some(bytes) {
        return Ok(Outcome::Kept(bytes));
    }
    let body = match with_retries(|| source.get(&name, bytes)).await {
        Err(StoreError::NotFound(_)) => return Ok(Outcome::Vanished),
        body => body?,
    };
    // One of another size was damaged: stores write an object completely or not at all.
    if found.is_some() {
        with_retries(|| target.delete(&name)).await?;
    }
    with_retries(|| target.put_if_absent(&name, body.clone())).await?;
    Ok(Outcome::Written(bytes))
}

/// The names of objects that a store has and another one has not.
pub(super) async fn find_others(
    store: &Arc<dyn ObjectStore>,
    other: &Arc<dyn ObjectStore>,
) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = list(store, after.as_deref()).await?;
        let Some(last) = page.last() else { return Ok(found) };
        let there = list_until(other, after.as_deref(), &last.name).await?;
        let is_last_page = page.len() < MAX_LIST;
        after = Some(last.name.clone());
        found.extend(page.into_iter().map(|object| object.name).filter(|name| !there.contains_key(name)));
        if is_last_page {
            return Ok(found);
        }
    }
}

/// Deletes objects, except those that another store has.
pub(super) async fn delete(
    store: &Arc<dyn ObjectStore>,
    other: &Arc<dyn ObjectStore>,
    names: &[String],
) -> Result<(), StoreError> {
    for name in names {
        let found = with_retries(|| other.list(name, None)).await?;
        if found.first().is_none_or(|object| object.name != *name) {
            with_retries(|| store.delete(name)).await?;
        }
    }
    Ok(())
}

/// All objects of a store together.
pub(super) async fn totals(store: &Arc<dyn ObjectStore>) -> Result<ObjectTotals, StoreError> {
    let mut totals = ObjectTotals::default();
    let mut after = None;
    loop {
        let page = list(store, after.as_deref()).await?;
        for object in &page {
            totals.add(object.bytes);
        }
        match page.last() {
            Some(last) if page.len() == MAX_LIST => after = Some(last.name.clone()),
            _ => return Ok(totals),
        }
    }
}

/// The objects after one name, up to another, with their sizes.
async fn list_until(
    store: &Arc<dyn ObjectStore>,
    after: Option<&str>,
    last: &str,
) -> Result<HashMap<String, u64>, StoreError> {
    let mut found = HashMap::new();
    let mut after = after.map(str::to_owned);
    loop {
        let page = list(store, after.as_deref()).await?;
        after = page.last().map(|object| object.name.clone());
        let is_last_page = page.len() < MAX_LIST || after.as_deref().is_none_or(|name| name >= last);
        let until = page.into_iter().filter(|object| object.name.as_str() <= last);
        found.extend(until.map(|object| (object.name, object.bytes)));
        if is_last_page {
            return Ok(found);
        }
    }
}

async fn list(store: &Arc<dyn ObjectStore>, after: Option<&str>) -> Result<Vec<ObjectInfo>, StoreError> {
    with_retries(|| store.list("", after)).await
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use volume::store::DirectoryStore;

    use super::*;
    use crate::output::progress::Style;

    async fn store(directory: &tempfile::TempDir) -> Arc<dyn ObjectStore> {
        Arc::new(DirectoryStore::open(directory.path().to_owned()).await.expect("opens"))
    }

    async fn put(store: &Arc<dyn ObjectStore>, name: &str, body: &'static [u8]) {
        store.put_if_absent(name, Bytes::from_static(body)).await.expect("stored");
    }

    #[tokio::test]
    async fn second_copy_writes_new_objects_only() {
        let (from, to) = (tempfile::tempdir().expect("made"), tempfile::tempdir().expect("made"));
        let (source, target) = (store(&from).await, store(&to).await);
        // More than a page, so that pages of both stores are compared.
        for number in 0..=MAX_LIST {
            put(&source, &format!("tenants/{}/packs/{number}", number % 7), b"body").await;
        }
        let mut step = Step::hidden(Style::Silent, "");
        let first = copy(&source, &target, &mut step).await.expect("copied");
        assert_eq!(first.new, first.totals);
        assert_eq!(first.totals.count, MAX_LIST as u64 + 1);
        put(&source, "tenants/3/packs/new", b"another").await;
        source.delete("tenants/0/packs/0").await.expect("deleted");
        let second = copy(&source, &target, &mut step).await.expect("copied");
        assert_eq!(second.new, ObjectTotals { count: 1, bytes: 7 });
        assert_eq!(second.totals.count, MAX_LIST as u64 + 1);
        let others = find_others(&target, &source).await.expect("listed");
        assert_eq!(others, ["tenants/0/packs/0"]);
        put(&source, "tenants/0/packs/0", b"body").await;
        delete(&target, &source, &others).await.expect("kept: it is there again");
        assert_eq!(totals(&target).await.expect("listed").count, MAX_LIST as u64 + 2);
        source.delete("tenants/0/packs/0").await.expect("deleted");
        delete(&target, &source, &others).await.expect("deleted");
        assert_eq!(totals(&target).await, totals(&source).await);
    }

    #[tokio::test]
    async fn damaged_object_is_replaced() {
        let (from, to) = (tempfile::tempdir().expect("made"), tempfile::tempdir().expect("made"));
        let (source, target) = (store(&from).await, store(&to).await);
        put(&source, "tenants/1/packs/a", b"whole").await;
        put(&target, "tenants/1/packs/a", b"who").await;
        copy(&source, &target, &mut Step::hidden(Style::Silent, "")).await.expect("copied");
        assert_eq!(target.get("tenants/1/packs/a", 5).await.expect("whole").as_ref(), b"whole");
    }
}
