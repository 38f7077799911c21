//! `burrow up`: the whole system on one computer, in the foreground.
//!
//! The controller runs as tasks of this process. The gateway and Postgres are children without privileges.
//! The controller's engine starts one runner process per running workspace. Everything that can fail early
//! is checked before anything is started. Parts are stopped in the opposite order of their start.

use std::{
    io::IsTerminal as _,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use ::gateway::{HttpRedirect, PreviewConfig};
use controller::{Config, Controller, DiskConfig, EngineConfig, HistoryConfig};
use daemon::telemetry::ChildLog;
use protocol::{Redacted, ports::PreviewHost, runner::RuntimeKind, workspace::Tier};
use reader::ReaderCommand;
use runner::network::{HostNetwork, NetworkError};
use tokio::{sync::Notify, task::spawn_blocking};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use self::{
    data_directory::DataDirectory,
    gateway::{GATEWAY_USER, GatewayConfig, GatewayProcess},
    images::Images,
    listen::{Endpoint, bind},
    lock::DataLock,
    options::{Runtime, UpOptions},
    postgres::Postgres,
    restarts::Restarts,
    tls::{CaNotice, Tls},
};
use crate::{
    context::Context,
    output::{
        self, CommandError, ErrorKind,
        progress::{Step, Style},
    },
    server::local::ADDRESS_FILE,
};

pub mod bundle;
mod capacity;
pub mod data_directory;
mod descriptors;
mod errors;
mod gateway;
pub mod images;
pub mod kms;
pub mod limits;
pub mod listen;
pub mod lock;
pub mod options;
pub mod postgres;
mod restarts;
mod shutdown;
mod tls;

/// Free space for a new database, the log of a day and some sockets.
const MIN_FREE_BYTES: u64 = 256 * 1024 * 1024;
/// Free space for building the base image, which unpacks a whole Debian and then packs it.
const MIN_FREE_BYTES_FOR_IMAGE: u64 = 3 * 1024 * 1024 * 1024;

/// How soon what a runner leaves that was killed is removed.
const LEFTOVERS_INTERVAL: Duration = Duration::from_secs(10);

/// The database that the controller uses.
pub enum Database {
    /// A Postgres that this process has started.
    Private(Arc<Postgres>),
    /// An existing Postgres, by its URL.
    External(Redacted<String>),
}

/// The running parts, in the order of their start.
struct System {
    database: Database,
    data_dir: PathBuf,
    controller: Controller,
    /// Stops the controller.
    shutdown: CancellationToken,
    gateway: GatewayProcess,
    /// The certificate of the local CA, if there is one.
    local_ca: Option<CaNotice>,
    /// The firewall rules of sandboxes, if they have a network.
    network: Option<HostNetwork>,
    /// Removes what killed runners leave.
    _leftovers: Option<AbortOnDropHandle<()>>,
    _lock: DataLock,
}

/// Starts everything, and waits for Ctrl-C or for a part that fails.
pub async fn run(context: &Context, up: UpOptions) -> Result<(), CommandError> {
    let interrupted = daemon::shutdown_on_signals()
        .map_err(|error| CommandError::error("Cannot listen for signals").because(&error))?;
    let reload = daemon::notify_on_hangup()
        .map_err(|error| CommandError::error("Cannot listen for signals").because(&error))?;
    let mut system = tokio::select! {
        system = start(context, &up, reload) => system?,
        () = interrupted.cancelled() => return Err(CommandError::new(ErrorKind::Interrupted, "Interrupted")),
    };
    print_link(context, &up, &system).await?;
    let failed = tokio::select! {
        () = interrupted.cancelled() => None,
        failed = system.wait_for_failure() => Some(failed),
    };
    let network = system.network.take();
    let stopped = shutdown::stop(context.style, system).await;
    if let Some(network) = network {
        network.close().await;
    }
    failed.map_or(stopped, Err)
}

/// Starts the parts. `reload` is notified when the operator wants changed files to be loaded at once.
async fn start(context: &Context, up: &UpOptions, reload: Arc<Notify>) -> Result<System, CommandError> {
    let style = context.style;
    let data = DataDirectory::open(up.data_dir.as_deref())?;
    let lock = DataLock::acquire(data.path())?;
    crate::backup::refuse_unfinished(&data)?;
    let listener = bind(up.listen, up.port)?;
    let http_redirect = tls::bind_redirect(up)?;
    let metrics = listen::bind_metrics(up.metrics)?;
    let preview = endpoint(up, &listener)?.preview_host(up.preview_host.as_deref())?;
    data.check_free_space(MIN_FREE_BYTES)?;
    let preview_name = preview.as_ref().map(|host| host.name.clone());
    let tls = tls::prepare(up, &data, preview_name, reload)?;
    let master_key = kms::config(&up.master_key, &data)?;
    let log = daemon::telemetry::init_with_file("warn,sqlx=error", &data.log()).map_err(|error| {
        CommandError::error("Cannot write the log").because(&error).hint("choose another --data-dir")
    })?;
    // Before the image, because building one takes minutes.
    let store_url = check_store(style, up, &data).await?;
    let images = Images::prepare(style, up, &data).await?;
    protect_from_oom();
    let database = start_database(style, up.database_url.as_deref(), &data).await?;
    let run_dir = data.path().join("run");
    runner::sweep(&run_dir).await;
    let leftovers = remove_leftovers(up, &images).await;
    check_tiers(up).await?;
    let network = prepare_network(up).await?;
    let config = Config {
        database_url: database.url(),
        host: data_directory::host_id(data.path())?,
        master_key,
        store: store_url,
        run_dir,
        gateway_group: gateway_user(),
        preview: preview.clone(),
        cache_dir: data.path().join("cache"),
        max_cache_bytes: up.limits.max_cache_bytes(),
        disk: DiskConfig {
            database_dir: up.database_url.is_none().then(|| data.postgres()),
            image_dirs: vec![up.image_cache.clone().unwrap_or_else(|| data.images())],
            log: Some(data.log()),
            ..up.limits.disk()
        },
        engine: engine(up, images)?,
        reader: ReaderCommand { program: own_program()?, args: vec!["ext4-reader".into()] },
        history: HistoryConfig {
            stream_seconds: up.stream_seconds,
            upload_mib_per_hour: up.limits.max_uploads_per_hour,
            max_history_bytes: up.limits.max_history_bytes(),
            ..HistoryConfig::default()
        },
        limits: up.limits.limits(),
    };
    let step = Step::begin(style, "Starting the controller and the gateway");
    let shutdown = CancellationToken::new();
    let controller = Controller::start(config, shutdown.clone()).await?;
    if let Some(listener) = metrics {
        controller.serve_metrics(listener);
    }
    let local_ca = tls.as_ref().and_then(|tls| tls.local_ca.clone());
    let listeners = Listeners { listener, http_redirect, tls };
    let gateway = start_gateway(up, listeners, preview, &controller, log).await?;
    step.done();
    let data_dir = data.path().to_owned();
    Ok(System {
        database,
        data_dir,
        controller,
        shutdown,
        gateway,
        local_ca,
        network,
        _leftovers: leftovers,
        _lock: lock,
    })
}

/// Opens the object store and tests it, so that a bucket that cannot be used is reported now, and
/// not when a home is saved.
async fn check_store(style: Style, up: &UpOptions, data: &DataDirectory) -> Result<String, CommandError> {
    let url = up.store.clone().unwrap_or_else(|| data.objects_url());
    let step = Step::begin(style, "Checking the object store");
    let store = volume::store::open(&url).await?;
    store.probe().await?;
    step.done();
    Ok(url)
}

/// Starts a private Postgres, unless the user names an existing one.
pub async fn start_database(
    style: Style,
    url: Option<&str>,
    data: &DataDirectory,
) -> Result<Database, CommandError> {
    if let Some(url) = url {
        return Ok(Database::External(Redacted::new(url.to_owned())));
    }
    let step = Step::begin(style, "Starting Postgres");
    let path = data.path().to_owned();
    let postgres = spawn_blocking(move || Postgres::start(&path)).await.map_err(task_panicked)??;
    step.done();
    Ok(Database::Private(Arc::new(postgres)))
}

/// Prepares the host's network for sandboxes. Without root, sandboxes have none, which `burrow
/// doctor` reports.
async fn prepare_network(up: &UpOptions) -> Result<Option<HostNetwork>, CommandError> {
    if up.runtime != Runtime::Microvm || !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    // Only virtual machines have a tap. Where nothing else may run, its lack is said now.
    if up.allow_tier.is_empty() {
        runner::network::check_tap_available().map_err(NetworkError::Unavailable)?;
    }
    Ok(Some(HostNetwork::open(&up.allow_private_network).await?))
}

/// Refuses to start with a tier that cannot work on this host.
async fn check_tiers(up: &UpOptions) -> Result<(), CommandError> {
    if up.runtime == Runtime::Fake {
        return Ok(());
    }
    let failed =
        |tier: &str, reason| CommandError::error(format!("Cannot allow the tier `{tier}`")).cause(reason);
    let tiers = up.tiers();
    if tiers.contains(&Tier::Container) {
        runner::check_containers().map_err(|reason| failed("container", reason))?;
    }
    if tiers.contains(&Tier::Gvisor) {
        runner::gvisor::check_available(up.runsc.as_deref())
            .await
            .map_err(|reason| failed("gvisor", reason))?;
    }
    Ok(())
}

/// Lets the kernel end sandboxes (500) and runners (200) before this process and the database, which
/// inherits this.
fn protect_from_oom() {
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "-900") {
        tracing::debug!(%error, "cannot protect this process when the host has no memory left");
    }
}

