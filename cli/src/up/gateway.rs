//! The gateway's process: starts it, passes it new certificates, and starts it again if it exits.
//!
//! The listener stays with this process, so that clients who connect while there is no gateway wait a moment
//! and are not refused. What the gateway knew is nothing that the next one needs.

use std::{
    net::{SocketAddr, TcpListener},
    os::fd::{AsRawFd as _, BorrowedFd},
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use ::gateway::{
    CertificateWatcher, HttpRedirect, Limits, PreviewConfig, ServerCertificate, TlsConfig,
    process::{GatewaySpec, Instruction, READY_LINE, RedirectSpec, TlsSpec},
};
use anyhow::{Context as _, anyhow, bail};
use daemon::telemetry::ChildLog;
use futures_util::StreamExt as _;
use ipnet::IpNet;
use protocol::Redacted;
use rustix::io::{FdFlags, fcntl_setfd};
use serde::Serialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStderr, ChildStdin, Command},
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::{
    codec::{FramedRead, LinesCodec},
    sync::CancellationToken,
    task::AbortOnDropHandle,
};

use super::restarts::Restarts;
use crate::output::CommandError;

/// The user and group of the gateway's process under root: below those of VMMs, above what systems assign.
pub const GATEWAY_USER: u32 = 619_997;
/// From the start of the process until it accepts connections.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Responses under way may take so long to end. Then the process is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// How long it may take to read what it is sent.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// Between starts of a process that exits again and again.
const RESTART_PAUSE: Duration = Duration::from_secs(30);
/// After its end: how long the rest of its log may take.
const LOG_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest line of its log, in bytes.
const MAX_LOG_LINE: usize = 64 * 1024;
/// Environment variables that it inherits.
const ENVIRONMENT: [&str; 2] = [daemon::telemetry::FILTER_VARIABLE, "RUST_BACKTRACE"];

/// What the gateway's process needs.
pub struct GatewayConfig {
    /// The executable that has the gateway: our own.
    pub program: PathBuf,
    /// Its user and group, if it is not ours.
    pub user: Option<u32>,
    /// The directory of all sockets that it connects to.
    pub socket_directory: PathBuf,
    /// The controller's socket for gateways.
    pub controller: PathBuf,
    pub listener: TcpListener,
    pub allowed_origins: Vec<String>,
    pub preview: Option<PreviewConfig>,
    pub trusted_proxies: Vec<IpNet>,
    pub http_redirect: Option<HttpRedirect>,
    /// How many files it may have open.
    pub max_descriptors: u64,
    /// Where its log lines go.
    pub log: ChildLog,
}

/// A gateway's process that is kept running. Dropping it ends the process at once.
pub struct GatewayProcess {
    address: SocketAddr,
    stop: CancellationToken,
    /// Ends with the error if something that the process needs has failed, and with none after a stop.
    supervisor: AbortOnDropHandle<Option<anyhow::Error>>,
}

