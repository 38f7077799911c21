//! `burrow forward`: ports of a workspace on this computer.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use clap::Args;
use protocol::{WorkspaceId, ports::parse_port};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{Duration, sleep},
};

use super::workspace;
use crate::{
    context::Context,
    output::{CommandError, ErrorKind, progress},
    server::Server,
};

/// Connections of one forwarded port at the same time. More wait.
const MAX_CONNECTIONS: usize = 100;
/// Pause after a failed accept.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Forward ports of a workspace to this computer
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow forward demo 3000
  burrow forward demo 8080:80 5432
  burrow forward 3000

PORT is the same on both sides; LOCAL:PORT names another one on this computer, and 0:PORT takes a free
one. Without a workspace: the only one of yours that runs, or that of BURROW_WORKSPACE.

Any TCP protocol works. Programs in the workspace see connections from localhost. Ctrl-C ends it.")]
pub struct Forward {
    /// Name of the workspace, and the ports
    #[arg(required = true, num_args = 1.., value_name = "[WORKSPACE] [LOCAL:]PORT")]
    pub arguments: Vec<String>,
    /// Address on this computer to listen on
    #[arg(long, env = "BURROW_ADDRESS", value_name = "IP", default_value = "127.0.0.1")]
    pub address: IpAddr,
    /// Fail if the workspace is stopped, instead of starting it
    #[arg(long, env = "BURROW_NO_START")]
    pub no_start: bool,
}

/// A port on this computer, and the port in the workspace that it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PortPair {
    local: u16,
    remote: u16,
}

impl Forward {
    /// Forwards until it is interrupted.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let (name, pairs) = parse_arguments(&self.arguments)?;
        let server = context.server()?;
        let name = name.or_else(|| std::env::var("BURROW_WORKSPACE").ok().filter(|name| !name.is_empty()));
        let workspace = match name {
            Some(name) => workspace::ensure_running(context, &server, &name, !self.no_start).await?,
            None => workspace::find_or_only_running(&server, None).await?,
        };
        let mut listening = JoinSet::new();
        for pair in pairs {
            let listener = bind(SocketAddr::new(self.address, pair.local)).await?;
            let address = listener.local_addr().map_err(|error| refused(self.address, pair.local, &error))?;
            context
                .output
                .say(&format!("Forwarding {address} to port {} of {}", pair.remote, workspace.name));
            listening.spawn(accept_connections(listener, server.clone(), workspace.id, pair.remote));
        }
        context.output.say("Press Ctrl-C to stop.");
        // They accept until the command is interrupted.
        while listening.join_next().await.is_some() {}
        Ok(())
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, CommandError> {
    TcpListener::bind(address).await.map_err(|error| refused(address.ip(), address.port(), &error))
}

fn refused(ip: IpAddr, port: u16, error: &io::Error) -> CommandError {
    let error = CommandError::error(format!("Cannot listen on {}", SocketAddr::new(ip, port))).because(error);
    error.hint(format!("choose another port of this computer: burrow forward 0:{port}"))
}

async fn accept_connections(listener: TcpListener, server: Server, workspace: WorkspaceId, port: u16) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((local, _)) => {
                let server = server.clone();
                connections.spawn(async move {
                    forward_connection(local, &server, workspace, port).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection");
                sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn forward_connection(local: TcpStream, server: &Server, workspace: WorkspaceId, port: u16) {
    let copied = match server.connect_port(workspace, port).await {
        Ok(connection) => connection.copy(local).await,
        Err(error) => Err(error),
    };
    if let Err(error) = copied {
        progress::write_line(&format!(
            "warning: A connection to port {port} failed: {}",
            CommandError::from(error)
        ));
    }
}

/// The workspace, if one is named, and the ports.
fn parse_arguments(arguments: &[String]) -> Result<(Option<String>, Vec<PortPair>), CommandError> {
    let (name, ports) = match arguments.split_first() {
        Some((first, rest)) if parse_pair(first).is_none() => (Some(first.clone()), rest),
        _ => (None, arguments),
    };
    let usage = |what: String| CommandError::new(ErrorKind::Usage, what).hint("burrow forward demo 8080:80");
    if ports.is_empty() {
        return Err(usage("Name the ports to forward".to_owned()));
    }
    let pairs = ports.iter().map(|text| {
        parse_pair(text).ok_or_else(|| usage(format!("`{text}` is not a port, and not LOCAL:PORT")))
    });
    Ok((name, pairs.collect::<Result<_, _>>()?))
}

fn parse_pair(text: &str) -> Option<PortPair> {
    let (local, remote) = match text.split_once(':') {
        Some(("0", remote)) => (0, parse_port(remote)?),
        Some((local, remote)) => (parse_port(local)?, parse_port(remote)?),
        None => (parse_port(text)?, parse_port(text)?),
    };
    Some(PortPair { local, remote })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name, and the ports as `LOCAL:PORT`.
    fn parse(line: &str) -> Option<(Option<String>, Vec<String>)> {
        let arguments: Vec<String> = line.split(' ').map(ToOwned::to_owned).collect();
        let (name, pairs) = parse_arguments(&arguments).ok()?;
        Some((name, pairs.into_iter().map(|pair| format!("{}:{}", pair.local, pair.remote)).collect()))
    }

    #[test]
    fn arguments_are_a_name_and_ports() {
        for (line, name, ports) in [
            ("3000", None, &["3000:3000"][..]),
            ("demo 3000", Some("demo"), &["3000:3000"]),
            ("demo 8080:80 5432 0:22", Some("demo"), &["8080:80", "5432:5432", "0:22"]),
        ] {
            let ports = ports.iter().map(ToString::to_string).collect();
            assert_eq!(parse(line), Some((name.map(ToOwned::to_owned), ports)), "{line}");
        }
        for line in ["demo", "demo 0", "demo x", "demo 1:2:3", "3000 demo", "demo 70000", "demo :80"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
