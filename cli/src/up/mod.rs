//! The role `up`: everything on one machine, in the foreground.
//!
//! It holds the controller as tasks, the gateway as a thread, and Postgres as a child; the controller's engine starts the
//! runners. What can be refused is refused before anything is begun. What is begun is ended in the opposite order.

use std::{net::TcpListener, path::PathBuf, sync::Arc};

use controller::{Config, Controller, EngineConfig, HistoryConfig, Parts};
use protocol::{Redacted, runner::RuntimeKind};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use volume::ObjectStore;

use self::{
    edge::Edge, homes::Snapshots, images::Images, listen::bind, lock::DataLock, place::DataDirectory,
    postgres::Postgres,
};
use crate::{
    arguments::{Runtime, Up},
    commands::Context,
    failure::{Failure, Kind},
    output,
    progress::{Step, Style},
};

mod capacity;
mod edge;
mod farewell;
mod homes;
pub mod images;
pub mod keeper;
pub mod listen;
pub mod lock;
pub mod place;
pub mod postgres;
mod refusals;
pub mod rotate;

/// A new database, the log of a day, a few sockets.
const SPACE_NEEDED: u64 = 256 * 1024 * 1024;
/// Building the base image unpacks a whole Debian, and then packs it.
const SPACE_NEEDED_FOR_IMAGE: u64 = 3 * 1024 * 1024 * 1024;

/// Where the homes' truth lies.
enum Database {
    Private(Arc<Postgres>),
    Given(Redacted<String>),
}

/// All that runs, in the order in which it was begun.
struct Running {
    database: Database,
    controller: Controller,
    /// Ends the controller.
    shutdown: CancellationToken,
    edge: Edge,
    _lock: DataLock,
}

pub async fn up(context: &Context, up: Up) -> Result<(), Failure> {
    let interrupted = daemon::shutdown_on_signals()
        .map_err(|error| Failure::error("Signals cannot be listened to").because(&error))?;
    let running = tokio::select! {
        running = start(context, &up) => running?,
        () = interrupted.cancelled() => return Err(Failure::new(Kind::Interrupted, "Interrupted")),
    };
    welcome(context, &up, &running).await?;
    let broken = tokio::select! {
        () = interrupted.cancelled() => None,
        broken = running.broken() => Some(broken),
    };
    let ended = farewell::end(context.style, running).await;
    if up.runtime == Runtime::Microvm && rustix::process::geteuid().is_root() {
        runner::network::remove_host_rules().await;
    }
    broken.map_or(ended, Err)
}

async fn start(context: &Context, up: &Up) -> Result<Running, Failure> {
    let style = context.style;
    let data = DataDirectory::open(up.data_dir.as_deref())?;
    let lock = DataLock::acquire(data.path())?;
    let listener = bind(up.listen, up.port)?;
    data.check_space(SPACE_NEEDED)?;
    let keeper = keeper::config(&up.master_key, &data)?;
    daemon::telemetry::init_with_file("warn,sqlx=error", &data.log()).map_err(|error| {
        Failure::error("The log cannot be written").because(&error).next("choose another --data-dir")
    })?;
    // Before the image: building that takes minutes.
    let (store_url, store) = store(style, up, &data).await?;
    let images = Images::prepare(style, up, &data).await?;
    let database = database(style, up.database_url.as_deref(), &data).await?;
    let run_dir = data.path().join("run");
    runner::sweep(&run_dir).await;
    prepare_network(up).await?;
    let config = Config {
        database_url: database.url(),
        host: place::host(data.path())?,
        master_key: keeper,
        store: store_url,
        run_dir,
        cache_dir: data.path().join("cache"),
        engine: engine(up, images)?,
        history: HistoryConfig { stream_seconds: up.stream_seconds, ..HistoryConfig::default() },
    };
    let parts = Parts { past: Arc::new(Snapshots::new(store, own_program()?)), ..Parts::default() };
    let step = Step::begin(style, "Starting the controller and the gateway");
    let shutdown = CancellationToken::new();
    let controller = Controller::start(config, parts, shutdown.clone()).await?;
    let edge = edge(up, listener, &controller)?;
    step.done();
    Ok(Running { database, controller, shutdown, edge, _lock: lock })
}