/// Removes what earlier runners that were killed have left: cgroups, and prototypes that they were making.
/// Sandboxes of a host without cgroups run without limits on what they take of it, so that is said.
///
/// Returns the task that removes what runners leave that are killed later.
async fn remove_leftovers(up: &UpOptions, images: &Images) -> Option<AbortOnDropHandle<()>> {
    if up.runtime == Runtime::Fake {
        return None;
    }
    runner::cgroup::remove_stale().await;
    if let Err(reason) = runner::cgroup::check_available() {
        tracing::warn!("sandboxes have no limits of CPU time and memory on this host: {reason}");
    }
    let images: Vec<PathBuf> = images.by_name.values().cloned().collect();
    Some(AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            tokio::time::sleep(LEFTOVERS_INTERVAL).await;
            runner::cgroup::remove_stale().await;
            for image in &images {
                if let Err(error) = runner::remove_unfinished_prototypes(image) {
                    tracing::warn!(%error, "cannot remove an unfinished prototype");
                }
            }
        }
    })))
}

fn engine(up: &UpOptions, images: Images) -> Result<EngineConfig, CommandError> {
    let runner = own_program()?;
    let capacity = capacity::of_host(up.runtime);
    Ok(EngineConfig {
        runner,
        runner_arguments: vec!["runner".into()],
        runtime: kind(up.runtime),
        tiers: up.tiers(),
        runsc: up.runsc.clone(),
        images: images.by_name,
        initramfs: images.initramfs,
        use_prototypes: !up.no_prototypes,
        agent: images.agent,
        max_sandboxes: capacity.machines,
        max_memory_mib: capacity.memory_mib,
        overhead_mib: capacity.overhead_mib,
        max_starting: capacity.starting,
        network_bounds: up.limits.network_bounds(up.allow_private_network.clone()),
        disk_limits: up.limits.disk_limits(),
    })
}

