//! Imports: homes that are transferred from another installation, chunk by chunk.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest as _, Request, State, rejection::BytesRejection},
    http::StatusCode,
};
use protocol::{
    Code, ManifestId, WorkspaceId,
    api::{
        import::{
            ChunkHash, ChunkList, FinishImport, Import, MAX_CHUNKS_AT_ONCE, MAX_CHUNKS_BYTES, NewImport,
        },
        workspace::Workspace,
    },
    workspace::Phase,
};
use serde::Deserialize;
use tokio::time::{Instant, timeout};
use utoipa::IntoParams;
use uuid::Uuid;
use volume::{
    Chunk, ChunkError, DataKey, ImportTarget, SnapshotView, chunk_count, decode_chunks, import_chunks,
};

use super::{
    access::{lock_at_rest, snapshot_not_found, workspace_not_found},
    chunks::{Page, list_page, permit, read_page, transfers_are_busy},
    error::{ApiError, Result},
    extract::{Input, Params, Query, Signed},
};
use crate::{
    audit,
    authz::{Action, Allowed, Caller, authorize},
    budgets,
    core::{App, Core},
    db::{Scope, violated_constraint},
    fair_permits::Busy,
    snapshots::{
        self, SnapshotRef,
        imports::{self, Destination, IDLE_TIMEOUT, ImportRecord, MAX_IMPORTS_PER_USER},
    },
    tenants,
    workspaces::{
        create::{self, DEFAULT_TEMPLATE, MAX_HOME_MIB, NAME_RULE, NewWorkspace, Source, is_valid_name},
        limits, view,
    },
};

/// How long one request may verify what has arrived. With the wait for a permit and a page it is
/// less than a response may take; the next request continues.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest time for the body of an upload. Its user has one of few turns while it arrives.
const BODY_TIMEOUT: Duration = Duration::from_mins(2);

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct At {
    /// The version of the import that the chunks are based on.
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
    extensions(("x-problem-codes" = json!(["conflict", "disk_full", "name_taken", "quota_exceeded"]))),
)]
pub async fn create_import(
    State(app): State<App>,
    signed: Signed,
    Input(request): Input<NewImport>,
) -> Result<Json<Import>> {
    check_request(&request)?;
    let allowed = authorize(signed.caller(), Action::UseWorkspaces)?;
    let mut scope = app.db.scope(allowed).await?;
    create::check_key(&mut scope).await?;
    // Checked before anything is uploaded.
    let destination = imports::find_destination(&mut scope, &request.name).await?;
    check_destination(destination.as_ref(), request.source, request.replace, &request.name)?;
    let (template, home_mib) = choose_template_and_size(&mut scope, destination.as_ref(), &request).await?;
    limits::check_disk(&app, allowed.caller().tenant, allowed.caller().user)?;
    let replaced = destination.as_ref().map(|destination| destination.workspace);
    budgets::check_new_home(&mut scope, &app.config.limits, replaced, home_mib).await?;
    let request = NewImport { home_mib, ..request };
    let expires_at = app.now() + IDLE_TIMEOUT;
    let resumed = imports::resume(&mut scope, &request, &template, expires_at).await?;
    let import = match resumed {
        Some(resumed) => resumed,
        None => create_new(&app, &mut scope, &request, &template, destination.as_ref()).await?,
    };
    scope.commit().await?;
    Ok(Json(import.import))
}

/// Chooses the template and size. An existing workspace keeps its template, and its home never
/// shrinks: it has zeros beyond the end of the imported home.
async fn choose_template_and_size(
    scope: &mut Scope,
    destination: Option<&Destination>,
    request: &NewImport,
) -> Result<(String, u32)> {
    if let Some(destination) = destination {
        let existing = view::find(scope, destination.workspace).await?.ok_or_else(workspace_not_found)?;
        return Ok((existing.template, existing.resources.home_mib.max(request.home_mib)));
    }
    let template = request.template.clone().unwrap_or_else(|| DEFAULT_TEMPLATE.to_owned());
    if imports::has_template(scope, &template).await? {
        return Ok((template, request.home_mib));
    }
    Err(ApiError::invalid(
        "template",
        "There is no such template on this server. Choose one of its templates.",
    ))
}