/// Opened and tried at once: who names a bucket that cannot be used should know now, and not when a home is to be saved.
async fn store(
    style: Style,
    up: &Up,
    data: &DataDirectory,
) -> Result<(String, Arc<dyn ObjectStore>), Failure> {
    let url = up.store.clone().unwrap_or_else(|| data.objects_url());
    let step = Step::begin(style, "Trying the object store");
    let store = volume::store::open(&url).await?;
    store.probe().await?;
    step.done();
    Ok((url, store))
}

async fn database(style: Style, given: Option<&str>, data: &DataDirectory) -> Result<Database, Failure> {
    if let Some(url) = given {
        return Ok(Database::Given(Redacted::new(url.to_owned())));
    }
    let step = Step::begin(style, "Starting Postgres");
    let path = data.path().to_owned();
    let postgres = spawn_blocking(move || Postgres::start(&path)).await.map_err(panicked)??;
    step.done();
    Ok(Database::Private(Arc::new(postgres)))
}

/// Without root machines have no network, and `burrow doctor` says so.
async fn prepare_network(up: &Up) -> Result<(), Failure> {
    if up.runtime == Runtime::Microvm && rustix::process::geteuid().is_root() {
        runner::network::prepare_host().await?;
    }
    Ok(())
}

fn engine(up: &Up, images: Images) -> Result<EngineConfig, Failure> {
    let runner = own_program()?;
    let capacity = capacity::of_host(up.runtime);
    Ok(EngineConfig {
        runner,
        runner_arguments: vec!["runner".into()],
        runtime: kind(up.runtime),
        images: images.by_name,
        initramfs: images.initramfs,
        agent: images.agent,
        machines_max: capacity.machines,
        memory_mib_max: capacity.memory_mib,
        starting_max: capacity.starting,
    })
}

fn own_program() -> Result<PathBuf, Failure> {
    std::env::current_exe()
        .map_err(|error| Failure::error("This program's own file is not known").because(&error))
}

fn kind(runtime: Runtime) -> RuntimeKind {
    match runtime {
        Runtime::Microvm => RuntimeKind::Microvm,
        Runtime::Fake => RuntimeKind::Fake,
    }
}

fn edge(up: &Up, listener: TcpListener, controller: &Controller) -> Result<Edge, Failure> {
    let failed = |error: std::io::Error| Failure::error("The gateway cannot be started").because(&error);
    let port = listener.local_addr().map_err(failed)?.port();
    let allowed_origins = listen::origins(up.listen, port, up.public_url.as_deref())?;
    let config = gateway::Config { listener, controller: controller.socket().to_owned(), allowed_origins };
    Edge::start(config).map_err(failed)
}

/// The last line is the link: it can be taken by a script.
async fn welcome(context: &Context, up: &Up, running: &Running) -> Result<(), Failure> {
    let address = listen::address(up.public_url.as_deref(), running.edge.addr());
    let link = running.controller.first_sign_in_link().await?;
    context.output.say(&format!(
        "\nBurrow runs at {address}\nCtrl-C saves every home and ends it.\n\nSign in once with this link:"
    ));
    output::line(&format!("{address}{}", link.expose()))
}

impl Running {
    /// Resolves when a part has ended that nothing works without.
    async fn broken(&self) -> Failure {
        let postgres = async {
            match &self.database {
                Database::Private(postgres) => postgres_ended(postgres).await,
                Database::Given(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            failure = postgres => failure,
            () = self.shutdown.cancelled() => {
                Failure::error("The controller has failed").why("its log above says how").next("burrow up")
            }
        }
    }
}

impl Database {
    fn url(&self) -> Redacted<String> {
        match self {
            Self::Private(postgres) => Redacted::new(postgres.url()),
            Self::Given(url) => url.clone(),
        }
    }
}

async fn postgres_ended(postgres: &Postgres) -> Failure {
    if postgres.ended().await.is_err() {
        // It cannot be watched: the controller's own errors will tell.
        std::future::pending::<()>().await;
    }
    Failure::error("Postgres has ended").why(postgres.last_words()).next("burrow up")
}

fn panicked(error: tokio::task::JoinError) -> Failure {
    Failure::error("A part of the start panicked").because(&error)
}
