//! `burrow admin destroy-tenant-key`: makes every home of the user's organisation unreadable.

use clap::Args;
use protocol::api::admin::DestroyTenantKey as DestroyRequest;

use crate::{
    context::Context,
    output::{CommandError, ErrorKind, Format},
};

/// Destroy the key of all homes of your organisation in a week
#[derive(Debug, Args)]
#[command(
    alias = "forget-tenant", // language: allow
    after_long_help = "\
Examples:
  burrow admin destroy-tenant-key
  burrow admin destroy-tenant-key --name \"Example University\"
  burrow admin destroy-tenant-key --undo

The key is destroyed after seven days. Until then workspaces continue as before, every user sees the
date, and --undo keeps the key. Then running workspaces are ended without being saved, and every home,
snapshot and backup of the organisation is unreadable for good, wherever it is stored. The command asks
for the name of the organisation and for your password; without a terminal, give the name with --name,
and the password with `burrow auth confirm --password -`."
)]
pub struct DestroyTenantKey {
    /// Name of the organisation, instead of typing it when asked
    #[arg(long, env = "BURROW_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// Keep the key that is going to be destroyed
    #[arg(long, env = "BURROW_UNDO", conflicts_with = "name")]
    pub undo: bool,
}

impl DestroyTenantKey {
    pub(super) async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        if self.undo {
            server.keep_tenant_key().await?;
            context.output.say("The key is kept");
            return Ok(());
        }
        let user = server.session().await?.user;
        let tenant = &user.tenant_name;
        let action =
            format!("destroys the key of every home of {tenant} in a week: no backup can be read again");
        // There is no `--yes`: an action with this effect takes the name of what it destroys.
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
        let request = DestroyRequest { tenant: user.tenant };
        let key =
            context.with_confirmation(&server, async || server.destroy_tenant_key(&request).await).await?;
        if context.output.format == Format::Json {
            return context.output.json(&key);
        }
        let date = key.destroy_at.map(|at| at.date().to_string()).unwrap_or_default();
        context.output.say(&format!("The key of {tenant} is going to be destroyed on {date}"));
        context.output.say("To keep it: burrow admin destroy-tenant-key --undo");
        Ok(())
    }
}
