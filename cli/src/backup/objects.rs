//! Copies objects from one store to another.

use std::{collections::HashMap, pin::pin};

use futures_util::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, Stream},
};
use volume::{
    StoreError,
    store::{ObjectInfo, ObjectStore, list_pages, with_retries},
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
    source: &dyn ObjectStore,
    target: &dyn ObjectStore,
    step: &mut Step,
) -> Result<Copied, StoreError> {
    let mut copied = Copied::default();
    let mut pages = pin!(compare(source, target));
    while let Some(page) = pages.try_next().await? {
        let copying = page.into_iter().map(|(object, found)| copy_object(source, target, object, found));
        let mut outcomes = stream::iter(copying).buffer_unordered(MAX_COPIES);
        while let Some(outcome) = outcomes.try_next().await? {
            copied.add(outcome);
        }
        step.detail(&format!("{} objects, {}", copied.totals.count, size(copied.totals.bytes)));
    }
    Ok(copied)
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
    source: &dyn ObjectStore,
    target: &dyn ObjectStore,
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
    store: &dyn ObjectStore,
    other: &dyn ObjectStore,
) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    let mut pages = pin!(compare(store, other));
    while let Some(page) = pages.try_next().await? {
        let missing = page.into_iter().filter(|(_, found)| found.is_none());
        names.extend(missing.map(|(object, _)| object.name));
    }
    Ok(names)
}

/// The objects of a store, page by page, each with the size that it has in another store.
fn compare<'a>(
    store: &'a dyn ObjectStore,
    other: &'a dyn ObjectStore,
) -> impl Stream<Item = Result<Vec<(ObjectInfo, Option<u64>)>, StoreError>> + 'a {
    let mut after = None;
    list_pages(store, "", None).and_then(move |page| {
        let last = page.last().map(|object| object.name.clone());
        let begin = std::mem::replace(&mut after, last.clone());
        async move {
            let sizes = list_until(other, begin, &last.unwrap_or_default()).await?;
            let compared = page.into_iter().map(|object| {
                let found = sizes.get(&object.name).copied();
                (object, found)
            });
            Ok(compared.collect())
        }
    })
}

/// Deletes objects, except those that another store has.
pub(super) async fn delete(
    store: &dyn ObjectStore,
    other: &dyn ObjectStore,
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
pub(super) async fn totals(store: &dyn ObjectStore) -> Result<ObjectTotals, StoreError> {
    let mut totals = ObjectTotals::default();
    let mut pages = pin!(list_pages(store, "", None));
    while let Some(page) = pages.try_next().await? {
        for object in page {
            totals.add(object.bytes);
        }
    }
    Ok(totals)
}

/// The sizes of the objects after one name, up to another.
async fn list_until(
    store: &dyn ObjectStore,
    after: Option<String>,
    last: &str,
) -> Result<HashMap<String, u64>, StoreError> {
    let mut sizes = HashMap::new();
    let mut pages = pin!(list_pages(store, "", after));
    while let Some(page) = pages.try_next().await? {
        let is_beyond = page.last().is_some_and(|object| object.name.as_str() >= last);
        let wanted = page.into_iter().filter(|object| object.name.as_str() <= last);
        sizes.extend(wanted.map(|object| (object.name, object.bytes)));
        if is_beyond {
            break;
        }
    }
    Ok(sizes)
}

#[cfg(test)]
mod tests {
    use std::{ops::Range, sync::Arc};

    use bytes::Bytes;
    use futures_util::{FutureExt as _, future::BoxFuture};
    use volume::store::{DirectoryStore, MAX_LIST, PutOutcome};

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
        let first = copy(&*source, &*target, &mut step).await.expect("copied");
        assert_eq!(first.new, first.totals);
        assert_eq!(first.totals.count, MAX_LIST as u64 + 1);
        put(&source, "tenants/3/packs/new", b"another").await;
        source.delete("tenants/0/packs/0").await.expect("deleted");
        let second = copy(&*source, &*target, &mut step).await.expect("copied");
        assert_eq!(second.new, ObjectTotals { count: 1, bytes: 7 });
        assert_eq!(second.totals.count, MAX_LIST as u64 + 1);
        let others = find_others(&*target, &*source).await.expect("listed");
        assert_eq!(others, ["tenants/0/packs/0"]);
        put(&source, "tenants/0/packs/0", b"body").await;
        delete(&*target, &*source, &others).await.expect("kept: it is there again");
        assert_eq!(totals(&*target).await.expect("listed").count, MAX_LIST as u64 + 2);
        source.delete("tenants/0/packs/0").await.expect("deleted");
        delete(&*target, &*source, &others).await.expect("deleted");
        assert_eq!(totals(&*target).await, totals(&*source).await);
    }

    #[tokio::test]
    async fn damaged_object_is_replaced() {
        let (from, to) = (tempfile::tempdir().expect("made"), tempfile::tempdir().expect("made"));
        let (source, target) = (store(&from).await, store(&to).await);
        put(&source, "tenants/1/packs/a", b"whole").await;
        put(&target, "tenants/1/packs/a", b"who").await;
        copy(&*source, &*target, &mut Step::hidden(Style::Silent, "")).await.expect("copied");
        assert_eq!(target.get("tenants/1/packs/a", 5).await.expect("whole").as_ref(), b"whole");
    }

    /// A store whose pages are short, as those of some services are.
    struct ShortPages(Arc<dyn ObjectStore>);

    impl ObjectStore for ShortPages {
        fn put_if_absent<'a>(
            &'a self,
            name: &'a str,
            body: Bytes,
        ) -> BoxFuture<'a, Result<PutOutcome, StoreError>> {
            self.0.put_if_absent(name, body)
        }

        fn get<'a>(&'a self, name: &'a str, max_bytes: u64) -> BoxFuture<'a, Result<Bytes, StoreError>> {
            self.0.get(name, max_bytes)
        }

        fn get_range<'a>(
            &'a self,
            name: &'a str,
            range: Range<u64>,
        ) -> BoxFuture<'a, Result<Bytes, StoreError>> {
            self.0.get_range(name, range)
        }

        fn list<'a>(
            &'a self,
            prefix: &'a str,
            after: Option<&'a str>,
        ) -> BoxFuture<'a, Result<Vec<ObjectInfo>, StoreError>> {
            let truncate = |page: Vec<ObjectInfo>| page.into_iter().take(3).collect();
            Box::pin(self.0.list(prefix, after).map(move |page| page.map(truncate)))
        }

        fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
            self.0.delete(name)
        }
    }

    #[tokio::test]
    async fn short_pages_are_not_the_end() {
        let (from, to) = (tempfile::tempdir().expect("made"), tempfile::tempdir().expect("made"));
        let (source, target) = (ShortPages(store(&from).await), ShortPages(store(&to).await));
        for number in 0..20 {
            put(&source.0, &format!("tenants/{}/packs/{number}", number % 7), b"body").await;
        }
        put(&target.0, "tenants/1/packs/older", b"body").await;
        copy(&source, &target, &mut Step::hidden(Style::Silent, "")).await.expect("copied");
        assert_eq!(totals(&source).await.expect("listed").count, 20);
        assert_eq!(totals(&target).await.expect("listed").count, 21);
        assert_eq!(find_others(&target, &source).await.expect("listed"), ["tenants/1/packs/older"]);
    }
}
