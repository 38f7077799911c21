//! Images: the read-only root, the kernel and the initramfs that sandboxes boot from. They are
//! built once and cached by content.
//!
//! Knows Debian's tools and a cache directory; must not know sandboxes, workspaces or the
//! controller. An image contains nothing of any tenant and no secret: all sandboxes on the host
//! read the same files.
//!
//! All functions block, for minutes when an image is built for the first time. Call them in
//! `tokio::task::spawn_blocking`, and keep that thread alive until they return: the programs that
//! they start die with it.

mod cache;
mod cpio;
mod definition;
mod error;
mod initramfs;
mod kernel;
mod modules;
mod rootfs;
mod tools;

use std::path::{Path, PathBuf};

pub use definition::{BUILDER_VERSION, GuestUser, ImageDefinition};
pub use error::ImageError;
use error::{at, full};

/// The definition of the base image, built into this program.
pub const BASE_DEFINITION: &str = include_str!("../../../images/base/image.toml");

const DEFINITION_FILE: &str = "image.toml";
pub(crate) const ROOTFS: &str = "rootfs.erofs";
pub(crate) const KERNEL: &str = "vmlinux";
const MODULES: &str = "modules";
const MANIFEST: &str = "manifest.json";

/// Disk space that a build needs at its peak: the tree with the downloaded packages, the image, and
/// a reserve.
const MIN_FREE_BYTES: u64 = 2 << 30;

/// Called with what is being done, and with how much of the whole build is done (0 to 1), if that
/// is known.
pub type Progress<'a> = dyn Fn(&str, Option<f32>) + 'a;

/// The files of one image. They never change, and all sandboxes share them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Identifies the content: the same definition built by the same builder has the same name.
    pub name: String,
    /// The read-only root, an erofs file system.
    pub rootfs: PathBuf,
    /// An unpacked kernel, for QEMU's `-kernel`.
    pub kernel: PathBuf,
    /// The kernel modules for the initramfs and their load order, see [`ensure_initramfs`].
    pub modules_dir: PathBuf,
    /// JSON: the kernel's release, and the names and versions of all packages.
    pub manifest: PathBuf,
}

impl Image {
    fn in_directory(directory: &Path, name: String) -> Self {
        Self {
            name,
            rootfs: directory.join(ROOTFS),
            kernel: directory.join(KERNEL),
            modules_dir: directory.join(MODULES),
            manifest: directory.join(MANIFEST),
        }
    }

    fn is_complete(&self) -> bool {
        let list = self.modules_dir.join(rootfs::LOAD_LIST);
        [&self.rootfs, &self.kernel, &self.manifest, &list].into_iter().all(|file| file.is_file())
    }
}

/// Returns the image that `definition_dir/image.toml` defines, and builds it if it is not in
/// `cache_dir`. Building needs root and the network.
pub fn ensure_image(
    definition_dir: &Path,
    cache_dir: &Path,
    progress: &Progress<'_>,
) -> Result<Image, ImageError> {
    let path = definition_dir.join(DEFINITION_FILE);
    let text = std::fs::read_to_string(&path).map_err(at("read", &path))?;
    ensure_definition(&text, &path, cache_dir, progress)
}

/// Like [`ensure_image`], for the built-in base definition.
pub fn ensure_base_image(cache_dir: &Path, progress: &Progress<'_>) -> Result<Image, ImageError> {
    ensure_definition(BASE_DEFINITION, Path::new("the built-in image.toml"), cache_dir, progress)
}

/// Returns the initramfs that boots `image` with `agent`, a statically linked program, as its first
/// process. Builds it if it is not in `cache_dir`.
pub fn ensure_initramfs(
    image: &Image,
    agent: &Path,
    cache_dir: &Path,
    progress: &Progress<'_>,
) -> Result<PathBuf, ImageError> {
    initramfs::ensure(image, agent, cache_dir, progress).map_err(|error| in_cache(error, cache_dir))
}

/// Finds the base image and any initramfs in the cache, without building or locking.
pub fn find_cached_image(cache_dir: &Path) -> Option<(PathBuf, PathBuf)> {
    let definition = ImageDefinition::parse(BASE_DEFINITION).ok()?;
    let name = format!("{}-{}", definition.name, definition::hash_definition(BASE_DEFINITION));
    let image = Image::in_directory(&cache_dir.join(&name), name.clone());
    let mut initramfs = std::fs::read_dir(cache_dir.join("initramfs")).ok()?.flatten();
    let initramfs = initramfs.next()?.path();
    image.is_complete().then(|| (cache_dir.join(&name), initramfs))
}

