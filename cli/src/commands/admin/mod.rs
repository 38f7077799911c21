//! `burrow admin`: what the owner of an installation decides.

use clap::{Args, Subcommand};

use self::{
    budget::Budget, destroy_tenant_key::DestroyTenantKey, disk::Disk, gc::Gc, network::Network,
    retention::Retention, rotate_master_key::RotateMasterKey, sign_in_link::SignInLink,
};
use crate::{context::Context, output::CommandError};

mod budget;
mod destroy_tenant_key;
mod disk;
mod gc;
mod network;
mod retention;
mod rotate_master_key;
pub mod sign_in_link;

/// Administer the installation
#[derive(Debug, Args)]
pub struct Admin {
    #[command(subcommand)]
    pub command: AdminCommand,
}

/// The subcommands of `burrow admin`.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    SignInLink(SignInLink),
    Network(Network),
    Budget(Budget),
    Retention(Retention),
    Disk(Disk),
    Gc(Gc),
    RotateMasterKey(Box<RotateMasterKey>),
    DestroyTenantKey(DestroyTenantKey),
}

impl Admin {
    /// Runs the subcommand.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        match self.command {
            AdminCommand::SignInLink(link) => link.run(context).await,
            AdminCommand::Budget(budget) => budget.run(context).await,
            AdminCommand::Network(network) => network.run(context).await,
            AdminCommand::Retention(retention) => retention.run(context).await,
            AdminCommand::Disk(disk) => disk.run(context).await,
            AdminCommand::Gc(gc) => gc.run(context).await,
            AdminCommand::RotateMasterKey(rotate) => rotate.run(context).await,
            AdminCommand::DestroyTenantKey(destroy) => destroy.run(context).await,
        }
    }
}
