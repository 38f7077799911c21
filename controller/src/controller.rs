//! A controller from its start to its end.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use daemon::{ShutdownOutcome, Tasks};
use protocol::{
    Redacted, TenantId, WorkspaceId,
    api::admin::GcReport,
    workspace::{Phase, StepProgress},
};
use sqlx::types::Json;
use tokio::{net::UnixListener, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    api,
    config::Config,
    core::{App, Core},
    db::{Database, DatabaseError},
    engine::local::LocalEngine,
    events::Hub,
    identity::{passwords::Passwords, rate_limits::Limits, sign_in_links},
    installation::{self, Rotated, Rotation},
    kms::KeeperError,
    lifecycle::{Event, PERSIST_TIMEOUT, STOP_TIMEOUT, record::phase},
    snapshots::{
        browser::{Homes, NoPast, Past},
        chunks::Readers,
        gc::{self, CollectError, Manifests, Marking},
    },
    tenants::{self, TenantError},
    workspaces::reconciler,
};

/// After the shutdown, runners are given their grace, connections end.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How often progress is told while homes are persisted, if no news comes before.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("the database refuses a statement")]
    Statement(#[from] sqlx::Error),
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    #[error("the database was begun with another master key ({expected}) than the one given ({found})")]
    OtherMasterKey { expected: String, found: String },
    #[error("the master key is in a key service, and none is named")]
    NoKeyService,
    #[error("the key that signs grants is damaged")]
    SigningKey,
    #[error("the database holds no installation yet")]
    NoInstallation,
    #[error("the object store cannot be used")]
    Store(#[from] volume::StoreError),
    #[error("{path} cannot be used for sockets")]
    RunDirectory { path: PathBuf, source: io::Error },
}

/// What knows homes from within, for the controller, which does not.
#[derive(Clone)]
pub struct Parts {
    /// Reads homes as they were.
    pub past: Arc<dyn Past>,
    /// Tells which objects snapshots rest on.
    pub marking: Arc<dyn Marking>,
}

impl Default for Parts {
    /// No past is read.
    fn default() -> Self {
        Self { past: Arc::new(NoPast), marking: Arc::new(Manifests) }
    }
}

/// A running controller. Dropping it does not end it: cancel the shutdown token that it was started with, then [`Self::join`].
pub struct Controller {
    pub(crate) app: App,
    socket: PathBuf,
}

/// A workspace that is not at rest yet while all are persisted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persisting {
    pub workspace: WorkspaceId,
    pub name: String,
    pub phase: Phase,
    pub step: Option<StepProgress>,
}

/// How persisting all homes ended.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Persisted {
    pub stopped: usize,
    /// Names of workspaces whose stop failed or did not end in time: what they flushed is in the local cache.
    pub kept_locally: Vec<String>,
}

