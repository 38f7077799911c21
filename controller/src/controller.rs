//! A running controller, from its start to its end.

use std::{
    collections::HashSet,
    fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use daemon::{Tasks, tasks::ShutdownOutcome};
use protocol::{
    Redacted, TenantId, WorkspaceId,
    api::admin::GcReport,
    workspace::{Phase, StepProgress},
};
use sqlx::types::Json;
use tokio::{net::UnixListener, sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{self, Audience, Uploads},
    audit,
    config::Config,
    core::{App, Core},
    db::{Database, text::Text},
    disk::{self, DiskMonitor},
    engine::local::LocalEngine,
    error::StartError,
    events::Events,
    fair_permits::FairPermits,
    identity::{passwords::Passwords, rate_limits::RateLimits, sign_in_links, users},
    installation::{self, Rotation, RotationReport},
    lifecycle::{Event, PERSIST_TIMEOUT, STOP_TIMEOUT},
    metrics,
    snapshots::{
        browser::{SnapshotBrowser, Source},
        chunks::ChunkReaders,
        gc::{Gc, GcError},
    },
    tenants::{self, TenantError},
    usage,
    workspaces::{access_log::AccessLog, cache_janitor, reconciler, restores::ActiveRestores},
};

/// How long tasks may take to end after the shutdown: runners get their grace, connections are
/// closed.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Homes that are scrubbed at the same time. More would only slow each other down.
const MAX_SCRUBS: usize = 2;
/// How often progress is reported while workspaces stop, if nothing changes before.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// A running controller.
///
/// ```text
/// let controller = Controller::start(config, shutdown.clone()).await?;  // the API answers
/// controller.stop_all(|stopping| show(stopping)).await?;                // every home is saved
/// shutdown.cancel();
/// controller.join().await;                                              // nothing of it is left
/// ```
///
/// Dropping it does not end it: cancel the shutdown token that it was started with, then
/// [`Self::join`].
pub struct Controller {
    pub(crate) app: App,
}

/// A workspace that is not at rest yet while all are being stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoppingWorkspace {
    /// The workspace that is being stopped.
    pub workspace: WorkspaceId,
    /// Its name, for the operator.
    pub name: String,
    /// Where it is on the way to [`Phase::Terminated`].
    pub phase: Phase,
    /// What is being done now.
    pub step: Option<StepProgress>,
}

/// The result of stopping all workspaces.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct StopReport {
    /// Workspaces whose home was saved.
    pub stopped: usize,
    /// Names of workspaces whose stop failed or took too long. What they flushed is in the local
    /// cache.
    pub kept_locally: Vec<String>,
}

impl Controller {
    /// Migrates the database, opens the socket and starts to reconcile. The API answers once this
    /// has returned.
    pub async fn start(config: Config, shutdown: CancellationToken) -> Result<Self, StartError> {
        Box::pin(Self::start_with(config, None, shutdown)).await
    }

