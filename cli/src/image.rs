//! The role `image build`: what `up` does about images, for itself.

use crate::{
    arguments,
    commands::Context,
    failure::Failure,
    output::{self, Format},
    up::{
        images::{self, Built},
        place::{self, DataDirectory},
    },
};

pub async fn image(context: &Context, command: arguments::Image) -> Result<(), Failure> {
    let arguments::Image::Build { image_source, image_cache, agent } = command;
    let agent = place::agent(agent.as_deref())?;
    let cache = match image_cache {
        Some(cache) => cache,
        None => DataDirectory::open(None)?.images(),
    };
    let built = images::build(context.style, image_source, cache, agent).await?;
    print(context, &built)
}

fn print(context: &Context, built: &Built) -> Result<(), Failure> {
    match context.output.format {
        Format::Json => context.output.json(built),
        Format::Name => output::line(&built.name),
        Format::Table | Format::Wide => output::line(&built.directory.display().to_string()),
    }
}