impl GatewayProcess {
    /// Starts the process and waits until it accepts connections.
    pub async fn start(config: GatewayConfig, tls: Option<TlsConfig>) -> anyhow::Result<Self> {
        let address = config.listener.local_addr()?;
        let stop = CancellationToken::new();
        let tls = tls.map(|tls| TlsLaunch::new(tls, stop.clone())).transpose()?;
        let launcher = Launcher { config, tls };
        let running = launcher.spawn().await?;
        let supervisor = AbortOnDropHandle::new(tokio::spawn(supervise(launcher, running, stop.clone())));
        Ok(Self { address, stop, supervisor })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resolves when something that the process needs has failed.
    pub async fn wait_for_failure(&mut self) -> CommandError {
        let error = match (&mut self.supervisor).await {
            Ok(Some(error)) => format!("{error:#}"),
            Ok(None) => return std::future::pending().await,
            Err(error) => error.to_string(),
        };
        CommandError::error("The gateway has failed").cause(error).hint("burrow up")
    }

    /// Cuts streams, and waits for responses in progress.
    pub async fn stop(self) {
        self.stop.cancel();
        // It may have ended with a failure, which was reported.
        if !self.supervisor.is_finished() {
            let _ = self.supervisor.await;
        }
    }
}

/// Keeps the process running until it is to stop. Returns why that is not possible any more.
async fn supervise(
    mut launcher: Launcher,
    mut running: Running,
    stop: CancellationToken,
) -> Option<anyhow::Error> {
    let mut restarts = Restarts::default();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                running.stop().await;
                return None;
            }
            certificate = launcher.next_certificate() => {
                let Some(certificate) = certificate else {
                    return Some(anyhow!("certificates are not renewed any more"));
                };
                running.send_or_kill(&Instruction::Certificate(certificate.pem().clone())).await;
                continue;
            }
            status = running.child.wait() => {
                let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                tracing::error!(status, "the gateway has exited, starting it again");
            }
        }
        running.finish_log().await;
        running = tokio::select! {
            () = stop.cancelled() => return None,
            running = launcher.restart(&mut restarts) => running,
        };
    }
}

/// What starts the process, as often as needed.
struct Launcher {
    config: GatewayConfig,
    tls: Option<TlsLaunch>,
}

/// TLS of the process.
struct TlsLaunch {
    has_hsts: bool,
    ca_certificate: Option<String>,
    current: watch::Receiver<ServerCertificate>,
    _watcher: AbortOnDropHandle<()>,
}

impl Launcher {
    /// Starts the process again, after a pause if that was necessary often. Workspaces continue in between.
    async fn restart(&self, restarts: &mut Restarts) -> Running {
        loop {
            if !restarts.admit(Instant::now()) {
                tracing::error!("the gateway exits again and again; see burrow.log in the data directory");
                sleep(RESTART_PAUSE).await;
            }
            match self.spawn().await {
                Ok(running) => return running,
                Err(error) => tracing::error!(error = format!("{error:#}"), "cannot start the gateway"),
            }
        }
    }

    /// Starts the process and waits until it accepts connections.
    async fn spawn(&self) -> anyhow::Result<Running> {
        let mut child = self.command().spawn().context("Cannot start the process")?;
        let output = child.stdout.take().expect("piped");
        let log = forward_log(child.stderr.take().expect("piped"), self.config.log.clone());
        let mut running = Running { input: child.stdin.take().expect("piped"), child, log };
        let is_ready = async {
            running.send(&self.spec()).await;
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line).await.is_ok() && line.trim_end() == READY_LINE
        };
        match timeout(START_TIMEOUT, is_ready).await {
            Ok(true) => Ok(running),
            Ok(false) => {
                running.finish_log().await;
                bail!("it has exited; see burrow.log in the data directory")
            }
            Err(_) => bail!("it did not start within {} seconds", START_TIMEOUT.as_secs()),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.config.program);
        command
            .arg("gateway")
            .env_clear()
            .envs(ENVIRONMENT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C in the terminal reaches only this process, which then stops its parts in order.
            .process_group(0)
            .kill_on_drop(true);
        let inherited = self.spec().descriptors();
        // SAFETY: between fork and exec there are system calls only. The descriptors belong to `self`, which
        // lives until after the spawn.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || {
                inherited.iter().try_for_each(|number| {
                    Ok(fcntl_setfd(BorrowedFd::borrow_raw(*number), FdFlags::empty())?)
                })
            });
        }
        command
    }

    fn spec(&self) -> GatewaySpec {
        let config = &self.config;
        GatewaySpec {
            user: config.user,
            socket_directory: config.socket_directory.clone(),
            controller: config.controller.clone(),
            listener: config.listener.as_raw_fd(),
            allowed_origins: config.allowed_origins.clone(),
            preview: config.preview.clone(),
            trusted_proxies: config.trusted_proxies.iter().map(ToString::to_string).collect(),
            tls: self.tls.as_ref().map(TlsLaunch::spec),
            http_redirect: config.http_redirect.as_ref().map(|redirect| RedirectSpec {
                listener: redirect.listener.as_raw_fd(),
                origin: redirect.origin.clone(),
            }),
            max_descriptors: config.max_descriptors,
        }
    }

    /// Resolves when new connections should get another certificate, or with none if nobody looks for new
    /// ones any more.
    async fn next_certificate(&mut self) -> Option<ServerCertificate> {
        let Some(tls) = &mut self.tls else { return std::future::pending().await };
        tls.current.changed().await.ok()?;
        Some(tls.current.borrow_and_update().clone())
    }
}