    /// Like [`Self::start`]. A test may give another source for the files of snapshots.
    pub(crate) async fn start_with(
        config: Config,
        source: Option<Source>,
        shutdown: CancellationToken,
    ) -> Result<Self, StartError> {
        metrics::install();
        crate::db::migrate(&config.database_url).await?;
        let db = Database::connect(&config.database_url).await?;
        let kms = Arc::new(installation::open_kms(&db, &config.master_key).await?);
        let signing = installation::open_signing_key(&db, &kms).await?;
        let store = volume::store::open(&config.store).await?;
        let source =
            source.unwrap_or_else(|| Source::Store { store: store.clone(), command: config.reader.clone() });
        let sockets = Sockets::bind(&config)
            .map_err(|source| StartError::RunDirectory { path: config.run_dir.clone(), source })?;
        let tasks = Tasks::new(shutdown.clone());
        let (engine, exits) = LocalEngine::new(&config, tasks.clone());
        let events = Events::new();
        let uploads = Uploads::new(config.history.upload_bytes_per_hour());
        let gc = Gc {
            db: db.clone(),
            kms: kms.clone(),
            store: store.clone(),
            config: config.history.clone(),
            shutdown: shutdown.clone(),
        };
        let app = Arc::new(Core {
            config,
            db: db.clone(),
            kms,
            signing,
            passwords: Passwords::new(),
            rate_limits: RateLimits::new(),
            access_log: AccessLog::new(),
            events: events.clone(),
            engine,
            disk: DiskMonitor::default(),
            chunk_readers: ChunkReaders::new(store.clone()),
            store,
            uploads,
            browser: SnapshotBrowser::new(source),
            restores: ActiveRestores::default(),
            scrub_permits: FairPermits::new(MAX_SCRUBS, 1),
            gc,
            cache_notice: Notify::new(),
            tasks: tasks.clone(),
            is_draining: AtomicBool::new(false),
        });
        let mut system = app.db.system().await?;
        find_first_owner(&mut system, &app).await?;
        tenants::set_tiers(system.connection(), &app.config.engine.tiers).await?;
        system.commit().await?;
        reconciler::recover(&app).await?;
        tasks.spawn("events", events.run(db, shutdown.clone()));
        tasks.spawn("snapshot browser", app.browser.clone().run(shutdown.clone()));
        tasks.spawn("gc", app.gc.clone().run());
        tasks.spawn("audit log", audit::maintenance::run(app.clone()));
        tasks.spawn("cache janitor", cache_janitor::run(app.clone()));
        tasks.spawn("disk shares", disk::run_division(app.clone()));
        tasks.spawn("disk usage", disk::run_measurement(app.clone()));
        tasks.spawn("metrics", metrics::run_compaction(shutdown.clone()));
        tasks.spawn("usage", usage::run(app.clone()));
        tasks.spawn("tenant keys", tenants::destroy::run(app.clone()));
        tasks.spawn_essential("reconciler", reconciler::run(app.clone(), exits));
        tasks.spawn_essential("api", api::serve(app.clone(), Audience::Host, sockets.host));
        tasks.spawn_essential("gateway's api", api::serve(app.clone(), Audience::Gateway, sockets.gateway));
        Ok(Self { app })
    }

    /// The socket on which the API is served for the gateway.
    pub fn gateway_socket(&self) -> PathBuf {
        self.app.config.gateway_socket()
    }

    /// Serves metrics in the format of Prometheus on `listener`, which needs no credentials.
    pub fn serve_metrics(&self, listener: TcpListener) {
        self.app.tasks.spawn_essential("metrics", metrics::serve(self.app.clone(), listener));
    }

    /// The public key that verifies grants, hexadecimal.
    pub fn grant_key(&self) -> String {
        self.app.signing.verifying_key().to_hex()
    }

    /// Creates a one-time link for the first tenant's owner: a path, with the token after `#`.
    /// Unused older links are void.
    pub async fn first_sign_in_link(&self) -> Result<Redacted<String>, StartError> {
        create_first_sign_in_link(&self.app).await
    }

    /// Whether an owner of the first tenant can sign in with a password, so that no link is needed.
    pub async fn has_owner_with_password(&self) -> Result<bool, StartError> {
        let mut system = self.app.db.system().await?;
        let (tenant, _) = find_first_owner(&mut system, &self.app).await?;
        Ok(users::has_owner_with_password(system.connection(), tenant).await?)
    }

    /// Runs gc for all tenants now.
    pub async fn run_gc(&self) -> Result<GcReport, GcError> {
        self.app.gc.collect(self.app.now(), None).await
    }

    /// Destroys a tenant's key at once, and with it everything that the tenant's homes ever held. This
    /// cannot be undone.
    pub async fn destroy_tenant_key(&self, tenant: TenantId) -> Result<(), TenantError> {
        tenants::destroy::destroy_tenant_key(&self.app, tenant).await
    }

    /// Replaces the master key; see [`installation::rotate_master_key`]. No controller may run on
    /// the database.
    pub async fn rotate_master_key(
        database_url: &Redacted<String>,
        rotation: &Rotation,
    ) -> Result<RotationReport, StartError> {
        installation::rotate_master_key(database_url, rotation).await
    }

