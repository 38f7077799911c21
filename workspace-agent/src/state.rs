//! The state of the agent, which all routes share: its parts, and the guest's life from bootstrap
//! to freeze.
//!
//! Knows no routes.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::anyhow;
use protocol::{
    Code,
    agent::{BootstrapRequest, ClockRequest, GrowRequest, Health},
};
use tokio::sync::Semaphore;

use crate::{
    activity::{self, Activity},
    documents::registry::DocumentRegistry,
    error::{ApiError, ApiResult},
    files::{find::FileLists, home_directory::HomeDirectory},
    git::Git,
    guest::{Guest, clock},
    languages::Languages,
    login_path::LoginPath,
    pressure::PressureMonitor,
    tasks::Tasks,
    terminals::registry::TerminalRegistry,
    user::GuestUser,
};

/// How long unsaved edits are waited for. After that work continues without them; clients still have
/// them.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// Most searches that run at once. Each uses all processors; further ones wait.
const MAX_SEARCHES: usize = 2;

/// The agent's parts. An agent in a guest becomes ready with its bootstrap, an agent on a host is
/// ready at once.
pub struct AgentState {
    /// The user that programs run as.
    pub(crate) user: GuestUser,
    /// The `PATH` of the user's login shell.
    pub(crate) login_path: Arc<LoginPath>,
    /// The user's home.
    pub(crate) home: HomeDirectory,
    /// All terminals.
    pub(crate) terminals: TerminalRegistry,
    /// All open documents.
    pub(crate) documents: Arc<DocumentRegistry>,
    /// When the workspace was last used.
    pub(crate) activity: Activity,
    /// Programs of `exec` that run.
    pub(crate) execs: Activity,
    /// Lists of the home's files, for finding files.
    pub(crate) file_lists: FileLists,
    /// The language servers.
    pub(crate) languages: Arc<Languages>,
    /// The Git repositories of the home.
    pub(crate) git: Git,
    /// Limits how many searches run at once.
    pub(crate) searches: Arc<Semaphore>,
    tasks: Tasks,
    /// `None` on a host.
    guest: Option<Arc<Guest>>,
    /// `None` on a host.
    pressure: Option<PressureMonitor>,
    is_ready: AtomicBool,
    /// Held during an operation on the guest, so that they run one at a time.
    guest_operation: tokio::sync::Mutex<()>,
}

impl AgentState {
    /// The agent of a guest.
    pub fn in_guest(user: GuestUser, guest: Guest) -> Self {
        Self::new(user, Some(Arc::new(guest)))
    }

    /// The agent of a directory on a host.
    pub fn on_host(user: GuestUser) -> io::Result<Self> {
        let state = Self::new(user, None);
        state.home.open_root()?;
        state.is_ready.store(true, Ordering::Release);
        Ok(state)
    }

    fn new(user: GuestUser, guest: Option<Arc<Guest>>) -> Self {
        let home = HomeDirectory::new(user.home.clone(), user.drops_privileges);
        let tasks = Tasks::default();
        let login_path = Arc::<LoginPath>::default();
        let documents = Arc::new(DocumentRegistry::new(home.clone(), tasks.clone()));
        Self {
            languages: Languages::new(&user, login_path.clone(), home.clone(), documents.clone(), &tasks),
            documents,
            git: Git::new(&user, login_path.clone(), home.clone()),
            home,
            user,
            login_path,
            terminals: TerminalRegistry::default(),
            activity: Activity::default(),
            execs: Activity::default(),
            file_lists: FileLists::default(),
            searches: Arc::new(Semaphore::new(MAX_SEARCHES)),
            tasks,
            pressure: guest.as_deref().and_then(Guest::user_cgroup).map(PressureMonitor::new),
            guest,
            is_ready: AtomicBool::new(false),
            guest_operation: tokio::sync::Mutex::default(),
        }
    }

