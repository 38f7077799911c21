//! `burrow admin destroy-tenant-key`: makes every home of the user's organisation unreadable.

use clap::Args;
use protocol::api::admin::DestroyTenantKey as DestroyRequest;

use crate::{
    context::Context,
    output::{CommandError, ErrorKind, progress::Step},
};

/// Destroy the key of all homes of your organisation permanently
#[derive(Debug, Args)]
#[command(
    alias = "forget-tenant", // language: allow
    after_long_help = "\
Examples:
  burrow admin destroy-tenant-key
  burrow admin destroy-tenant-key --name \"Example University\"

Running workspaces are ended at once and are not saved. Every home, snapshot and backup of the
organisation becomes unreadable, wherever it is stored. This cannot be undone. The command asks for
the name of the organisation; without a terminal, give it with --name."
)]
pub struct DestroyTenantKey {
    /// Name of the organisation, instead of typing it when asked
    #[arg(long, env = "BURROW_NAME", value_name = "NAME")]
    pub name: Option<String>,
}

impl DestroyTenantKey {
    pub(super) async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        let user = server.session().await?.user;
        let tenant = &user.tenant_name;
        let action =
            format!("destroys the key of every home of {tenant}: no snapshot or backup can be read again");
        // There is no `--yes`: an action that cannot be undone takes the name of what it destroys.
        match &self.name {
            Some(name) if name == tenant => {}
            Some(_) => {
                let what = "Cannot destroy the key: --name is not the name of your organisation";
                return Err(CommandError::new(ErrorKind::Usage, what));
            }
            None if !context.can_prompt => {
                return Err(CommandError::new(ErrorKind::Usage, format!("This {action}"))
                    .cause("the name of the organisation is missing")
                    .hint("add --name NAME"));
            }
            None => context.confirm(false, &action, tenant)?,
        }
        let step = Step::begin(context.style, "Ending workspaces and destroying the key");
        server.destroy_tenant_key(&DestroyRequest { tenant: user.tenant }).await?;
        step.done();
        context.output.say(&format!("Destroyed the key of {tenant}. Its homes can no longer be read."));
        Ok(())
    }
}