    /// Stops every workspace of this host and waits until all homes are saved. Nothing is started
    /// any more.
    pub async fn stop_all(
        &self,
        mut report_progress: impl FnMut(&[StoppingWorkspace]),
    ) -> Result<StopReport, StartError> {
        self.app.is_draining.store(true, Ordering::Relaxed);
        let mut subscription = self.app.events.subscribe();
        let deadline = Instant::now() + (STOP_TIMEOUT + PERSIST_TIMEOUT).unsigned_abs() + JOIN_TIMEOUT;
        let all = self.list_active().await?;
        report_progress(&all);
        for active in &all {
            self.app.apply_event(active.workspace, Event::Stop).await?;
        }
        loop {
            let active = self.list_active().await?;
            report_progress(&active);
            if active.is_empty() || Instant::now() > deadline {
                return self.report_stopped(&all, &active).await;
            }
            let _ = tokio::time::timeout(PROGRESS_INTERVAL, subscription.next()).await;
        }
    }

    /// Waits until everything has ended after the shutdown. Runners that still exist are ended.
    pub async fn join(self) -> ShutdownOutcome {
        self.app.tasks.shutdown().cancelled().await;
        self.app.engine.end_all();
        let outcome = self.app.tasks.join(JOIN_TIMEOUT).await;
        self.app.db.close().await;
        for socket in [self.app.config.socket(), self.app.config.gateway_socket()] {
            let _ = fs::remove_file(socket);
        }
        outcome
    }

    async fn list_active(&self) -> Result<Vec<StoppingWorkspace>, StartError> {
        let mut system = self.app.db.system().await?;
        let rows = sqlx::query!(
            r#"select workspace_id, name, phase as "phase: Text<Phase>",
                  steps as "steps: Json<Vec<StepProgress>>"
               from workspaces where host = $1 and phase <> 'terminated' and deleted_at is null
               order by name, workspace_id"#,
            self.app.config.host,
        )
        .fetch_all(system.connection())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| StoppingWorkspace {
                workspace: WorkspaceId(row.workspace_id),
                name: row.name,
                phase: row.phase.0,
                step: row.steps.0.into_iter().next_back(),
            })
            .collect())
    }

    async fn report_stopped(
        &self,
        all: &[StoppingWorkspace],
        active: &[StoppingWorkspace],
    ) -> Result<StopReport, StartError> {
        let ids: Vec<_> = all.iter().map(|stopping| stopping.workspace.0).collect();
        let mut system = self.app.db.system().await?;
        let failed = sqlx::query_scalar!(
            "select workspace_id from workspaces where workspace_id = any($1) and failure is not null",
            &ids,
        )
        .fetch_all(system.connection())
        .await?;
        let active = active.iter().map(|stopping| stopping.workspace);
        let not_saved: HashSet<WorkspaceId> = failed.into_iter().map(WorkspaceId).chain(active).collect();
        let kept_locally: Vec<String> = all
            .iter()
            .filter(|stopping| not_saved.contains(&stopping.workspace))
            .map(|stopping| stopping.name.clone())
            .collect();
        Ok(StopReport { stopped: all.len() - kept_locally.len(), kept_locally })
    }
}

/// Creates a one-time link for the first tenant's owner.
pub async fn create_first_sign_in_link(core: &Core) -> Result<Redacted<String>, StartError> {
    let mut system = core.db.system().await?;
    let (tenant, owner) = find_first_owner(&mut system, core).await?;
    let link = sign_in_links::create(system.connection(), core.now(), tenant, owner, None).await?;
    system.commit().await?;
    Ok(link)
}

async fn find_first_owner(
    system: &mut crate::db::System,
    core: &Core,
) -> Result<(TenantId, protocol::UserId), StartError> {
    tenants::find_or_create_first_owner(system.connection(), &core.kms).await.map_err(|error| match error {
        TenantError::Kms(error) => error.into(),
        TenantError::Database(error) => error.into(),
        TenantError::Unknown | TenantError::Cache(_) => unreachable!("only a destruction fails so"),
    })
}

/// The sockets on which the API is served.
struct Sockets {
    host: UnixListener,
    gateway: UnixListener,
}

impl Sockets {
    /// Binds both. A socket file that exists is a dead controller's: the data directory's lock is ours.
    fn bind(config: &Config) -> io::Result<Self> {
        daemon::socket::create_directory(&config.run_dir, config.gateway_group)?;
        let bind = |path: &Path, group| {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            daemon::socket::bind(path, group)
        };
        Ok(Self {
            host: bind(&config.socket(), None)?,
            gateway: bind(&config.gateway_socket(), config.gateway_group)?,
        })
    }
}
