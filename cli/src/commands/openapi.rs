//! `burrow openapi`: the description of the API.

use clap::Args;

use super::Context;
use crate::output::{self, CommandError};

/// Print the OpenAPI document of the API
#[derive(Debug, Args)]
#[command(hide = true)]
pub struct Openapi {}

impl Openapi {
    /// Prints the document as JSON.
    #[expect(clippy::unused_async, reason = "all commands have the same signature")]
    pub async fn run(self, _context: &Context) -> Result<(), CommandError> {
        let document = controller::schema::openapi().to_pretty_json();
        output::line(
            &document
                .map_err(|error| CommandError::error("Cannot write the OpenAPI document").because(&error))?,
        )
    }
}
