//! Images: the read-only root, the kernel and the initramfs that machines boot from, built once and kept by content.
//!
//! Knows Debian's tools and a cache directory; must not know of machines, workspaces or the controller. An image holds
//! nothing of any tenant and no secret: every machine on the host reads the same files.
//!
//! All calls block, for minutes when an image is built for the first time: call them from a thread that may
//! (`tokio::task::spawn_blocking`), and let that thread live until they return, since their programs die with it.

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

pub use definition::{BUILDER_VERSION, Definition, User};
pub use error::Error;
use error::{at, full};

/// The definition that comes with this program.
pub const BASE_DEFINITION: &str = include_str!("../../../images/base/image.toml");

const DEFINITION: &str = "image.toml";
pub(crate) const ROOTFS: &str = "rootfs.erofs";
pub(crate) const KERNEL: &str = "vmlinux";
const MODULES: &str = "modules";
const MANIFEST: &str = "manifest.json";

/// What a build takes at its height: the tree with the fetched packages, and the image beside it, with room to spare.
const ROOM_NEEDED: u64 = 2 << 30;

/// Told what is being done now, and how much of all is done by then, from 0 to 1, if that is known.
pub type Progress<'a> = dyn Fn(&str, Option<f32>) + 'a;

/// The files of one image. They never change; all machines may read them at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Names the content: the same name is the same definition, built by the same builder.
    pub name: String,
    /// An erofs file system: the root, read only.
    pub rootfs: PathBuf,
    /// An unpacked kernel, for QEMU's `-kernel`.
    pub kernel: PathBuf,
    /// The initramfs's modules and their order, for [`ensure_initramfs`].
    pub modules_dir: PathBuf,
    /// JSON: the kernel's release, and names and versions of all packages.
    pub manifest: PathBuf,
}

impl Image {
    fn at(directory: &Path, name: String) -> Self {
        Self {
            name,
            rootfs: directory.join(ROOTFS),
            kernel: directory.join(KERNEL),
            modules_dir: directory.join(MODULES),
            manifest: directory.join(MANIFEST),
        }
    }

    fn is_whole(&self) -> bool {
        let list = self.modules_dir.join(rootfs::LOAD_LIST);
        [&self.rootfs, &self.kernel, &self.manifest, &list].into_iter().all(|file| file.is_file())
    }
}

/// The image that `definition_dir/image.toml` defines; built if it is not in `cache_dir`. Building needs root and the network.
pub fn ensure_image(
    definition_dir: &Path,
    cache_dir: &Path,
    progress: &Progress<'_>,
) -> Result<Image, Error> {
    let path = definition_dir.join(DEFINITION);
    let text = std::fs::read_to_string(&path).map_err(at("read", &path))?;
    ensure_defined(&text, &path, cache_dir, progress)
}

/// As [`ensure_image`], of the definition that comes with this program.
pub fn ensure_base_image(cache_dir: &Path, progress: &Progress<'_>) -> Result<Image, Error> {
    ensure_defined(BASE_DEFINITION, Path::new("the built-in image.toml"), cache_dir, progress)
}

/// The initramfs, packed, that boots `image` with `agent`, a static program, as its first; made if it is not in `cache_dir`.
pub fn ensure_initramfs(
    image: &Image,
    agent: &Path,
    cache_dir: &Path,
    progress: &Progress<'_>,
) -> Result<PathBuf, Error> {
    initramfs::ensure(image, agent, cache_dir, progress).map_err(|error| in_cache(error, cache_dir))
}

/// The program's own base image and any initramfs for it, if they are in the cache: for who only looks.
pub fn find_built(cache_dir: &Path) -> Option<(PathBuf, PathBuf)> {
    let definition = Definition::parse(BASE_DEFINITION).ok()?;
    let name = format!("{}-{}", definition.name, definition::image_name(BASE_DEFINITION));
    let image = Image::at(&cache_dir.join(&name), name.clone());
    let mut initramfs = std::fs::read_dir(cache_dir.join("initramfs")).ok()?.flatten();
    let initramfs = initramfs.next()?.path();
    image.is_whole().then(|| (cache_dir.join(&name), initramfs))
}

