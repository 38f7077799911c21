//! The process of a gateway: it talks to everybody, so it runs apart from the controller and its keys, as a
//! user without privileges.
//!
//! Its parent binds the listeners, which the process inherits, and writes to its standard input: one
//! [`GatewaySpec`], then [`Instruction`]s, one JSON value per line. The process writes one line to its
//! standard output when it accepts connections. It ends when its input ends, so it never outlives its
//! parent. Its standard error are log lines in JSON.

use std::{
    io::{self, BufRead},
    net::TcpListener,
    os::fd::{FromRawFd as _, OwnedFd, RawFd},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Context as _, bail};
use daemon::isolation::close_foreign_descriptors;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{CertificateSource, Config, Gateway, HttpRedirect, Limits, ServerCertificate, TlsConfig};

mod sandbox;
mod spec;

pub use spec::{GatewaySpec, Instruction, READY_LINE, RedirectSpec, TlsSpec};

/// Size of a line of the input: certificates with their key.
const MAX_LINE_BYTES: u64 = 4 * 1024 * 1024;
/// When the kernel selects what to end: after sandboxes, which have 500, and before runners and the server. A
/// gateway is started again, and its streams are attached again.
const OOM_SCORE: &str = "300";
/// Lines of the log that are written if the filter's variable is unset.
const LOG_FILTER: &str = "info";

/// Runs the process. Call it before there is a second thread, because it changes what the whole process
/// may do.
pub fn main() -> ExitCode {
    daemon::telemetry::init(LOG_FILTER);
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the gateway has failed");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let mut input = io::BufReader::new(io::stdin());
    let line =
        read_line(&mut input)?.context("Cannot read the gateway's specification: the input has ended")?;
    let spec: GatewaySpec =
        serde_json::from_slice(&line).context("Cannot parse the gateway's specification")?;
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE) {
        tracing::debug!(%error, "cannot say that the gateway goes before the server");
    }
    close_foreign_descriptors(&spec.descriptors()).context("Cannot close inherited files")?;
    if let Some(user) = spec.user {
        sandbox::enter(user, &spec.socket_directory)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(spec, input))
}

/// Serves until the parent says stop, or has died.
async fn serve(spec: GatewaySpec, input: impl BufRead + Send + 'static) -> anyhow::Result<()> {
    // The parent acts on this signal, which may be sent to both.
    let _hangups = daemon::notify_on_hangup()?;
    let limits = Limits::for_descriptors(spec.max_descriptors);
    let (config, certificates) = config(spec)?;
    let gateway = Gateway::start(config, limits)?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    // Not joined: it is blocked in a read for as long as the parent lives.
    thread::Builder::new().name("instructions".to_owned()).spawn(move || {
        if follow(input, &certificates) {
            stop.cancel();
        } else {
            // The parent has died. The next one wants the address.
            std::process::exit(1);
        }
    })?;
    println!("{READY_LINE}");
    tokio::select! {
        () = stopped.cancelled() => gateway.stop(),
        _ = gateway.join() => bail!("a part that the others depend on has failed"),
    }
    gateway.join().await;
    Ok(())
}

/// Follows instructions. Returns true at the one to stop, and false at the end of the input.
fn follow(mut input: impl BufRead, certificates: &ReceivedCertificates) -> bool {
    while let Ok(Some(line)) = read_line(&mut input) {
        let parsed = serde_json::from_slice(&line).map_err(anyhow::Error::from);
        let done = parsed.and_then(|instruction| match instruction {
            Instruction::Stop => Ok(true),
            Instruction::Certificate(pem) => {
                certificates.put(ServerCertificate::try_from(pem)?);
                Ok(false)
            }
        });
        match done {
            Ok(true) => return true,
            Ok(false) => {}
            Err(error) => tracing::error!(error = format!("{error:#}"), "cannot follow an instruction"),
        }
    }
    false
}

/// The next line without its end. `None` at the end of the input.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    io::Read::take(input, MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
    Ok(line.strip_suffix(b"\n").map(<[u8]>::to_vec))
}

fn config(spec: GatewaySpec) -> anyhow::Result<(Config, ReceivedCertificates)> {
    let certificates = ReceivedCertificates::default();
    let tls = match spec.tls {
        None => None,
        Some(tls) => {
            certificates.put(ServerCertificate::try_from(tls.certificate)?);
            Some(TlsConfig {
                source: Box::new(certificates.clone()),
                has_hsts: tls.has_hsts,
                ca_certificate: tls.ca_certificate,
                reload: certificates.arrived.clone(),
            })
        }
    };
    let redirect = |redirect: RedirectSpec| HttpRedirect {
        listener: inherited_listener(redirect.listener),
        origin: redirect.origin,
    };
    let config = Config {
        listener: inherited_listener(spec.listener),
        controller: spec.controller,
        allowed_origins: spec.allowed_origins,
        preview: spec.preview,
        trusted_proxies: spec
            .trusted_proxies
            .iter()
            .map(|network| network.parse())
            .collect::<Result<_, _>>()?,
        tls,
        http_redirect: spec.http_redirect.map(redirect),
    };
    Ok((config, certificates))
}

fn inherited_listener(descriptor: RawFd) -> TcpListener {
    // SAFETY: the parent has passed it for this purpose, each descriptor is named once in the
    // specification, and nothing else in this process owns it.
    #[allow(unsafe_code)]
    let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
    owned.into()
}

/// The last certificate that has arrived and was not used yet.
#[derive(Clone, Debug, Default)]
struct ReceivedCertificates {
    last: Arc<Mutex<Option<ServerCertificate>>>,
    arrived: Arc<Notify>,
}

impl ReceivedCertificates {
    fn put(&self, certificate: ServerCertificate) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(certificate);
        self.arrived.notify_one();
    }
}

impl CertificateSource for ReceivedCertificates {
    fn poll(&mut self) -> anyhow::Result<Option<ServerCertificate>> {
        Ok(self.last.lock().unwrap_or_else(PoisonError::into_inner).take())
    }
}
