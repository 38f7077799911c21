//! Homes that arrive from another installation, chunk by chunk, and what becomes of them.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::StatusCode,
};
use protocol::{
    Code, ManifestId, TenantId, WorkspaceId,
    api::{
        import::{
            ChunkHash, ChunkList, FinishImport, Import, MAX_CHUNKS_AT_ONCE, MAX_CHUNKS_BYTES, NewImport,
        },
        workspace::Workspace,
    },
    workspace::Phase,
};
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::IntoParams;
use uuid::Uuid;
use volume::{
    Chunk, ChunkError, DataKey, ImportTarget, SnapshotView, chunk_count, decode_chunks, import_chunks,
};

use super::{
    chunks::{Page, listed, page, question},
    error::{ApiError, Result, violated},
    extract::{Input, Params, Query, Signed},
    snapshots::{hold_at_rest, missing},
    workspaces::{DEFAULT_TEMPLATE, NAME_RULE, check_quota, forgotten, name_taken, refuse_forgotten},
};
use crate::{
    audit,
    authz::{Action, Allowed, authorize},
    core::{App, Core},
    db::Scope,
    snapshots::{
        self, Which,
        imports::{self, Destination, IDLE_TIMEOUT, Incoming, MAX_IMPORTS_OF_ONE},
    },
    tenants::{self, TenantKey},
    workspaces::{
        create::{MAX_HOME_MIB, is_name},
        view,
    },
};

/// For reading what has arrived once more, in one request: with a wait for a turn and a page it is
/// less than an answer may take.
const FINISH_STEP: Duration = Duration::from_secs(15);

#[derive(Debug, Deserialize, IntoParams)]
pub struct At {
    /// What the import's version was when this was sent.
    version: u64,
}

/// Start or resume an import
///
/// Receives a home from another installation. A second request for the same source and name
/// resumes: what has arrived stays.
#[utoipa::path(
    post,
    path = "/imports",
    tag = "imports",
    request_body = NewImport,
    responses((status = 200, body = Import, description = "The import")),
    extensions(("x-problem-codes" = json!(["conflict", "name_taken", "quota_exceeded"]))),
)]
pub async fn create_import(
    State(app): State<App>,
    signed: Signed,
    Input(wish): Input<NewImport>,
) -> Result<Json<Import>> {
    check(&wish)?;
    let allowed = authorize(signed.caller(), Action::UseWorkspaces)?;
    let mut scope = app.db.scope(allowed).await?;
    refuse_forgotten(&mut scope).await?;
    // Told before anything is sent.
    let destination = imports::destination(&mut scope, &wish.name).await?;
    admit(&mut scope, destination.as_ref(), wish.source, wish.replace, &wish.name).await?;
    let (template, home_mib) = fit(&mut scope, destination.as_ref(), &wish).await?;
    let wish = NewImport { home_mib, ..wish };
    let expires_at = app.now() + IDLE_TIMEOUT;
    let known = imports::go_on(&mut scope, &wish, &template, expires_at).await?;
    let incoming = match known {
        Some(known) => known,
        None => fresh(&app, &mut scope, &wish, &template, destination.as_ref()).await?,
    };
    scope.commit().await?;
    Ok(Json(incoming.import))
}

/// Template and size. A workspace that is written to keeps its template, and its home never
/// shrinks: what it has beyond the end of the one that comes becomes zeros.
async fn fit(
    scope: &mut Scope,
    destination: Option<&Destination>,
    wish: &NewImport,
) -> Result<(String, u32)> {
    if let Some(destination) = destination {
        let there = view::one(scope, destination.workspace).await?;
        let there = there.ok_or_else(|| ApiError::not_found("workspace"))?;
        return Ok((there.template, there.resources.home_mib.max(wish.home_mib)));
    }
    let template = wish.template.clone().unwrap_or_else(|| DEFAULT_TEMPLATE.to_owned());
    if imports::has_template(scope, &template).await? {
        return Ok((template, wish.home_mib));
    }
    Err(ApiError::invalid("template", "There is no such template here. Name one of this server's."))
}