fn check_request(request: &NewImport) -> Result<()> {
    if !is_valid_name(&request.name) {
        return Err(ApiError::invalid("name", NAME_RULE));
    }
    if !(1..=MAX_HOME_MIB).contains(&request.home_mib) {
        return Err(ApiError::invalid("home_mib", &format!("A home has 1 to {MAX_HOME_MIB} MiB.")));
    }
    Ok(())
}

/// Checks that the existing workspace, if there is one, may receive the home.
fn check_destination(
    destination: Option<&Destination>,
    source: WorkspaceId,
    replace: bool,
    name: &str,
) -> Result<()> {
    let Some(destination) = destination else { return Ok(()) };
    if !destination.accepts(source, replace) {
        let detail = format!(
            "You have a workspace `{name}` that was not imported from this source. Choose another name, or \
             replace its home: its present content stays as a snapshot."
        );
        return Err(ApiError::new(Code::NameTaken, detail));
    }
    if destination.phase != Phase::Terminated {
        let detail = format!("The workspace `{name}` is in use. Stop it first, then try again.");
        return Err(ApiError::new(Code::Conflict, detail));
    }
    Ok(())
}

async fn create_new(
    app: &Core,
    scope: &mut Scope,
    request: &NewImport,
    template: &str,
    destination: Option<&Destination>,
) -> Result<ImportRecord> {
    if imports::count(scope).await? >= MAX_IMPORTS_PER_USER {
        let detail = format!("{MAX_IMPORTS_PER_USER} imports of yours are not finished. Finish one first.");
        return Err(ApiError::new(Code::QuotaExceeded, detail));
    }
    let base = match destination {
        Some(destination) => {
            snapshots::find_locked(scope, destination.workspace, SnapshotRef::Latest).await?
        }
        None => None,
    };
    let created = imports::create(scope, request, template, base.as_ref(), app.now() + IDLE_TIMEOUT).await;
    let created = created.map_err(|error| match violated_constraint(&error) {
        Some("imports_home") => superseded(),
        _ => error.into(),
    })?;
    let created = created.ok_or_else(ApiError::internal)?;
    let detail = serde_json::json!({ "source": request.source, "name": request.name });
    audit::write(scope, "import.create", &created.import.id.to_string(), detail).await?;
    Ok(created)
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
    extensions(("x-problem-codes" = json!(["conflict"]))),
)]
pub async fn list_import_chunks(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<Uuid>,
    Query(page): Query<Page>,
) -> Result<Json<ChunkList>> {
    let found = find(&app, authorize(signed.caller(), Action::UseWorkspaces)?, id).await?;
    match found.open(&app).await? {
        Some(reader) => list_page(&app, signed.caller().user, &reader, page.from).await,
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
    extensions(("x-problem-codes" = json!(["conflict", "disk_full", "timeout", "too_large", "unavailable"]))),
)]
pub async fn upload_import_chunks(
    State(app): State<App>,
    signed: Signed,
    Params(id): Params<Uuid>,
    Query(at): Query<At>,
    request: Request,
) -> Result<Json<Import>> {
    let allowed = authorize(signed.caller(), Action::UseWorkspaces)?;
    let user = allowed.caller().user;
    limits::check_disk(&app, allowed.caller().tenant, user)?;
    let _turn = app.chunk_readers.upload_turn(user).await.map_err(|Busy| transfers_are_busy())?;
    let body = read_body(request).await?;
    let found = find(&app, allowed, id).await?;
    let _permit = permit(&app, user).await?;
    let (hash, parts) = decode_body(body, chunk_count(found.size_bytes())).await?;
    let ImportRecord { import, last_hash, .. } = &found.record;
    if import.version != at.version {
        let is_last =
            at.version.checked_add(1) == Some(import.version) && last_hash.as_deref() == Some(&hash);
        return if is_last { Ok(Json(import.clone())) } else { Err(superseded()) };
    }
    let parts = parts.map_err(|error| {
        ApiError::new(Code::Invalid, format!("The body has no valid chunks of this home: {error}."))
    })?;
    let base = found.open(&app).await?;
    let imported = import_chunks(found.target(&app), base.as_deref(), parts).await?;
    let mut scope = app.db.scope(allowed).await?;
    let stored = (imported.manifest, imported.stored_bytes);
    if !imports::advance(&mut scope, &found.record, stored, &hash, app.now() + IDLE_TIMEOUT).await? {
        return Err(superseded());
    }
    let advanced = imports::find(&mut scope, id).await?.ok_or_else(import_not_found)?;
    scope.commit().await?;
    app.chunk_readers.keep(allowed.caller().tenant, imported.manifest, Arc::new(imported.view));
    Ok(Json(advanced.import))
}