fn own_program() -> Result<PathBuf, CommandError> {
    std::env::current_exe()
        .map_err(|error| CommandError::error("Cannot find the file of this program").because(&error))
}

fn kind(runtime: Runtime) -> RuntimeKind {
    match runtime {
        Runtime::Microvm => RuntimeKind::Microvm,
        Runtime::Fake => RuntimeKind::Fake,
    }
}

/// What the gateway listens on.
struct Listeners {
    listener: TcpListener,
    http_redirect: Option<HttpRedirect>,
    tls: Option<Tls>,
}

/// The user and group of the gateway. Without root, or where that user does not exist, they are ours.
fn gateway_user() -> Option<u32> {
    let is_root = rustix::process::geteuid().is_root();
    if is_root && !user_exists(GATEWAY_USER) {
        tracing::warn!(user = GATEWAY_USER, "the gateway runs as this user: this host has too few users");
    }
    (is_root && user_exists(GATEWAY_USER)).then_some(GATEWAY_USER)
}

/// Whether the user namespace of this process has this user and group.
fn user_exists(id: u32) -> bool {
    ["/proc/self/uid_map", "/proc/self/gid_map"].iter().all(|map| {
        let map = std::fs::read_to_string(map).unwrap_or_default();
        map.lines().any(|line| maps(line, id))
    })
}