    /// The agent's background tasks.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Refuses a request while the home is not mounted.
    pub(crate) fn require_ready(&self) -> ApiResult<()> {
        if self.is_ready.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(ApiError::new(Code::Unavailable, "The workspace is still starting. Try again in a moment."))
    }

    /// Whether the home is mounted, and its space.
    pub(crate) fn health(&self) -> Health {
        let known_space = self.home.space().ok();
        let space = known_space.unwrap_or_default();
        let pressure = self.pressure.as_ref().map(PressureMonitor::find_pressure);
        let (pressure, killed_program) = pressure.unwrap_or_default();
        let jobs = self.terminals.jobs();
        let is_cpu_busy = self.guest.is_some() && activity::is_guest_busy();
        Health {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: self.is_ready.load(Ordering::Acquire),
            home_used_bytes: space.used_bytes,
            home_size_bytes: space.total_bytes,
            home_free_bytes: known_space.map(|space| space.free_bytes),
            home_free_inodes: space.free_inodes,
            pressure,
            killed_program,
            idle_seconds: self.idle(!jobs.is_empty() || is_cpu_busy).as_secs(),
            jobs,
            has_exec: self.execs.is_running(),
            is_cpu_busy,
        }
    }

    /// For how long nobody has used the workspace, and nothing has run that somebody may wait for.
    fn idle(&self, is_busy: bool) -> Duration {
        if let Some(at) = self.terminals.last_input() {
            self.activity.record_at(at);
        }
        if is_busy {
            self.activity.record();
        }
        self.activity.idle()
    }

    /// Gives the guest its identity and mounts the home. Repeating it is harmless.
    pub(crate) async fn bootstrap(&self, request: BootstrapRequest) -> ApiResult<()> {
        self.run_in_guest(move |guest| guest.bootstrap(&request)).await?;
        self.home.open_root()?;
        self.is_ready.store(true, Ordering::Release);
        Ok(())
    }

    /// Saves all edits and freezes the home, so that a snapshot of it is a cleanly unmounted file
    /// system.
    pub(crate) async fn freeze(&self) -> ApiResult<()> {
        self.flush_documents().await;
        self.run_in_guest(Guest::freeze).await
    }

    /// Waits until what users have typed is on disk.
    pub(crate) async fn flush_documents(&self) {
        if tokio::time::timeout(FLUSH_TIMEOUT, self.documents.flush_all()).await.is_err() {
            tracing::warn!("edits were not saved within the flush timeout");
        }
    }

    /// Thaws the home.
    pub(crate) async fn thaw(&self) -> ApiResult<()> {
        self.run_in_guest(Guest::thaw).await
    }

    /// Enlarges the home's file system. A file system that already has the size does not change.
    pub(crate) async fn grow_home(&self, request: GrowRequest) -> ApiResult<()> {
        self.run_in_guest(move |_| Guest::grow_home(request)).await
    }

    /// Corrects the guest's clock. Does not wait for other operations, which would make the time old.
    pub(crate) fn correct_clock(&self, request: ClockRequest) -> ApiResult<()> {
        if self.guest.is_some() {
            let corrected = clock::correct(request.unix_nanos);
            corrected.map_err(|error| ApiError::new(Code::Internal, format!("{error:#}.")))?;
        }
        Ok(())
    }

    /// Runs an operation on the guest on a blocking thread, one at a time. Does nothing on a host.
    async fn run_in_guest(
        &self,
        operation: impl FnOnce(&Guest) -> anyhow::Result<()> + Send + 'static,
    ) -> ApiResult<()> {
        let Some(guest) = self.guest.clone() else { return Ok(()) };
        let _exclusive = self.guest_operation.lock().await;
        let result = tokio::task::spawn_blocking(move || operation(&guest)).await;
        result
            .unwrap_or_else(|_| Err(anyhow!("the operation panicked")))
            .map_err(|error| ApiError::new(Code::Internal, format!("{error:#}.")))
    }
}
