//! `burrow class network`: where the workspaces of a class may connect.

use clap::{Args, Subcommand};
use protocol::{
    api::network::ClassNetwork as ClassPolicies,
    network::{NetworkMode, NetworkPolicy},
};
use serde::Serialize;

use super::policy::{PolicyOptions, effective_text, policy_text};
use crate::{
    commands::class::{self, ClassArgument},
    context::Context,
    output::{CommandError, Record},
};

/// Show and change where the workspaces of a class may connect
#[derive(Debug, Args)]
pub struct ClassNetwork {
    #[command(subcommand)]
    pub command: ClassNetworkCommand,
}

/// The subcommands of `burrow class network`.
#[derive(Debug, Subcommand)]
pub enum ClassNetworkCommand {
    /// Show the network policy of a class
    #[command(after_long_help = "\
Examples:
  burrow class network show algo
  burrow class network show algo -o json")]
    Show(ClassArgument),
    /// Set the network policy of a class
    #[command(after_long_help = "\
Examples:
  burrow class network set algo --mode none
  burrow class network set algo --mode allowlist --preset registries --domain '*.example.com'
  burrow class network set algo --reset

It holds for all workspaces of the class, and does not widen what the organisation and the template
allow. Running workspaces follow within a second; connections that are no longer allowed are closed.")]
    Set {
        #[command(flatten)]
        target: ClassArgument,
        #[command(flatten)]
        policy: PolicyOptions,
        /// Restrict the class no further than its template does
        #[arg(long, env = "BURROW_RESET", conflicts_with_all = ["mode", "domain", "preset"])]
        reset: bool,
    },
}

impl ClassNetwork {
    /// Runs the subcommand.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        match self.command {
            ClassNetworkCommand::Show(target) => {
                let class = class::find(&server, &target).await?;
                let network = server.class_network(class.id).await?;
                context.output.one(&ClassDetails { network: &network, class: &class.name })
            }
            ClassNetworkCommand::Set { target, policy, reset } => {
                let policy =
                    if reset { NetworkPolicy::of_mode(NetworkMode::Open) } else { policy.required()? };
                let class = class::find(&server, &target).await?;
                let network = server.set_class_network(class.id, &policy).await?;
                context.output.say(&format!("Set the network policy of class {}", class.name));
                context.output.one(&ClassDetails { network: &network, class: &class.name })
            }
        }
    }
}

/// The policies of a class.
#[derive(Serialize)]
#[serde(transparent)]
struct ClassDetails<'a> {
    network: &'a ClassPolicies,
    #[serde(skip)]
    class: &'a str,
}

impl Record for ClassDetails<'_> {
    const COLUMNS: &'static [&'static str] = &["class", "allowed", "organisation", "template", "policy"];

    fn cells(&self) -> Vec<String> {
        let network = self.network;
        vec![
            self.class.to_owned(),
            effective_text(&network.effective),
            policy_text(&network.tenant),
            policy_text(&network.template),
            policy_text(&network.policy),
        ]
    }

    fn name(&self) -> String {
        self.class.to_owned()
    }

    fn id(&self) -> String {
        self.class.to_owned()
    }
}
