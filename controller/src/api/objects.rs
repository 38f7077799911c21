//! The objects of one runner's tenant. The runner has no way to the store but this one, and names objects
//! without their tenant: it can name no other tenant's.
//!
//! Nothing here asks the database, so a home can be read and saved while it is down.

mod allowance;

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::{BodyExt as _, Limited};
use protocol::{TenantId, WorkspaceId, runner::OBJECTS_PATH};
use serde::Deserialize;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};
use volume::{
    MAX_FETCH_BYTES, MAX_MANIFEST_BYTES, MAX_PACK_BYTES, ObjectStore, StoreError,
    store::{ObjectStream, PutOutcome},
};

use self::allowance::{Allowance, Pace};
use crate::{
    core::App,
    fair_permits::{FairPermit, FairPermits},
};

/// Reads of one runner at the same time: several times what it makes. Each holds a piece of an object in
/// memory.
const MAX_READS: usize = 32;
/// Packs in memory, of all runners together and of one. A runner sends two at a time.
const MAX_PACKS: usize = 48;
const MAX_PACKS_PER_RUNNER: usize = 4;
/// Objects in memory that are larger than a pack: manifests of large homes.
const MAX_LARGE_OBJECTS: usize = 2;
/// How long an upload waits for its turn. The runner tries it again.
const UPLOAD_WAIT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a runner may take to send an object over its socket.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an object waits until its runner may store it. The runner tries it again.
const MAX_ALLOWANCE_WAIT: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;

/// Bounds the objects that runners send, which are in memory until the store has them, and what each runner
/// stores. Runners take turns.
pub struct Uploads {
    packs: FairPermits<WorkspaceId>,
    large: FairPermits<WorkspaceId>,
    /// What automatic snapshots of one home may store in an hour. 0: no bound.
    bytes_per_hour: u64,
    /// They outlive runners, so that another start does not renew them. Complete ones are dropped.
    homes: Mutex<HashMap<WorkspaceId, StoringHome>>,
}

#[derive(Clone, Copy)]
struct StoringHome {
    pace: Pace,
    allowance: Allowance,
}

impl Uploads {
    /// Bounds that all runners share. `bytes_per_hour`: see [`crate::config::HistoryConfig`].
    pub fn new(bytes_per_hour: u64) -> Self {
        let packs = FairPermits::new(MAX_PACKS, MAX_PACKS_PER_RUNNER);
        let large = FairPermits::new(MAX_LARGE_OBJECTS, 1);
        Self { packs, large, bytes_per_hour, homes: Mutex::default() }
    }

    /// Sets how large a runner's home is, on which depends how much it may store.
    pub fn set_home_size(&self, runner: WorkspaceId, home_mib: u32) {
        let Some(pace) = Pace::of_home(u64::from(home_mib) * MIB, self.bytes_per_hour) else { return };
        let now = Instant::now();
        let mut homes = self.homes();
        if let Some(home) = homes.get_mut(&runner) {
            home.pace = pace;
            return;
        }
        homes.retain(|_, home| !home.allowance.is_complete(home.pace, now));
        homes.insert(runner, StoringHome { pace, allowance: Allowance::complete(pace, now) });
    }

    /// Takes what a runner wants to store from its allowance. Returns how long it must wait.
    pub(crate) fn take_allowance(&self, runner: WorkspaceId, bytes: u64) -> Result<Duration, StoreError> {
        let Some(least) = Pace::of_home(0, self.bytes_per_hour) else { return Ok(Duration::ZERO) };
        let (mut homes, now) = (self.homes(), Instant::now());
        // One that is not here was complete. Its size comes with the runner's next report.
        let new = || StoringHome { pace: least, allowance: Allowance::complete(least, now) };
        let StoringHome { pace, allowance } = homes.entry(runner).or_insert_with(new);
        let wait = allowance.take(*pace, bytes, now, MAX_ALLOWANCE_WAIT);
        wait.ok_or_else(|| StoreError::Unavailable("this home stores more than it may for now".to_owned()))
    }

    fn refund(&self, runner: WorkspaceId, bytes: u64) {
        if let Some(home) = self.homes().get_mut(&runner) {
            home.allowance.refund(bytes);
        }
    }

    fn homes(&self) -> MutexGuard<'_, HashMap<WorkspaceId, StoringHome>> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn acquire(&self, runner: WorkspaceId, bytes: u64) -> Result<FairPermit<WorkspaceId>, StoreError> {
        let permits = if bytes <= MAX_PACK_BYTES as u64 { &self.packs } else { &self.large };
        let acquired = permits.acquire(runner, UPLOAD_WAIT_TIMEOUT).await;
        acquired.map_err(|_busy| StoreError::Unavailable("other uploads are in progress".to_owned()))
    }
}

/// The objects that one runner reaches.
#[derive(Clone)]
pub struct TenantObjects {
    app: App,
    tenant: TenantId,
    workspace: WorkspaceId,
    reads: Arc<Semaphore>,
}

impl TenantObjects {
    /// The objects of `tenant`, for the runner of `workspace`.
    pub fn new(app: &App, tenant: TenantId, workspace: WorkspaceId) -> Self {
        Self { app: app.clone(), tenant, workspace, reads: Arc::new(Semaphore::new(MAX_READS)) }
    }

    fn store(&self) -> &dyn ObjectStore {
        &*self.app.store
    }

    /// The name in the store. Parts such as `..`, which could lead elsewhere, are refused by every store.
    fn full_name(&self, name: &str) -> String {
        format!("{}/{name}", self.tenant)
    }