/// The messages of a build's steps, in their order: what [`Progress`] is called with.
pub fn build_steps() -> impl Iterator<Item = &'static str> {
    rootfs::steps().chain([initramfs::BUILDING])
}

/// Programs that a build needs and that are not installed.
pub fn missing_tools() -> Vec<&'static str> {
    tools::ALL.iter().filter(|tool| tool.require().is_err()).map(|tool| tool.program).collect()
}

fn ensure_definition(
    text: &str,
    path: &Path,
    cache_dir: &Path,
    progress: &Progress<'_>,
) -> Result<Image, ImageError> {
    let definition = ImageDefinition::parse(text)
        .map_err(|reason| ImageError::Definition { path: path.to_owned(), reason })?;
    let name = format!("{}-{}", definition.name, definition::hash_definition(text));
    let image = Image::in_directory(&cache_dir.join(&name), name);
    if image.is_complete() {
        return Ok(image);
    }
    build(&definition, &image, cache_dir, progress).map_err(|error| in_cache(error, cache_dir))?;
    Ok(image)
}

fn build(
    definition: &ImageDefinition,
    image: &Image,
    cache_dir: &Path,
    progress: &Progress<'_>,
) -> Result<(), ImageError> {
    if !rustix::process::geteuid().is_root() {
        return Err(ImageError::NotRoot);
    }
    let lock = cache::lock(cache_dir, progress)?;
    if image.is_complete() {
        return Ok(());
    }
    check_free_space(cache_dir)?;
    let started = std::time::Instant::now();
    let work = lock.build_directory()?;
    let built = rootfs::build(definition, &image.name, &work.path, progress)?;
    lock.publish(&built, &image.name)?;
    progress("The image is ready", Some(1.0));
    tracing::info!(image = image.name, seconds = started.elapsed().as_secs(), "built an image");
    Ok(())
}

fn check_free_space(directory: &Path) -> Result<(), ImageError> {
    let disk = rustix::fs::statvfs(directory)
        .map_err(|error| at("read the free space of", directory)(error.into()))?;
    if disk.f_bavail.saturating_mul(disk.f_frsize) < MIN_FREE_BYTES { Err(full(directory)) } else { Ok(()) }
}

/// A program that finds a full disk does not say which; it works in the cache.
fn in_cache(error: ImageError, cache_dir: &Path) -> ImageError {
    match error {
        ImageError::DiskFull { .. } => full(cache_dir),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_image_is_not_built_again() {
        let cache = tempfile::tempdir().expect("a directory");
        let name = format!("base-{}", definition::hash_definition(BASE_DEFINITION));
        let image = Image::in_directory(&cache.path().join(&name), name);
        std::fs::create_dir_all(&image.modules_dir).expect("a directory");
        for file in
            [&image.rootfs, &image.kernel, &image.manifest, &image.modules_dir.join(rootfs::LOAD_LIST)]
        {
            std::fs::write(file, "").expect("a file");
        }
        let found = ensure_base_image(cache.path(), &|text, _| panic!("unexpected progress: {text}"));
        assert_eq!(found.expect("it is there"), image);
    }

    #[test]
    fn invalid_definition_creates_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join(DEFINITION_FILE), "name = 1").expect("a file");
        let error = ensure_image(directory.path(), &directory.path().join("cache"), &|_, _| {})
            .expect_err("it is wrong");
        assert!(matches!(error, ImageError::Definition { .. }), "{error}");
        assert!(!directory.path().join("cache").exists());
    }

    /// Builds the real image: root, the network and some minutes. `BURROW_IMAGES` names a cache to
    /// keep.
    #[test]
    #[ignore = "needs root, the network and minutes"]
    fn base_image_builds() {
        let temporary = tempfile::tempdir().expect("a directory");
        let cache =
            std::env::var_os("BURROW_IMAGES").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
        let started = std::time::Instant::now();
        let print = |text: &str, done: Option<f32>| {
            eprintln!("{:6.1} s  {done:?}  {text}", started.elapsed().as_secs_f32());
        };
        let image = ensure_base_image(&cache, &print).unwrap_or_else(|error| panic!("{error}"));
        assert!(image.is_complete());
        let manifest = std::fs::read_to_string(&image.manifest).expect("it is there");
        for package in ["bash", "nodejs", "ripgrep"] {
            assert!(manifest.contains(&format!("\"name\": \"{package}\"")), "{package}");
        }
        if let Some(agent) = std::env::var_os("BURROW_AGENT") {
            let initramfs = ensure_initramfs(&image, Path::new(&agent), &cache.join("initramfs"), &print);
            eprintln!("{}", initramfs.unwrap_or_else(|error| panic!("{error}")).display());
        }
    }
}