impl Controller {
    /// Migrates the database, opens the socket and begins to reconcile. The API answers once this has returned.
    pub async fn start(
        config: Config,
        parts: Parts,
        shutdown: CancellationToken,
    ) -> Result<Self, StartError> {
        crate::db::migrate(&config.database_url).await?;
        let db = Database::connect(&config.database_url).await?;
        let keeper = installation::keeper(&db, &config.master_key).await?;
        let signing = installation::signing_key(&db, &keeper).await?;
        let store = volume::store::open(&config.store).await?;
        let socket = config.socket();
        let listener = listen(&config.run_dir, &socket)
            .map_err(|source| StartError::RunDirectory { path: config.run_dir.clone(), source })?;
        let tasks = Tasks::new(shutdown.clone());
        let (engine, exits) = LocalEngine::new(&config, tasks.clone());
        let hub = Hub::new();
        let app = Arc::new(Core {
            config,
            db: db.clone(),
            keeper,
            signing,
            passwords: Passwords::new(),
            limits: Limits::new(),
            hub: hub.clone(),
            engine,
            readers: Readers::new(store.clone()),
            store,
            marking: parts.marking,
            homes: Homes::new(parts.past),
            tasks: tasks.clone(),
            draining: AtomicBool::new(false),
        });
        let mut system = app.db.system().await?;
        sign_in_links::first_owner(system.connection(), &app.keeper).await?;
        system.commit().await?;
        reconciler::restarted(&app).await?;
        tasks.spawn("notices", hub.run(db, shutdown.clone()));
        tasks.spawn("past homes", app.homes.clone().run(shutdown.clone()));
        tasks.spawn("collector", gc::run(app.clone()));
        tasks.spawn_essential("reconcile", reconciler::run(app.clone(), exits));
        tasks.spawn_essential("api", api::serve(app.clone(), listener));
        Ok(Self { app, socket })
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Of the key that signs grants, hexadecimal.
    pub fn grant_key(&self) -> String {
        self.app.signing.verifying_key().to_hex()
    }

    /// A fresh one-time link for the first tenant's owner: a path, the token behind `#`. Those not used before are void.
    pub async fn first_sign_in_link(&self) -> Result<Redacted<String>, StartError> {
        let mut system = self.app.db.system().await?;
        let (tenant, owner) = sign_in_links::first_owner(system.connection(), &self.app.keeper).await?;
        let link = sign_in_links::new_link(system.connection(), self.app.now(), tenant, owner).await?;
        system.commit().await?;
        Ok(link)
    }

    /// Searches the store for what no snapshot needs, and deletes what has been garbage for the grace period.
    pub async fn collect(&self) -> Result<GcReport, CollectError> {
        gc::collect(&self.app, None).await
    }

    /// Destroys a tenant's key, and with it all that the tenant's homes ever held. Nothing brings it back.
    pub async fn destroy_tenant_key(&self, tenant: TenantId) -> Result<(), TenantError> {
        tenants::forget(&self.app, tenant).await
    }

    /// Puts a fresh master key in the place of the present one; see [`installation::rotate_master_key`]. No controller may run on
    /// the database meanwhile.
    pub async fn rotate_master_key(
        database_url: &Redacted<String>,
        rotation: &Rotation,
    ) -> Result<Rotated, StartError> {
        installation::rotate_master_key(database_url, rotation).await
    }

    /// Stops every workspace of this host and waits until all homes are persisted. Nothing is placed any more.
    pub async fn persist_all(
        &self,
        mut progress: impl FnMut(&[Persisting]),
    ) -> Result<Persisted, StartError> {
        self.app.draining.store(true, Ordering::Relaxed);
        let mut ear = self.app.hub.listen();
        let deadline = Instant::now() + (STOP_TIMEOUT + PERSIST_TIMEOUT).unsigned_abs() + JOIN_TIMEOUT;
        let begun = self.awake().await?;
        progress(&begun);
        for one in &begun {
            reconciler::happen(&self.app, one.workspace, Event::Stop).await?;
        }
        loop {
            let awake = self.awake().await?;
            progress(&awake);
            if awake.is_empty() || Instant::now() > deadline {
                return self.persisted(&begun, &awake).await;
            }
            let _ = tokio::time::timeout(PROGRESS_INTERVAL, ear.next()).await;
        }
    }

    /// Waits until everything has ended after the shutdown; runners that are still there are ended.
    pub async fn join(self) -> ShutdownOutcome {
        self.app.tasks.shutdown().cancelled().await;
        self.app.engine.end_all();
        let end = self.app.tasks.join(JOIN_TIMEOUT).await;
        self.app.db.close().await;
        let _ = fs::remove_file(&self.socket);
        end
    }

    async fn awake(&self) -> Result<Vec<Persisting>, StartError> {
        let mut system = self.app.db.system().await?;
        let rows = sqlx::query!(
            r#"select workspace_id, name, phase, steps as "steps: Json<Vec<StepProgress>>" from workspaces
               where host = $1 and phase <> 'terminated' and deleted_at is null order by name, workspace_id"#,
            self.app.config.host,
        )
        .fetch_all(system.connection())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| Persisting {
                workspace: WorkspaceId(row.workspace_id),
                name: row.name,
                phase: phase(&row.phase),
                step: row.steps.0.into_iter().next_back(),
            })
            .collect())
    }

    async fn persisted(&self, begun: &[Persisting], awake: &[Persisting]) -> Result<Persisted, StartError> {
        let ids: Vec<_> = begun.iter().map(|one| one.workspace.0).collect();
        let mut system = self.app.db.system().await?;
        let failed = sqlx::query_scalar!(
            "select workspace_id from workspaces where workspace_id = any($1) and failure is not null",
            &ids,
        )
        .fetch_all(system.connection())
        .await?;
        let bad: HashSet<WorkspaceId> =
            failed.into_iter().map(WorkspaceId).chain(awake.iter().map(|one| one.workspace)).collect();
        let kept: Vec<String> =
            begun.iter().filter(|one| bad.contains(&one.workspace)).map(|one| one.name.clone()).collect();
        Ok(Persisted { stopped: begun.len() - kept.len(), kept_locally: kept })
    }
}

/// The socket, for us alone. One that lies there is a dead controller's: the data directory's lock is ours.
fn listen(directory: &Path, socket: &Path) -> io::Result<UnixListener> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