/// Reads the body of an upload. To be called in the turn of its user, because it stays in memory.
async fn read_body(request: Request) -> Result<Bytes> {
    let too_slow = |_elapsed| ApiError::new(Code::Timeout, "The body did not arrive in time. Try again.");
    let read = timeout(BODY_TIMEOUT, Bytes::from_request(request, &())).await.map_err(too_slow)?;
    read.map_err(|rejection| unreadable(&rejection))
}

fn unreadable(rejection: &BytesRejection) -> ApiError {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return ApiError::new(Code::TooLarge, format!("The body has more than {MAX_CHUNKS_BYTES} bytes."));
    }
    ApiError::new(Code::BadRequest, "The body cannot be read.")
}

/// Hashes and decodes a body on a blocking thread.
async fn decode_body(
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
    create::check_key(&mut scope).await?;
    let import = imports::find_locked(&mut scope, id).await?.ok_or_else(import_not_found)?;
    if import.head != Some(head) {
        return Err(superseded());
    }
    let Import { source, name, .. } = &import.import;
    let destination = imports::find_destination(&mut scope, name).await?;
    check_destination(destination.as_ref(), *source, import.replace, name)?;
    let workspace = match &destination {
        Some(destination) => replace_home(&app, &mut scope, destination, &import, &request, head).await?,
        None => create_workspace(&app, &mut scope, &import, &request, head).await?,
    };
    imports::delete(&mut scope, &import).await?;
    let detail = serde_json::json!({ "source": source, "name": name, "new": destination.is_none() });
    audit::write(&mut scope, "workspace.import", &workspace.to_string(), detail).await?;
    let done = view::find(&mut scope, workspace).await?.ok_or_else(workspace_not_found)?;
    scope.commit().await?;
    Ok((StatusCode::OK, Json(done)))
}

/// Verifies that what has arrived is what was sent. Returns its manifest.
async fn verify(app: &Core, found: &OpenImport, request: &FinishImport) -> Result<ManifestId> {
    let nothing = || ApiError::new(Code::Conflict, "Cannot finish the import: nothing has arrived yet.");
    let reader = found.open(app).await?.ok_or_else(nothing)?;
    let head = found.record.head.ok_or_else(nothing)?;
    let root = compute_root(app, &found.allowed.caller(), head, &reader).await?;
    if root != request.root {
        return Err(ApiError::new(
            Code::Conflict,
            "Cannot finish the import: what has arrived differs \
                from what was sent. Upload the difference, then try again.",
        ));
    }
    Ok(head)
}