fn check(wish: &NewImport) -> Result<()> {
    if !is_name(&wish.name) {
        return Err(ApiError::invalid("name", NAME_RULE));
    }
    if !(1..=MAX_HOME_MIB).contains(&wish.home_mib) {
        return Err(ApiError::invalid("home_mib", &format!("A home has 1 to {MAX_HOME_MIB} MiB.")));
    }
    Ok(())
}

/// Whether a home may go where it is to go.
async fn admit(
    scope: &mut Scope,
    destination: Option<&Destination>,
    source: WorkspaceId,
    replace: bool,
    name: &str,
) -> Result<()> {
    let Some(destination) = destination else {
        let owner = scope.caller().user;
        return check_quota(scope, owner).await;
    };
    if !destination.takes(source, replace) {
        let detail = format!(
            "You have a workspace `{name}` whose home came from elsewhere. Choose another name, or replace its home: what it \
             is now stays a snapshot."
        );
        return Err(ApiError::new(Code::NameTaken, detail));
    }
    if destination.phase != Phase::Terminated {
        let detail = format!("The workspace `{name}` is in use. Stop it first, then try again.");
        return Err(ApiError::new(Code::Conflict, detail));
    }
    Ok(())
}

async fn fresh(
    app: &Core,
    scope: &mut Scope,
    wish: &NewImport,
    template: &str,
    destination: Option<&Destination>,
) -> Result<Incoming> {
    if imports::count(scope).await? >= MAX_IMPORTS_OF_ONE {
        let detail =
            format!("{MAX_IMPORTS_OF_ONE} homes of yours are on their way here already. Finish one first.");
        return Err(ApiError::new(Code::QuotaExceeded, detail));
    }
    let base = match destination {
        Some(destination) => snapshots::find_held(scope, destination.workspace, Which::Latest).await?,
        None => None,
    };
    let begun = imports::begin(scope, wish, template, base.as_ref(), app.now() + IDLE_TIMEOUT).await;
    let begun = begun.map_err(|error| match violated(&error) {
        Some("imports_home") => superseded(),
        _ => error.into(),
    })?;
    let begun = begun.ok_or_else(ApiError::internal)?;
    let detail = serde_json::json!({ "source": wish.source, "name": wish.name });
    audit::write(scope, "import.begin", &begun.import.id.to_string(), detail).await?;
    Ok(begun)
}

/// List the chunks of an import
///
/// Lists the chunks that have arrived and are not all zeros.
#[utoipa::path(
    get,
    path = "/imports/{id}/chunks",
    tag = "imports",
    params(
        ("id" = Uuid, Path, description = "The import."),
        Page,
    ),
    responses((status = 200, body = ChunkList, description = "A page of chunks")),
)]
pub async fn list_import_chunks(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<Uuid>,
    Query(asked): Query<Page>,
) -> Result<Json<ChunkList>> {
    let found = find(&app, authorize(signed.caller(), Action::UseWorkspaces)?, id).await?;
    match found.open(&app).await? {
        Some(reader) => listed(&app, &reader, asked.from).await,
        None => Ok(Json(ChunkList::default())),
    }
}

