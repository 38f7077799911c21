//! `burrow admin network`: the network policies of the organisation and its templates.

use clap::Args;
use protocol::network::NetworkPolicy;

use crate::{
    commands::network::policy::{PolicyOptions, policy_text},
    context::Context,
    output::{CommandError, ErrorKind, Record},
};

/// Show or change the network policy of the organisation or a template
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow admin network
  burrow admin network --mode open
  burrow admin network --template base --mode allowlist --preset registries --preset git
  burrow admin network --template base

The organisation's policy holds for all workspaces: no template, teacher or user can widen it. A
template's policy holds for its workspaces, unless something else was granted to one of them. Changes
apply to running workspaces within a second.")]
pub struct Network {
    /// The template; without it, the policy of the organisation
    #[arg(long, env = "BURROW_TEMPLATE", value_name = "NAME")]
    pub template: Option<String>,
    #[command(flatten)]
    pub policy: PolicyOptions,
}

impl Network {
    pub(super) async fn run(self, context: &Context) -> Result<(), CommandError> {
        let server = context.server()?;
        let policy = match (self.template, self.policy.policy()?) {
            (None, None) => server.tenant_network().await?,
            (None, Some(policy)) => {
                let set = async || server.set_tenant_network(&policy).await;
                let policy = context.with_confirmation(&server, set).await?;
                context.output.say("Set the network policy of all workspaces");
                policy
            }
            (Some(template), None) => {
                let templates = server.templates().await?.templates;
                let found = templates.into_iter().find(|known| known.name == template);
                found.map(|template| template.network).ok_or_else(|| {
                    CommandError::new(ErrorKind::NotFound, format!("There is no template `{template}`"))
                })?
            }
            (Some(template), Some(policy)) => {
                let policy = server.set_template_network(&template, &policy).await?;
                context.output.say(&format!("Set the network policy of the template {template}"));
                policy
            }
        };
        context.output.one(&policy)
    }
}

impl Record for NetworkPolicy {
    const COLUMNS: &'static [&'static str] = &["allowed", "names"];

    fn cells(&self) -> Vec<String> {
        let names = self.names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        vec![policy_text(self), if names.is_empty() { "–".to_owned() } else { names }]
    }

    fn name(&self) -> String {
        policy_text(self)
    }

    fn id(&self) -> String {
        Record::name(self)
    }
}
