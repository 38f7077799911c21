//! `burrow network`: where a workspace may connect.

use clap::{Args, Subcommand};
use protocol::{
    api::network::{AllowNames, WorkspaceNetwork},
    network::{AllowedName, NetworkPolicy, NetworkRefusal, RefusedName},
};
use serde::Serialize;
use time::OffsetDateTime;

use self::policy::{PolicyOptions, bounds_text, effective_text, policy_text};
use super::workspace::{self, WorkspaceArgument};
use crate::{
    context::Context,
    output::{self, CommandError, Record},
};

pub mod class;
pub mod policy;

/// Show and change where a workspace may connect
#[derive(Debug, Args)]
pub struct Network {
    #[command(subcommand)]
    pub command: NetworkCommand,
}

/// The subcommands of `burrow network`.
#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// Show the network policy, refused names and traffic of a workspace
    #[command(after_long_help = "\
Examples:
  burrow network show demo
  burrow network show demo -o json")]
    Show {
        #[command(flatten)]
        target: WorkspaceArgument,
    },
    /// Allow names in a workspace
    #[command(after_long_help = "\
Examples:
  burrow network allow demo example.com
  burrow network allow demo '*.example.com' example.org

*.example.com allows www.example.com, and neither example.com nor a.b.example.com. A running workspace
follows within a second.")]
    Allow {
        #[command(flatten)]
        target: WorkspaceArgument,
        /// Hosts to allow, such as example.com or *.example.com
        #[arg(required = true)]
        names: Vec<AllowedName>,
    },
    /// Set the network policy of a workspace
    #[command(after_long_help = "\
Examples:
  burrow network set demo --mode none
  burrow network set demo --mode allowlist --preset git --preset registries --domain '*.example.com'
  burrow network set demo --reset

An owner of the organisation or the teacher of its class replaces the template's policy. Others narrow
it for their own workspaces. Connections that are no longer allowed are closed within a second.")]
    Set {
        #[command(flatten)]
        target: WorkspaceArgument,
        #[command(flatten)]
        policy: PolicyOptions,
        /// Use the template's policy again
        #[arg(long, env = "BURROW_RESET", conflicts_with_all = ["mode", "domain", "preset"])]
        reset: bool,
    },
}

impl Network {
    /// Runs the subcommand.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        match self.command {
            NetworkCommand::Show { target } => {
                let workspace = workspace::find(&server, &target.workspace).await?;
                let network = server.workspace_network(workspace.id).await?;
                show(context, &workspace.name, &network)
            }
            NetworkCommand::Allow { target, names } => {
                let workspace = workspace::find(&server, &target.workspace).await?;
                let network = server.allow_network_names(workspace.id, &AllowNames { names }).await?;
                context.output.say(&format!("Allowed in {}", workspace.name));
                print(context, &workspace.name, &network)
            }
            NetworkCommand::Set { target, policy, reset } => {
                let policy = if reset { None } else { Some(policy.required()?) };
                let workspace = workspace::find(&server, &target.workspace).await?;
                let network = server.set_workspace_network(workspace.id, policy).await?;
                context.output.say(&format!("Set the network policy of {}", workspace.name));
                print(context, &workspace.name, &network)
            }
        }
    }
}

fn print(context: &Context, name: &str, network: &WorkspaceNetwork) -> Result<(), CommandError> {
    context.output.one(&NetworkDetails { network, workspace: name })
}

/// Prints the policy, and for a person what was refused and what to do about it.
fn show(context: &Context, name: &str, network: &WorkspaceNetwork) -> Result<(), CommandError> {
    print(context, name, network)?;
    let Some(last) = network.refused.first().filter(|_| context.output.format.is_human()) else {
        return Ok(());
    };
    context.output.say("");
    context.output.list(&network.refused)?;
    if last.reason == NetworkRefusal::NotAllowed {
        context.output.say(&format!("Allow a name: burrow network allow {name} {}", last.name));
    }
    Ok(())
}

/// A workspace's network with all of its policies.
#[derive(Serialize)]
#[serde(transparent)]
struct NetworkDetails<'a> {
    network: &'a WorkspaceNetwork,
    #[serde(skip)]
    workspace: &'a str,
}

impl Record for NetworkDetails<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "workspace",
        "allowed",
        "organisation",
        "template",
        "granted",
        "class",
        "chosen",
        "sent",
        "received",
        "limits",
    ];

    fn cells(&self) -> Vec<String> {
        let network = self.network;
        let dash = || "–".to_owned();
        let text = |policy: Option<&NetworkPolicy>| policy.map_or_else(dash, policy_text);
        let size = |bytes: Option<u64>| bytes.map_or_else(dash, output::size);
        let (template, granted) =
            if network.is_granted { (None, Some(&network.base)) } else { (Some(&network.base), None) };
        vec![
            self.workspace.to_owned(),
            effective_text(&network.effective),
            policy_text(&network.tenant),
            text(template),
            text(granted),
            text(network.class.as_ref()),
            text(network.choice.as_ref()),
            size(network.sent_bytes),
            size(network.received_bytes),
            bounds_text(&network.bounds),
        ]
    }

    fn name(&self) -> String {
        self.workspace.to_owned()
    }

    fn id(&self) -> String {
        self.workspace.to_owned()
    }
}

impl Record for RefusedName {
    const COLUMNS: &'static [&'static str] = &["refused name", "count", "last", "reason"];

    fn cells(&self) -> Vec<String> {
        let reason = match self.reason {
            NetworkRefusal::NotAllowed => "not allowed",
            NetworkRefusal::PrivateAddress => "has private addresses",
            NetworkRefusal::WrongAddress => "the address is another's",
            NetworkRefusal::MissingName => "no name in the connection",
        };
        vec![
            output::printable(&self.name),
            self.count.to_string(),
            output::ago(self.last_at, OffsetDateTime::now_utc()),
            reason.to_owned(),
        ]
    }

    fn name(&self) -> String {
        output::printable(&self.name)
    }

    fn id(&self) -> String {
        Record::name(self)
    }
}