/// Upload chunks
///
/// The body is what `read_snapshot_chunks` returned. Repeating the last body changes nothing.
#[utoipa::path(
    put,
    path = "/imports/{id}/chunks",
    tag = "imports",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    params(
        ("id" = Uuid, Path, description = "The import."),
        At,
    ),
    responses((status = 200, body = Import, description = "The import with its new version")),
    extensions(("x-problem-codes" = json!(["conflict", "too_large", "unavailable"]))),
)]
pub async fn upload_import_chunks(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<Uuid>,
    Query(at): Query<At>,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<Json<Import>> {
    let allowed = authorize(signed.caller(), Action::UseWorkspaces)?;
    let body = body.map_err(|rejection| unreadable(&rejection))?;
    let found = find(&app, allowed, id).await?;
    let _question = question(&app).await?;
    let (hash, parts) = taken_apart(body, chunk_count(found.size_bytes())).await?;
    let Incoming { import, last_hash, .. } = &found.incoming;
    if import.version != at.version {
        let is_last =
            at.version.checked_add(1) == Some(import.version) && last_hash.as_deref() == Some(&hash);
        return if is_last { Ok(Json(import.clone())) } else { Err(superseded()) };
    }
    let parts = parts.map_err(|error| {
        ApiError::new(Code::Invalid, format!("These are no chunks of this home: {error}."))
    })?;
    let base = found.open(&app).await?;
    let patched = import_chunks(found.target(&app), base.as_deref(), parts).await?;
    let mut scope = app.db.scope(allowed).await?;
    let stored = (patched.manifest, patched.stored_bytes);
    if !imports::advance(&mut scope, &found.incoming, stored, &hash, app.now() + IDLE_TIMEOUT).await? {
        return Err(superseded());
    }
    let now = imports::find(&mut scope, id).await?.ok_or_else(gone)?;
    scope.commit().await?;
    app.readers.keep(allowed.caller().tenant, patched.manifest, Arc::new(patched.view));
    Ok(Json(now.import))
}

/// A body's hash and what is in it, on a thread that may take its time.
async fn taken_apart(
    body: Bytes,
    chunks: u32,
) -> Result<([u8; 32], std::result::Result<Vec<Chunk>, ChunkError>)> {
    let work = move || (*blake3::hash(&body).as_bytes(), decode_chunks(&body, chunks, MAX_CHUNKS_AT_ONCE));
    tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::internal())
}

/// Finish an import
///
/// Verifies everything that has arrived, then creates the workspace, or writes into the existing
/// one of that name.
#[utoipa::path(
    post,
    path = "/imports/{id}/finish",
    tag = "imports",
    request_body = FinishImport,
    params(
        ("id" = Uuid, Path, description = "The import."),
    ),
    responses((status = 200, body = Workspace, description = "The workspace")),
    extensions(("x-problem-codes" = json!(["conflict", "name_taken", "quota_exceeded", "timeout"]))),
)]
pub async fn finish_import(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<Uuid>,
    Input(request): Input<FinishImport>,
) -> Result<(StatusCode, Json<Workspace>)> {
    let allowed = authorize(signed.caller(), Action::UseWorkspaces)?;
    let found = find(&app, allowed, id).await?;
    let head = verify(&app, &found, &request).await?;
    let mut scope = app.db.scope(allowed).await?;
    refuse_forgotten(&mut scope).await?;
    let incoming = imports::find_held(&mut scope, id).await?.ok_or_else(gone)?;
    if incoming.head != Some(head) {
        return Err(superseded());
    }
    let Import { source, name, .. } = &incoming.import;
    let destination = imports::destination(&mut scope, name).await?;
    admit(&mut scope, destination.as_ref(), *source, incoming.replace, name).await?;
    let workspace = match &destination {
        Some(destination) => put_into(&app, &mut scope, destination, &incoming, &request, head).await?,
        None => make(&app, &mut scope, &incoming, &request, head).await?,
    };
    imports::end(&mut scope, &incoming).await?;
    let detail = serde_json::json!({ "source": source, "name": name, "new": destination.is_none() });
    audit::write(&mut scope, "workspace.import", &workspace.to_string(), detail).await?;
    let done = view::one(&mut scope, workspace).await?.ok_or_else(|| ApiError::not_found("workspace"))?;
    scope.commit().await?;
    Ok((StatusCode::OK, Json(done)))
}

/// What has arrived, if it is what was sent.
async fn verify(app: &Core, found: &Open, request: &FinishImport) -> Result<ManifestId> {
    let nothing = || ApiError::new(Code::Conflict, "Nothing of this home has arrived yet.");
    let reader = found.open(app).await?.ok_or_else(nothing)?;
    let head = found.incoming.head.ok_or_else(nothing)?;
    let root = root(app, found.allowed.caller().tenant, head, &reader).await?;
    if root != request.root {
        return Err(ApiError::new(
            Code::Conflict,
            "What has arrived is not what was sent. Send what differs, then try again.",
        ));
    }
    Ok(head)
}

