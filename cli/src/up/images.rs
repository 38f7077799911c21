//! What machines boot from: found or built before anything is started.

use std::{collections::BTreeMap, path::PathBuf};

use runner::images::{ensure_base_image, ensure_image, ensure_initramfs};
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{SPACE_NEEDED_FOR_IMAGE, panicked, place, place::DataDirectory};
use crate::{
    arguments::{Runtime, Up},
    failure::Failure,
    progress::{Step, Style},
};

/// What templates call it.
pub const BASE: &str = "base";

pub struct Images {
    /// Built images' directories.
    pub by_name: BTreeMap<String, PathBuf>,
    pub initramfs: PathBuf,
    pub agent: PathBuf,
}

/// What was built or found.
#[derive(Debug, serde::Serialize)]
pub struct Built {
    pub name: String,
    pub directory: PathBuf,
    pub initramfs: PathBuf,
}

impl Images {
    pub async fn prepare(style: Style, up: &Up, data: &DataDirectory) -> Result<Self, Failure> {
        let agent = place::agent(up.agent.as_deref())?;
        if up.runtime == Runtime::Fake {
            let by_name = BTreeMap::from([(BASE.to_owned(), PathBuf::new())]);
            return Ok(Self { by_name, initramfs: PathBuf::new(), agent });
        }
        let cache = up.image_cache.clone().unwrap_or_else(|| data.images());
        if !cache.is_dir() {
            data.check_space(SPACE_NEEDED_FOR_IMAGE)?;
        }
        let built = build(style, up.image_source.clone(), cache, agent.clone()).await?;
        let by_name = BTreeMap::from([(BASE.to_owned(), built.directory)]);
        Ok(Self { by_name, initramfs: built.initramfs, agent })
    }
}

/// Words of progress that wait to be shown.
const SENTENCES: usize = 16;

/// Image and initramfs, from the cache or built. `source`: a directory with an `image.toml`; else the one in this program.
pub async fn build(
    style: Style,
    source: Option<PathBuf>,
    cache: PathBuf,
    agent: PathBuf,
) -> Result<Built, Failure> {
    let mut step = Step::begin(style, "Preparing the base image");
    let (tell, mut told) = mpsc::channel::<String>(SENTENCES);
    let building = spawn_blocking(move || {
        let progress = |sentence: &str, done: Option<f32>| {
            let percent = done.map(|done| format!("{:.0} % · ", done * 100.0)).unwrap_or_default();
            // Whoever reads no longer is not told.
            let _ = tell.blocking_send(format!("{percent}{sentence}"));
        };
        let image = match source {
            Some(source) => ensure_image(&source, &cache, &progress)?,
            None => ensure_base_image(&cache, &progress)?,
        };
        let initramfs = ensure_initramfs(&image, &agent, &cache.join("initramfs"), &progress)?;
        let directory = cache.join(&image.name);
        Ok::<_, runner::images::Error>(Built { name: image.name, directory, initramfs })
    });
    while let Some(sentence) = told.recv().await {
        step.detail(&sentence);
    }
    let built = building.await.map_err(panicked)??;
    step.done();
    Ok(built)
}