impl TlsLaunch {
    /// Gets the first certificate, and watches for new ones.
    fn new(mut config: TlsConfig, stop: CancellationToken) -> anyhow::Result<Self> {
        let first = config.source.poll()?.context("there is no certificate")?;
        let (sender, current) = watch::channel(first);
        let deliver = move |certificate| drop(sender.send(certificate));
        let watcher = CertificateWatcher::new(config.source, config.reload, deliver);
        let watching = watcher.run(Limits::default().certificate_check_interval, stop);
        let watcher = AbortOnDropHandle::new(tokio::spawn(async move {
            if let Err(error) = watching.await {
                tracing::error!(error = format!("{error:#}"), "certificates are not renewed any more");
            }
        }));
        let TlsConfig { has_hsts, ca_certificate, .. } = config;
        Ok(Self { has_hsts, ca_certificate, current, _watcher: watcher })
    }

    fn spec(&self) -> TlsSpec {
        TlsSpec {
            has_hsts: self.has_hsts,
            ca_certificate: self.ca_certificate.clone(),
            certificate: self.current.borrow().pem().clone(),
        }
    }
}

/// A process that accepts connections.
struct Running {
    child: Child,
    input: ChildStdin,
    log: AbortOnDropHandle<()>,
}

impl Running {
    /// Sends one value. A process that does not take it has ended, which [`supervise`] notices.
    async fn send(&mut self, value: &impl Serialize) {
        let mut line = serde_json::to_vec(value).expect("plain data");
        line.push(b'\n');
        // It may contain a private key.
        let line = Redacted::new(line);
        if let Err(error) = self.input.write_all(line.expose()).await {
            tracing::warn!(%error, "cannot write to the gateway");
        }
    }

    /// Waits for the last lines of a process that has ended: they say why.
    async fn finish_log(self) {
        let _ = timeout(LOG_TIMEOUT, self.log).await;
    }

    /// Like [`Self::send`], for a process that may have stopped reading.
    async fn send_or_kill(&mut self, value: &impl Serialize) {
        if timeout(SEND_TIMEOUT, self.send(value)).await.is_err() {
            tracing::warn!("the gateway does not read, killing it");
            let _ = self.child.start_kill();
        }
    }

    async fn stop(mut self) {
        self.send_or_kill(&Instruction::Stop).await;
        if timeout(STOP_TIMEOUT, self.child.wait()).await.is_err() {
            tracing::warn!("the gateway does not end, killing it");
            let _ = self.child.kill().await;
        }
    }
}

/// Adds the lines of its log to ours until it ends.
fn forward_log(output: ChildStderr, log: ChildLog) -> AbortOnDropHandle<()> {
    let mut lines = FramedRead::new(output, LinesCodec::new_with_max_length(MAX_LOG_LINE));
    let forwarding: JoinHandle<()> = tokio::spawn(async move {
        let mut has_failed = false;
        loop {
            match lines.next().await {
                Some(Ok(line)) => log.write_line(&line),
                Some(Err(error)) => {
                    has_failed = true;
                    tracing::warn!(%error, "cannot read a line of the gateway's log");
                }
                // After an error, the reader ends once, and then continues with the next line.
                None if std::mem::take(&mut has_failed) => {}
                None => break,
            }
        }
    });
    AbortOnDropHandle::new(forwarding)
}
