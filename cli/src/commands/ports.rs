//! `burrow ports`: the ports that programs of a workspace listen on.

use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCandidates;
use protocol::{
    WorkspaceId,
    api::port::{EditPort, MAX_PUBLIC_HOURS, PortSettings, PortSettingsList, PortVisibility},
    ports::{ListeningPort, PortList, PreviewHost, PreviewTarget, parse_port},
};
use serde::Serialize;
use time::OffsetDateTime;

use super::workspace;
use crate::{
    context::Context,
    output::{self, CommandError, Record},
    server::Server,
};

/// How long a port is public if the user does not say.
const DEFAULT_PUBLIC_HOURS: u16 = 8;

/// List the open ports of a workspace, or share one
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow ports demo
  burrow ports demo -o json
  burrow ports demo --share 3000 --visibility public --hours 2
  burrow ports demo --share 3000 --visibility private

Each port has an address that opens in a browser. Only you can see it, unless you share it: with all
members of the organisation, or, until it expires, with everybody who knows the address.")]
pub struct Ports {
    #[command(flatten)]
    pub target: OptionalWorkspace,
    /// Change who may see this port
    #[arg(
        long,
        env = "BURROW_SHARE",
        value_name = "PORT",
        value_parser = parse_port_argument,
        requires = "visibility"
    )]
    pub share: Option<u16>,
    /// Who may see the port of --share
    #[arg(long, env = "BURROW_VISIBILITY", value_enum, requires = "share")]
    pub visibility: Option<Visibility>,
    /// For how many hours the port is public
    #[arg(
        long,
        env = "BURROW_HOURS",
        default_value_t = DEFAULT_PUBLIC_HOURS,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_PUBLIC_HOURS)),
    )]
    pub hours: u16,
}

/// Who may see a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Visibility {
    /// You
    Private,
    /// All members of the organisation
    Members,
    /// Everybody who knows the address
    Public,
}

/// The positional argument that names a workspace, or none for the only one that runs.
#[derive(Debug, Args)]
pub struct OptionalWorkspace {
    /// Name of the workspace [default: the only one of yours that runs]
    #[arg(add = ArgValueCandidates::new(super::candidates::workspaces), env = "BURROW_WORKSPACE")]
    pub workspace: Option<String>,
}

/// A port, and who may see it.
#[derive(Debug, Serialize)]
struct PortRow {
    port: u16,
    process: String,
    pid: u32,
    visibility: PortVisibility,
    #[serde(with = "time::serde::rfc3339::option")]
    public_until: Option<OffsetDateTime>,
    label: String,
    /// Where browsers see it. None: the server has no previews.
    url: Option<String>,
}

impl Ports {
    /// Prints one row per port.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        let workspace = workspace::find_or_only_running(&server, self.target.workspace.as_deref()).await?;
        if let (Some(port), Some(visibility)) = (self.share, self.visibility) {
            return share(context, &server, workspace.id, port, (visibility, self.hours)).await;
        }
        let PortList { ports } = server.ports(workspace.id).await?;
        let settings = server.port_settings(workspace.id).await?;
        let rows: Vec<PortRow> = ports.into_iter().map(|port| row(workspace.id, port, &settings)).collect();
        context.output.list(&rows)?;
        if rows.is_empty() && context.output.format.is_human() {
            context.output.say("No program listens on a port.");
        }
        Ok(())
    }
}

async fn share(
    context: &Context,
    server: &Server,
    id: WorkspaceId,
    port: u16,
    (visibility, hours): (Visibility, u16),
) -> Result<(), CommandError> {
    let known = server.port_settings(id).await?;
    let label = known.ports.iter().find(|known| known.port == port).map(|known| known.label.clone());
    let visibility = match visibility {
        Visibility::Private => PortVisibility::Private,
        Visibility::Members => PortVisibility::Members,
        Visibility::Public => PortVisibility::Public,
    };
    let public_hours = (visibility == PortVisibility::Public).then_some(hours);
    let edit = EditPort { visibility, public_hours, label: label.unwrap_or_default() };
    let settings = server.set_port(id, port, &edit).await?;
    let listening = ListeningPort { port, process: String::new(), pid: 0 };
    let known = PortSettingsList { ports: vec![settings], ..known };
    context.output.one(&row(id, listening, &known))
}

fn row(workspace: WorkspaceId, listening: ListeningPort, known: &PortSettingsList) -> PortRow {
    let ListeningPort { port, process, pid } = listening;
    let private =
        PortSettings { port, visibility: PortVisibility::Private, public_until: None, label: String::new() };
    let settings = known.ports.iter().find(|known| known.port == port).cloned().unwrap_or(private);
    let origin = |address: &protocol::api::port::PreviewAddress| {
        let (scheme, name) = (address.scheme.clone(), address.host.clone());
        PreviewHost { scheme, name, port: address.port }.origin(PreviewTarget { port, workspace })
    };
    PortRow {
        port,
        process,
        pid,
        visibility: settings.visibility,
        public_until: settings.public_until,
        label: settings.label,
        url: known.preview.as_ref().map(origin),
    }
}

/// Parses a port of the command line.
pub fn parse_port_argument(text: &str) -> Result<u16, String> {
    parse_port(text).ok_or_else(|| "expected a number from 1 to 65535".to_owned())
}

impl Record for PortRow {
    const COLUMNS: &'static [&'static str] = &["port", "process", "visibility", "label", "address"];

    fn cells(&self) -> Vec<String> {
        let visibility = match (self.visibility, self.public_until) {
            (PortVisibility::Private, _) => "private".to_owned(),
            (PortVisibility::Members, _) => "members".to_owned(),
            (PortVisibility::Public, Some(until)) => {
                format!("public for {}", remaining(until - OffsetDateTime::now_utc()))
            }
            (PortVisibility::Public, None) => "public".to_owned(),
        };
        vec![
            self.port.to_string(),
            output::printable(&self.process),
            visibility,
            output::printable(&self.label),
            self.url.clone().unwrap_or_else(|| "–".to_owned()),
        ]
    }

    fn name(&self) -> String {
        self.port.to_string()
    }

    fn id(&self) -> String {
        self.port.to_string()
    }
}

fn remaining(time: time::Duration) -> String {
    match time.whole_minutes() {
        minutes @ 120.. => format!("{} h", minutes / 60),
        minutes => format!("{} min", minutes.max(0)),
    }
}