/// Computes the root hash of what is in the store. All of it is read, and other requests get
/// permits in between.
async fn compute_root(
    app: &Core,
    caller: &Caller,
    head: ManifestId,
    reader: &SnapshotView,
) -> Result<ChunkHash> {
    let tenant = caller.tenant;
    let started = Instant::now();
    let mut root_hash = app.chunk_readers.root_hash(tenant, head);
    while let Some(from) = root_hash.next {
        if started.elapsed() > VERIFY_TIMEOUT {
            return Err(ApiError::new(
                Code::Timeout,
                "What has arrived is still being verified. Send the request again.",
            ));
        }
        let page = read_page(app, caller.user, reader, from).await?;
        for (index, hash) in &page.chunks {
            root_hash.root.add(*index, hash);
        }
        root_hash.next = page.next;
        app.chunk_readers.keep_root_hash(tenant, head, root_hash.clone());
    }
    Ok(root_hash.root.finish())
}

/// Creates a workspace whose home is the import's volume.
async fn create_workspace(
    app: &Core,
    scope: &mut Scope,
    import: &ImportRecord,
    request: &FinishImport,
    head: ManifestId,
) -> Result<WorkspaceId> {
    let (id, now, caller) = (WorkspaceId::random(), app.now(), scope.caller());
    let new =
        NewWorkspace { id, owner: caller.user, name: &import.import.name, source: Source::Import(import) };
    create::create(scope, now, &app.config.limits, new, false).await?;
    let snapshot = imports::snapshot(import, head, request);
    snapshots::add_imported(scope.connection(), now, (caller.tenant, import.volume), &snapshot).await?;
    Ok(id)
}

/// Adds the import as a snapshot of an existing workspace, and restores it.
async fn replace_home(
    app: &Core,
    scope: &mut Scope,
    destination: &Destination,
    import: &ImportRecord,
    request: &FinishImport,
    head: ManifestId,
) -> Result<WorkspaceId> {
    let (workspace, now, tenant) = (destination.workspace, app.now(), scope.caller().tenant);
    lock_at_rest(scope, workspace).await?;
    let imported = imports::snapshot(import, head, request);
    let id =
        snapshots::add_imported(scope.connection(), now, (tenant, destination.volume), &imported).await?;
    imports::adopt(scope, destination, import).await?;
    budgets::check_grown(scope, &app.config.limits, workspace).await?;
    let snapshot = snapshots::find_locked(scope, workspace, SnapshotRef::Id(id)).await?;
    let snapshot = snapshot.ok_or_else(snapshot_not_found)?;
    if !snapshot.is_head {
        snapshots::restore(scope, workspace, &snapshot, now).await?;
    }
    Ok(workspace)
}

/// An import with the key that decrypts its home.
struct OpenImport {
    record: ImportRecord,
    allowed: Allowed,
    key: DataKey,
}

async fn find(app: &Core, allowed: Allowed, id: Uuid) -> Result<OpenImport> {
    let mut scope = app.db.scope(allowed).await?;
    let record = imports::find(&mut scope, id).await?.ok_or_else(import_not_found)?;
    let key = tenants::open_key(&app.kms, scope).await?;
    Ok(OpenImport { record, allowed, key })
}

impl OpenImport {
    /// Opens what has arrived. None if nothing has.
    async fn open(&self, app: &Core) -> Result<Option<Arc<SnapshotView>>> {
        let Some(head) = self.record.head else { return Ok(None) };
        Ok(Some(app.chunk_readers.open(self.allowed.caller().tenant, self.key.clone(), head).await?))
    }

    fn size_bytes(&self) -> u64 {
        u64::from(self.record.home_mib) << 20
    }

    fn target(&self, app: &Core) -> ImportTarget {
        ImportTarget {
            store: app.store.clone(),
            key: self.key.clone(),
            tenant: self.allowed.caller().tenant,
            volume: self.record.volume,
            size_bytes: self.size_bytes(),
        }
    }
}

fn import_not_found() -> ApiError {
    ApiError::new(Code::NotFound, "You have no such import. It may have expired. Start it again.")
}

fn superseded() -> ApiError {
    ApiError::new(
        Code::Conflict,
        "Another request has changed this import. Check that it is not uploaded twice at the same \
         time, then try again.",
    )
}