/// Whether a line of a map of users (first id here, first id outside, how many) has this id.
fn maps(line: &str, id: u32) -> bool {
    let numbers: Vec<u32> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    matches!(numbers[..], [first, _, count] if id >= first && id - first < count)
}

/// How users reach a server with this listener.
fn endpoint<'a>(up: &'a UpOptions, listener: &TcpListener) -> Result<Endpoint<'a>, CommandError> {
    let bound = listener.local_addr().map_err(|error| {
        CommandError::error("Cannot find out the address of the listener").because(&error)
    })?;
    Ok(Endpoint { bound, public_url: up.public_url.as_deref(), is_tls: up.tls.is_on() })
}

async fn start_gateway(
    up: &UpOptions,
    Listeners { listener, http_redirect, tls }: Listeners,
    preview: Option<PreviewHost>,
    controller: &Controller,
    log: ChildLog,
) -> Result<GatewayProcess, CommandError> {
    let failed = |error: anyhow::Error| {
        CommandError::error("Cannot start the gateway").cause(format!("{error:#}")).hint(if up.tls.is_on() {
            "check the files of --tls-cert and --tls-key"
        } else {
            "see burrow.log in the data directory"
        })
    };
    let endpoint = endpoint(up, &listener)?;
    let socket = controller.gateway_socket();
    let config = GatewayConfig {
        program: own_program()?,
        user: gateway_user(),
        socket_directory: socket.parent().unwrap_or(Path::new("/")).to_owned(),
        controller: socket,
        listener,
        allowed_origins: endpoint.origins()?,
        preview: preview.map(|host| PreviewConfig { host, app_origin: endpoint.address() }),
        trusted_proxies: up.trusted_proxy.iter().map(|proxy| proxy.0).collect(),
        http_redirect,
        max_descriptors: descriptors::raise_limit(),
        log,
    };
    GatewayProcess::start(config, tls.map(|tls| tls.config)).await.map_err(failed)
}

/// Prints the address, and the sign-in link if an owner needs one and a user is looking. A link in the
/// journal of the host would be a way in for everyone who reads it. One line goes to standard output, so
/// that scripts can read it: the link, else the address.
async fn print_link(context: &Context, up: &UpOptions, system: &System) -> Result<(), CommandError> {
    let (public_url, bound) = (up.public_url.as_deref(), system.gateway.address());
    let endpoint = Endpoint { bound, public_url, is_tls: up.tls.is_on() };
    let address = endpoint.address();
    std::fs::write(system.data_dir.join("run").join(ADDRESS_FILE), &address)
        .map_err(|error| CommandError::error("Cannot write to the data directory").because(&error))?;
    if endpoint.is_unencrypted() {
        output::progress::write_line(
            "Warning: passwords and all data travel over the network unencrypted. Start with --tls self, or \
             with --tls-cert and --tls-key, or put a proxy with TLS in front and start with --public-url \
             https://…",
        );
    }
    context.output.say(&format!("\nBurrow is running at {address}"));
    if let Some(plain) = up.tls.http_redirect {
        context.output.say(&format!("Plain http at {plain} is redirected there."));
    }
    for line in endpoint.other_ways_in() {
        context.output.say(&line);
    }
    if let Some(ca) = &system.local_ca {
        print_ca_notice(context, &address, ca);
    }
    context.output.say("Press Ctrl-C to save all homes and stop.");
    let is_claimed = system.controller.has_owner_with_password().await?;
    if is_claimed || !std::io::stdout().is_terminal() {
        let need = if is_claimed { "if the owner's password is lost" } else { "for a link to sign in with" };
        context.output.say(&format!("Run `burrow admin sign-in-link` on this host {need}."));
        return output::line(&address);
    }
    let link = system.controller.first_sign_in_link().await?;
    context.output.say("\nSign in with this link. It works once:");
    output::line(&format!("{address}{}", link.expose()))
}

