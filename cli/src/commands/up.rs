//! `burrow up`: its options and the parts that it starts are in [`crate::up`].

use clap::Args;

use crate::{context::Context, output::CommandError, up::options::UpOptions};

/// Run the whole system on this computer
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow up
  burrow up --port 9000 --data-dir /srv/burrow
  burrow up --listen 0.0.0.0 --tls self
  burrow up --listen 0.0.0.0 --port 443 --public-url https://burrow.example.org \\
    --tls-cert /etc/burrow/fullchain.pem --tls-key /etc/burrow/privkey.pem
  burrow up --database-url postgres://burrow@db/burrow --store s3://bucket/burrow --master-key /etc/burrow.key
  burrow up --master-key-service https://vault:8200 --vault-token-file /run/burrow/token

Starts the database, the controller and the gateway, and prints a link to sign in. It runs in the
foreground. Ctrl-C saves all homes and exits; a second Ctrl-C exits immediately.")]
pub struct Up {
    #[command(flatten)]
    options: UpOptions,
}

impl Up {
    /// Starts everything, and waits for Ctrl-C or for a part that fails.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        // Boxed, because starting everything makes the future large.
        Box::pin(crate::up::run(context, self.options)).await
    }
}
