//! `burrow image build`: what `burrow up` does about images, by itself.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::{
    context::Context,
    output::{self, CommandError, Format},
    up::{
        data_directory::{DataDirectory, find_agent},
        images::{self, BuiltImage},
    },
};

/// Manage the images that sandboxes boot
#[derive(Debug, Args)]
pub struct Image {
    #[command(subcommand)]
    pub command: ImageCommand,
}

/// The subcommands of `burrow image`.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Build the base image, unless the cache has it
    #[command(after_long_help = "\
Examples:
  burrow image build
  burrow image build --image-source images/base --image-cache /var/cache/burrow -o json

Needs root and a network connection.")]
    Build {
        /// Directory with the definition of the image (image.toml) [default: built into this
        /// program]
        #[arg(long, env = "BURROW_IMAGE_SOURCE", value_name = "DIR")]
        image_source: Option<PathBuf>,
        /// Directory for built images [default: images in the data directory]
        #[arg(long, env = "BURROW_IMAGE_CACHE", value_name = "DIR")]
        image_cache: Option<PathBuf>,
        /// Static agent for guests [default: next to this program, or the one of the checkout]
        #[arg(long, env = "BURROW_AGENT", value_name = "FILE")]
        agent: Option<PathBuf>,
    },
}

impl Image {
    /// Runs the subcommand.
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let ImageCommand::Build { image_source, image_cache, agent } = self.command;
        let cache = match image_cache {
            Some(cache) => cache,
            None => DataDirectory::open(None)?.images(),
        };
        let agent = find_agent(agent.as_deref(), &cache)?;
        let built = images::build(context.style, image_source, cache, agent).await?;
        print(context, &built)
    }
}

fn print(context: &Context, built: &BuiltImage) -> Result<(), CommandError> {
    match context.output.format {
        Format::Json => context.output.json(built),
        Format::Name => output::line(&built.name),
        Format::Table | Format::Wide => output::line(&built.directory.display().to_string()),
    }
}