/// Says how browsers and programs trust the local CA.
fn print_ca_notice(context: &Context, address: &str, ca: &CaNotice) {
    let path = ::gateway::CA_CERTIFICATE_PATH;
    for line in [
        format!("Browsers warn until they trust the certificate of this server's CA: {address}{path}"),
        format!("  SHA-256 {}", ca.fingerprint),
        format!("  For the command line: export BURROW_CA_FILE={}", ca.file.display()),
    ] {
        context.output.say(&line);
    }
}

impl System {
    /// Resolves when a part has failed that the others depend on.
    async fn wait_for_failure(&mut self) -> CommandError {
        tokio::select! {
            failure = self.database.keep_running(&self.data_dir) => failure,
            failure = self.gateway.wait_for_failure() => failure,
            () = self.shutdown.cancelled() => {
                CommandError::error("The controller has failed").cause("see its log above").hint("burrow up")
            }
        }
    }
}

impl Database {
    /// The URL to connect to, with the password.
    pub fn url(&self) -> Redacted<String> {
        match self {
            Self::Private(postgres) => Redacted::new(postgres.url()),
            Self::External(url) => url.clone(),
        }
    }

    /// Starts a private Postgres again whenever it exits. Workspaces continue in between. Resolves
    /// if it cannot be started, or exits again and again.
    async fn keep_running(&mut self, data_dir: &Path) -> CommandError {
        let mut restarts = Restarts::default();
        loop {
            let Self::Private(postgres) = self else { return std::future::pending().await };
            if postgres.ended().await.is_err() {
                // It cannot be watched. The errors of the controller will show that it has ended.
                return std::future::pending().await;
            }
            tracing::error!(log = postgres.log_tail(), "Postgres has exited, starting it again");
            if !restarts.admit(Instant::now()) {
                return CommandError::error("Postgres has exited")
                    .cause(postgres.log_tail())
                    .hint("burrow up");
            }
            // Nobody else stops a server that is being started.
            let url = Redacted::new(postgres.url());
            let (old, directory) = (std::mem::replace(self, Self::External(url)), data_dir.to_owned());
            let started = spawn_blocking(move || {
                // Its end removes the socket that the new one creates.
                drop(old);
                Postgres::start(&directory)
            });
            match started.await {
                Ok(Ok(started)) => *self = Self::Private(Arc::new(started)),
                Ok(Err(error)) => return error.into(),
                Err(error) => return task_panicked(error),
            }
        }
    }
}

/// The error for a task that has panicked.
pub fn task_panicked(error: tokio::task::JoinError) -> CommandError {
    CommandError::error("A task has panicked").because(&error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_exists_within_the_map() {
        assert!(maps("         0          0 4294967295", GATEWAY_USER));
        assert!(maps("0 100000 619998", GATEWAY_USER) && maps("619997 1 1", GATEWAY_USER));
        for other in ["0 100000 65536", "0 100000 619997", "619998 0 10", "", "0 1"] {
            assert!(!maps(other, GATEWAY_USER), "{other}");
        }
    }
}
