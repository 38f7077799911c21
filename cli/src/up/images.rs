//! The image and the initramfs that sandboxes boot. They are found or built before anything is
//! started.

use std::{collections::BTreeMap, path::PathBuf};

use runner::images::{ensure_base_image, ensure_image, ensure_initramfs};
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{
    MIN_FREE_BYTES_FOR_IMAGE,
    data_directory::{DataDirectory, find_agent},
    options::{Runtime, UpOptions},
    task_panicked,
};
use crate::output::{
    CommandError,
    progress::{Step, Style},
};

/// The name of the base image in templates.
pub const BASE: &str = "base";

/// Everything that a sandbox boots.
pub struct Images {
    /// Directories of the built images, by name.
    pub by_name: BTreeMap<String, PathBuf>,
    /// File of the initramfs.
    pub initramfs: PathBuf,
    /// File of the static agent.
    pub agent: PathBuf,
}

/// An image that was built or found in the cache. `burrow image build -o json` prints it.
#[derive(Debug, serde::Serialize)]
pub struct BuiltImage {
    pub name: String,
    pub directory: PathBuf,
    pub initramfs: PathBuf,
}

impl Images {
    /// Finds or builds the base image. The fake runtime needs none.
    pub async fn prepare(style: Style, up: &UpOptions, data: &DataDirectory) -> Result<Self, CommandError> {
        let agent = find_agent(up.agent.as_deref(), data.path())?;
        if up.runtime == Runtime::Fake {
            let by_name = BTreeMap::from([(BASE.to_owned(), PathBuf::new())]);
            return Ok(Self { by_name, initramfs: PathBuf::new(), agent });
        }
        let cache = up.image_cache.clone().unwrap_or_else(|| data.images());
        if !cache.is_dir() {
            data.check_free_space(MIN_FREE_BYTES_FOR_IMAGE)?;
        }
        let built = build(style, up.image_source.clone(), cache, agent.clone()).await?;
        let by_name = BTreeMap::from([(BASE.to_owned(), built.directory)]);
        Ok(Self { by_name, initramfs: built.initramfs, agent })
    }
}

/// Progress messages that wait to be shown.
const QUEUED_MESSAGES: usize = 16;

/// Finds the image and the initramfs in the cache, or builds them. `source`: a directory with an
/// `image.toml`; by default, the one that is built into this program.
pub async fn build(
    style: Style,
    source: Option<PathBuf>,
    cache: PathBuf,
    agent: PathBuf,
) -> Result<BuiltImage, CommandError> {
    let mut step = Step::begin(style, "Preparing the base image");
    let (sender, mut receiver) = mpsc::channel::<String>(QUEUED_MESSAGES);
    let building = spawn_blocking(move || {
        let progress = |message: &str, done: Option<f32>| {
            let percent = done.map(|done| format!("{:.0} % · ", done * 100.0)).unwrap_or_default();
            // If nobody reads any more, the message is dropped.
            let _ = sender.blocking_send(format!("{percent}{message}"));
        };
        let image = match source {
            Some(source) => ensure_image(&source, &cache, &progress)?,
            None => ensure_base_image(&cache, &progress)?,
        };
        let initramfs = ensure_initramfs(&image, &agent, &cache.join("initramfs"), &progress)?;
        let directory = cache.join(&image.name);
        Ok::<_, runner::images::ImageError>(BuiltImage { name: image.name, directory, initramfs })
    });
    while let Some(message) = receiver.recv().await {
        step.detail(&message);
    }
    let built = building.await.map_err(task_panicked)??;
    step.done();
    Ok(built)
}