/// Programs that building an image needs and this host lacks.
pub fn tools_missing() -> Vec<&'static str> {
    tools::ALL.iter().filter(|tool| tool.require().is_err()).map(|tool| tool.program).collect()
}

fn ensure_defined(
    text: &str,
    path: &Path,
    cache_dir: &Path,
    progress: &Progress<'_>,
) -> Result<Image, Error> {
    let definition =
        Definition::parse(text).map_err(|reason| Error::Definition { path: path.to_owned(), reason })?;
    let name = format!("{}-{}", definition.name, definition::image_name(text));
    let image = Image::at(&cache_dir.join(&name), name);
    if image.is_whole() {
        return Ok(image);
    }
    build(&definition, &image, cache_dir, progress).map_err(|error| in_cache(error, cache_dir))?;
    Ok(image)
}

fn build(
    definition: &Definition,
    image: &Image,
    cache_dir: &Path,
    progress: &Progress<'_>,
) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let lock = cache::lock(cache_dir, progress)?;
    if image.is_whole() {
        return Ok(());
    }
    require_room(cache_dir)?;
    let started = std::time::Instant::now();
    let work = lock.workplace()?;
    let built = rootfs::build(definition, &image.name, &work.path, progress)?;
    lock.publish(&built, &image.name)?;
    progress("The image is ready", Some(1.0));
    tracing::info!(image = image.name, seconds = started.elapsed().as_secs(), "built an image");
    Ok(())
}

fn require_room(directory: &Path) -> Result<(), Error> {
    let room = rustix::fs::statvfs(directory).map_err(|error| at("look at", directory)(error.into()))?;
    if room.f_bavail.saturating_mul(room.f_frsize) < ROOM_NEEDED { Err(full(directory)) } else { Ok(()) }
}

/// A program that met a full disk does not say whose: it works in the cache.
fn in_cache(error: Error, cache_dir: &Path) -> Error {
    match error {
        Error::DiskFull { .. } => full(cache_dir),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_in_the_cache_is_not_built_again() {
        let cache = tempfile::tempdir().expect("a directory");
        let name = format!("base-{}", definition::image_name(BASE_DEFINITION));
        let image = Image::at(&cache.path().join(&name), name);
        std::fs::create_dir_all(&image.modules_dir).expect("a directory");
        for file in
            [&image.rootfs, &image.kernel, &image.manifest, &image.modules_dir.join(rootfs::LOAD_LIST)]
        {
            std::fs::write(file, "").expect("a file");
        }
        let found = ensure_base_image(cache.path(), &|text, _| panic!("nothing is to be done, yet: {text}"));
        assert_eq!(found.expect("it is there"), image);
    }

    #[test]
    fn a_wrong_definition_is_refused_before_anything_is_made() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join(DEFINITION), "name = 1").expect("a file");
        let error = ensure_image(directory.path(), &directory.path().join("cache"), &|_, _| {})
            .expect_err("it is wrong");
        assert!(matches!(error, Error::Definition { .. }), "{error}");
        assert!(!directory.path().join("cache").exists());
    }

    /// Builds the real image: root, the network and some minutes. `BURROW_IMAGES` names a cache to keep.
    #[test]
    #[ignore = "needs root, the network and minutes"]
    fn the_base_image_builds() {
        let temporary = tempfile::tempdir().expect("a directory");
        let cache =
            std::env::var_os("BURROW_IMAGES").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
        let started = std::time::Instant::now();
        let tell = |text: &str, done: Option<f32>| {
            eprintln!("{:6.1} s  {done:?}  {text}", started.elapsed().as_secs_f32());
        };
        let image = ensure_base_image(&cache, &tell).unwrap_or_else(|error| panic!("{error}"));
        assert!(image.is_whole());
        let manifest = std::fs::read_to_string(&image.manifest).expect("it is there");
        for package in ["bash", "nodejs", "ripgrep"] {
            assert!(manifest.contains(&format!("\"name\": \"{package}\"")), "{package}");
        }
        if let Some(agent) = std::env::var_os("BURROW_AGENT") {
            let initramfs = ensure_initramfs(&image, Path::new(&agent), &cache.join("initramfs"), &tell);
            eprintln!("{}", initramfs.unwrap_or_else(|error| panic!("{error}")).display());
        }
    }
}