    async fn permit_read(&self) -> OwnedSemaphorePermit {
        self.reads.clone().acquire_owned().await.expect("it is never closed")
    }
}

/// The routes below [`OBJECTS_PATH`].
pub fn router<S>(objects: TenantObjects) -> Router<S> {
    // Uploads check the size themselves.
    let route = get(read).put(create).layer(DefaultBodyLimit::disable());
    Router::new().route(&format!("{OBJECTS_PATH}{{*name}}"), route).with_state(objects)
}

#[derive(Deserialize)]
struct ReadQuery {
    /// The largest object that the runner takes. It does not count for a range.
    #[serde(default)]
    max_bytes: u64,
}

async fn read(
    State(objects): State<TenantObjects>,
    Path(name): Path<String>,
    Query(query): Query<ReadQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let name = objects.full_name(&name);
    let permit = objects.permit_read().await;
    let Some(range) = headers.get(header::RANGE) else {
        let object = objects.store().get_stream(&name, query.max_bytes.min(MAX_MANIFEST_BYTES)).await?;
        return Ok(body_of(object, permit));
    };
    let range = range.to_str().ok().and_then(parse_range).ok_or(StoreError::Malformed(name.clone()))?;
    let content = objects.store().get_range(&name, range).await?;
    let bytes = content.len() as u64;
    Ok(body_of(ObjectStream { bytes, pieces: Box::pin(stream::once(async { Ok(content) })) }, permit))
}

async fn create(
    State(objects): State<TenantObjects>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refusal> {
    let name = objects.full_name(&name);
    let bytes = headers.get(header::CONTENT_LENGTH).and_then(|bytes| bytes.to_str().ok()?.parse().ok());
    let Some(bytes) = bytes.filter(|bytes| *bytes <= MAX_MANIFEST_BYTES) else {
        return Err(StoreError::Malformed(name).into());
    };
    let uploads = &objects.app.uploads;
    sleep(uploads.take_allowance(objects.workspace, bytes)?).await;
    let _permit = uploads.acquire(objects.workspace, bytes).await?;
    let content = receive(body, bytes).await?;
    Ok(match objects.store().put_if_absent(&name, content).await? {
        PutOutcome::Created => StatusCode::CREATED,
        PutOutcome::Existed => {
            uploads.refund(objects.workspace, bytes);
            StatusCode::OK
        }
    })
}

/// Receives exactly `bytes` bytes.
async fn receive(body: Body, bytes: u64) -> Result<Bytes, StoreError> {
    let incomplete = |reason: String| StoreError::Unavailable(format!("the upload was cut: {reason}"));
    let limit = usize::try_from(bytes).map_err(|error| incomplete(error.to_string()))?;
    let received = timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await;
    let received = received.map_err(|_| incomplete("it took too long".to_owned()))?;
    let content = received.map_err(|error| incomplete(error.to_string()))?.to_bytes();
    if content.len() == limit { Ok(content) } else { Err(incomplete("it ended early".to_owned())) }
}

/// A response with the object. Its permit is returned when the runner has received it.
fn body_of(object: ObjectStream, permit: OwnedSemaphorePermit) -> Response {
    let length = [(header::CONTENT_LENGTH, object.bytes.to_string())];
    (length, Body::from_stream(holding(permit, object.pieces))).into_response()
}

/// Keeps the permit until the end of the pieces was asked for, or the stream is dropped.
fn holding<T>(
    permit: OwnedSemaphorePermit,
    pieces: impl Stream<Item = T> + Send + Unpin + 'static,
) -> impl Stream<Item = T> + Send + 'static {
    stream::unfold((pieces, permit), |(mut pieces, permit)| async {
        let piece = pieces.next().await?;
        Some((piece, (pieces, permit)))
    })
}

/// Parses `bytes=FIRST-LAST`. One that is longer than what a volume fetches at once is refused.
fn parse_range(text: &str) -> Option<Range<u64>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (first, end) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?.checked_add(1)?);
    (first < end && end - first <= u64::from(MAX_FETCH_BYTES)).then_some(first..end)
}

/// An error of the store as a response: its kind as the status, its detail as the text.
struct Refusal(StoreError);

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, detail) = match self.0 {
            StoreError::NotFound(name) => (StatusCode::NOT_FOUND, name),
            StoreError::Denied(detail) => (StatusCode::FORBIDDEN, detail),
            StoreError::Unavailable(detail) => (StatusCode::SERVICE_UNAVAILABLE, detail),
            StoreError::Full(detail) => (StatusCode::INSUFFICIENT_STORAGE, detail),
            StoreError::Malformed(name) => (StatusCode::UNPROCESSABLE_ENTITY, name),
            StoreError::Unsupported(detail) | StoreError::InvalidUrl(detail) => {
                (StatusCode::NOT_IMPLEMENTED, detail)
            }
        };
        (status, detail).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_bounded() {
        assert_eq!(parse_range("bytes=0-0"), Some(0..1));
        assert_eq!(parse_range("bytes=4096-8191"), Some(4096..8192));
        for refused in ["bytes=1-0", "bytes=0-", "bytes=-5", "0-1", "bytes=0-1048576", "bytes=0-1,3-4"] {
            assert_eq!(parse_range(refused), None, "{refused}");
        }
        assert_eq!(parse_range(&format!("bytes=0-{}", u64::MAX)), None);
    }
}
