//! `burrow admin budget`: what the organisations of this server may use.

use std::path::PathBuf;

use clap::Args;
use protocol::{
    TenantId,
    api::{budget::MAX_QUEUE_WEIGHT, internal::TenantBudgetRequest},
};

use crate::{
    commands::budget::{self, Setting, parse_setting},
    context::Context,
    output::CommandError,
    server::local::LocalServer,
};

/// Show or change what an organisation may use
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow admin budget
  burrow admin budget running=50 memory=200GiB
  burrow admin budget --queue-weight 2
  burrow admin budget --tenant 0197a3b0-0f1e-7d2c-8b3a-495867768594 vcpus=none homes=default
  burrow admin budget -o json

Run it on the host of the server, as the user that runs `burrow up`. An organisation cannot raise its own
budget; its owners set those of users and classes with `burrow budget set`.")]
pub struct Budget {
    /// New limits, such as running=50, memory=200GiB, vcpus=none or homes=default
    #[arg(value_name = "RESOURCE=LIMIT", value_parser = parse_setting)]
    pub limits: Vec<Setting>,
    /// Weight in the queue of a full server: twice the weight is twice the share
    #[arg(
        long,
        env = "BURROW_QUEUE_WEIGHT",
        value_name = "WEIGHT",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_QUEUE_WEIGHT))
    )]
    pub queue_weight: Option<u32>,
    /// Identifier of the organisation, if there are several
    #[arg(long, env = "BURROW_TENANT", value_name = "ID")]
    pub tenant: Option<TenantId>,
    /// Data directory of the server [default: as for `burrow up`]
    #[arg(long, env = "BURROW_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl Budget {
    pub(super) async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = LocalServer::find(self.data_dir.as_deref())?;
        let request = TenantBudgetRequest {
            tenant: self.tenant,
            edit: budget::edit(&self.limits),
            queue_weight: self.queue_weight,
        };
        let mut budgets = server.tenant_budgets(&request).await?.budgets;
        if !self.limits.is_empty() || self.queue_weight.is_some() {
            context.output.say("Set the budget of the organisation");
        }
        if let Some(tenant) = self.tenant {
            budgets.retain(|budget| budget.id == tenant.0);
        }
        match &budgets[..] {
            [only] => budget::show(context, only),
            all => context.output.list(all),
        }
    }
}