/// Of what is in the store: all of it is read, and others have their turns meanwhile. What takes
/// longer than an answer may goes on with the next request.
async fn root(app: &Core, tenant: TenantId, head: ManifestId, reader: &SnapshotView) -> Result<ChunkHash> {
    let begun = Instant::now();
    let mut reading = app.readers.reading(tenant, head);
    while let Some(from) = reading.next {
        if begun.elapsed() > FINISH_STEP {
            return Err(ApiError::new(Code::Timeout, "What has arrived is still being read. Ask again."));
        }
        let page = page(app, reader, from).await?;
        for (index, hash) in &page.chunks {
            reading.root.add(*index, hash);
        }
        reading.next = page.next;
        app.readers.note(tenant, head, reading.clone());
    }
    Ok(reading.root.finish())
}

async fn make(
    app: &Core,
    scope: &mut Scope,
    incoming: &Incoming,
    request: &FinishImport,
    head: ManifestId,
) -> Result<WorkspaceId> {
    let (workspace, now, tenant) = (WorkspaceId::random(), app.now(), scope.caller().tenant);
    let made = imports::become_workspace(scope, workspace, incoming, now).await;
    if !made.map_err(|error| name_taken(error, &incoming.import.name))? {
        return Err(ApiError::invalid("template", "There is no such template (any more)."));
    }
    let moved = imports::moved(incoming, head, request);
    snapshots::take_in(scope.connection(), now, (tenant, incoming.volume), &moved).await?;
    Ok(workspace)
}

/// As a restore does, of a snapshot that has just come to be.
async fn put_into(
    app: &Core,
    scope: &mut Scope,
    destination: &Destination,
    incoming: &Incoming,
    request: &FinishImport,
    head: ManifestId,
) -> Result<WorkspaceId> {
    let (workspace, now, tenant) = (destination.workspace, app.now(), scope.caller().tenant);
    hold_at_rest(scope, workspace).await?;
    let moved = imports::moved(incoming, head, request);
    let snapshot = snapshots::take_in(scope.connection(), now, (tenant, destination.volume), &moved).await?;
    imports::adopt(scope, destination, incoming).await?;
    let which = Which::One(snapshot);
    let snapshot = snapshots::find_held(scope, workspace, which).await?.ok_or_else(missing)?;
    if !snapshot.is_head {
        snapshots::restore(scope, workspace, &snapshot, now).await?;
    }
    Ok(workspace)
}

/// An import, and what opens its home.
struct Open {
    incoming: Incoming,
    allowed: Allowed,
    key: DataKey,
}

async fn find(app: &Core, allowed: Allowed, id: Uuid) -> Result<Open> {
    let mut scope = app.db.scope(allowed).await?;
    let incoming = imports::find(&mut scope, id).await?.ok_or_else(gone)?;
    let sealed = tenants::key(scope.connection(), allowed.caller().tenant).await?;
    drop(scope);
    match sealed.open(&app.keeper).await? {
        TenantKey::Open(key) => Ok(Open { incoming, allowed, key }),
        TenantKey::Forgotten => Err(forgotten()),
    }
}

impl Open {
    /// What has arrived, if anything has.
    async fn open(&self, app: &Core) -> Result<Option<Arc<SnapshotView>>> {
        let Some(head) = self.incoming.head else { return Ok(None) };
        Ok(Some(app.readers.open(self.allowed.caller().tenant, self.key.clone(), head).await?))
    }

    fn size_bytes(&self) -> u64 {
        u64::from(self.incoming.home_mib) << 20
    }

    fn target(&self, app: &Core) -> ImportTarget {
        ImportTarget {
            store: app.store.clone(),
            key: self.key.clone(),
            tenant: self.allowed.caller().tenant,
            volume: self.incoming.volume,
            size_bytes: self.size_bytes(),
        }
    }
}

fn gone() -> ApiError {
    ApiError::new(Code::NotFound, "There is no such import of yours (any more). Begin anew.")
}

fn superseded() -> ApiError {
    ApiError::new(
        Code::Conflict,
        "Something else has arrived for this import meanwhile: is it sent twice at the same time? Try again.",
    )
}

fn unreadable(rejection: &BytesRejection) -> ApiError {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return ApiError::new(Code::TooLarge, format!("Chunks come in at most {MAX_CHUNKS_BYTES} bytes."));
    }
    ApiError::new(Code::BadRequest, "The body cannot be read.")
}
