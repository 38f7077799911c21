//! Builds an image's files from its definition: installs Debian's packages into a tree, packs the
//! tree as a read-only file system, and puts the kernel and its modules beside it. Writes only into
//! the given build directory.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{
    KERNEL, MANIFEST, MODULES, Progress, ROOTFS,
    cache::{create_directory, make_readable, write_file},
    definition::{BUILDER_VERSION, ImageDefinition, SETUP},
    error::{ImageError, at},
    kernel, modules,
    tools::{self, BuildTool, GZIP, LZ4, MKFS_EROFS, MMDEBSTRAP, UNSHARE, XZ, ZSTD},
};

/// File name of the modules' load order: one paragraph per group.
pub const LOAD_LIST: &str = "load.list";

/// Steps of a build: a line that mmdebstrap prints, the message for users, and how much of the
/// build is done by then. Measured on two cores, where packing takes most of the time.
const STEPS: [(&str, &str, f32); 7] = [
    ("I: running apt-get update", "Reading Debian's package lists", 0.01),
    ("I: downloading packages", "Downloading packages", 0.02),
    ("I: extracting archives", "Unpacking the base system", 0.03),
    ("I: installing essential", "Installing the base system", 0.05),
    ("I: installing remaining", "Installing the image's packages", 0.11),
    ("I: running --customize-hook", "Adding the kernel and the user", 0.27),
    ("I: cleaning package lists", "Cleaning up", 0.29),
];
const PACKING: (&str, f32) = ("Packing the root file system", 0.30);
const UNPACKING: (&str, f32) = ("Unpacking the kernel", 0.99);

/// The messages of all steps, in their order.
pub fn steps() -> impl Iterator<Item = &'static str> {
    STEPS.iter().map(|(_, message, _)| *message).chain([PACKING.0, UNPACKING.0])
}

/// LZ4 at its highest level. Reads cost the same at every level, and the image is written once.
const COMPRESSION: &str = "-zlz4hc,12";
/// Bytes that are compressed together. A larger cluster compresses better, and makes small reads
/// more expensive.
const CLUSTER: &str = "-C16384";

/// Lists the packages of an image, so that users can check what runs in a workspace.
#[derive(Debug, Serialize)]
struct ImageManifest<'a> {
    image: &'a str,
    builder: u32,
    suite: &'a str,
    kernel: &'a str,
    packages: Vec<Package<'a>>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Package<'a> {
    name: &'a str,
    version: &'a str,
}

/// Builds all files of an image, and returns the directory in `work` that contains them.
pub fn build(
    definition: &ImageDefinition,
    name: &str,
    work: &Path,
    progress: &Progress<'_>,
) -> Result<PathBuf, ImageError> {
    [MMDEBSTRAP, UNSHARE, MKFS_EROFS, LZ4].iter().try_for_each(BuildTool::require)?;
    let (root, out, setup_out) = (work.join("root"), work.join("image"), work.join("setup"));
    create_directory(&out)?;
    create_directory(&setup_out)?;
    install(definition, &root, &setup_out, work, progress)?;
    write_host_files(definition, &root)?;
    let release = read_text(&setup_out.join("release"))?.trim().to_owned();
    let manifest = format_manifest(definition, name, &release, &read_text(&setup_out.join("packages"))?);
    write_file(&out.join(MANIFEST), manifest.as_bytes())?;
    collect_modules(&root.join("usr/lib/modules").join(&release), &out.join(MODULES))?;
    progress(PACKING.0, Some(PACKING.1));
    pack_root(&root, &out.join(ROOTFS), name)?;
    progress(UNPACKING.0, Some(UNPACKING.1));
    kernel::unpack(&setup_out.join("vmlinuz"), &out.join(KERNEL))?;
    for file in [ROOTFS, KERNEL] {
        make_readable(&out.join(file))?;
    }
    Ok(out)
}

fn install(
    definition: &ImageDefinition,
    root: &Path,
    setup_out: &Path,
    work: &Path,
    progress: &Progress<'_>,
) -> Result<(), ImageError> {
    let setup = work.join("setup.sh");
    write_file(&setup, SETUP.as_bytes())?;
    let user = &definition.user;
    // It mounts /proc, /sys and parts of /dev in the tree.
    let mut command = MMDEBSTRAP.isolated_command();
    command
        .env("BURROW_SETUP", &setup)
        .env("BURROW_OUT", setup_out)
        .env("BURROW_KERNEL", &definition.kernel)
        .env("BURROW_LOCALE", &definition.locale)
        .env("BURROW_LOCALES", definition.locales.join(" "))
        .env("BURROW_USER", &user.name)
        .env("BURROW_UID", user.uid.to_string())
        .env("BURROW_GID", user.gid.to_string())
        .env("BURROW_SHELL", &user.shell)
        .env("BURROW_GROUPS", user.groups.join(" "))
        .args(["--mode=root", "--variant=apt", "--format=directory"])
        .arg(format!("--include={}", definition.packages.join(",")))
        .arg("--customize-hook=sh \"$BURROW_SETUP\" \"$1\"")
        .arg(&definition.suite)
        .arg(root)
        .args(sources(definition));
    MMDEBSTRAP.run(&mut command, &mut |line| {
        if let Some((_, message, done)) = STEPS.iter().find(|(mark, ..)| line.starts_with(mark)) {
            progress(message, Some(*done));
        }
    })
}

fn sources(definition: &ImageDefinition) -> [String; 3] {
    let ImageDefinition { suite, mirror, security_mirror, .. } = definition;
    [
        format!("deb {mirror} {suite} main"),
        format!("deb {mirror} {suite}-updates main"),
        format!("deb {security_mirror} {suite}-security main"),
    ]
}

/// Writes the image's own host name and resolver files. While packages were installed, these files
/// were the building host's.
fn write_host_files(definition: &ImageDefinition, root: &Path) -> Result<(), ImageError> {
    let hostname = &definition.hostname;
    write_file(&root.join("etc/hostname"), format!("{hostname}\n").as_bytes())?;
    write_file(
        &root.join("etc/hosts"),
        format!("127.0.0.1 localhost\n127.0.1.1 {hostname}\n::1 localhost\n").as_bytes(),
    )?;
    let resolvers = root.join("etc/resolv.conf");
    if resolvers.is_symlink() {
        std::fs::remove_file(&resolvers).map_err(at("remove", &resolvers))?;
    }
    write_file(&resolvers, b"")
}

/// `listing` has one package per line: its name, a tab, and its version.
fn format_manifest(definition: &ImageDefinition, name: &str, release: &str, listing: &str) -> String {
    let mut packages: Vec<Package<'_>> = listing
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, version)| Package { name, version })
        .collect();
    packages.sort();
    let manifest = ImageManifest {
        image: name,
        builder: BUILDER_VERSION,
        suite: &definition.suite,
        kernel: release,
        packages,
    };
    // Strings and lists of strings always serialize.
    serde_json::to_string_pretty(&manifest).unwrap_or_default() + "\n"
}

/// Copies the modules for the initramfs into `out`, uncompressed, with their load order.
fn collect_modules(tree: &Path, out: &Path) -> Result<(), ImageError> {
    create_directory(out)?;
    let (dependencies, builtin) =
        (read_text(&tree.join("modules.dep"))?, read_text(&tree.join("modules.builtin"))?);
    let mut groups = Vec::new();
    for requested in modules::REQUIRED_MODULES {
        let order = modules::load_order(requested, &dependencies, &builtin)
            .map_err(|missing| ImageError::Kernel(format!("module {missing} is missing")))?;
        let mut group = String::new();
        for path in &order {
            let file = format!("{}.ko", modules::module_name(path));
            unpack_module(&tree.join(path), &out.join(&file))?;
            group.push_str(&file);
            group.push('\n');
        }
        groups.push(group);
    }
    write_file(&out.join(LOAD_LIST), groups.join("\n").as_bytes())
}

fn unpack_module(from: &Path, to: &Path) -> Result<(), ImageError> {
    let tool = match from.extension().and_then(std::ffi::OsStr::to_str) {
        Some("xz") => XZ,
        Some("zst") => ZSTD,
        Some("gz") => GZIP,
        _ => {
            std::fs::copy(from, to).map_err(at("copy", from))?;
            return make_readable(to);
        }
    };
    tools::filter(&tool, &["-dc"], from, to)?;
    make_readable(to)
}

fn pack_root(root: &Path, to: &Path, name: &str) -> Result<(), ImageError> {
    let mut command = MKFS_EROFS.command();
    // Python compares modification times to decide whether its compiled files are current.
    command
        .args([COMPRESSION, CLUSTER, "--preserve-mtime", "--quiet"])
        .arg(format!("-U{}", file_system_uuid(name)))
        .arg(to)
        .arg(root);
    MKFS_EROFS.run(&mut command, &mut |_| {})
}

/// The file system's UUID, derived from the image's name, so that builds are reproducible.
fn file_system_uuid(name: &str) -> uuid::Uuid {
    let hash = blake3::derive_key("burrow image file system", name.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

fn read_text(path: &Path) -> Result<String, ImageError> {
    std::fs::read_to_string(path).map_err(at("read", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> ImageDefinition {
        ImageDefinition::parse(super::super::BASE_DEFINITION).expect("it parses")
    }

    #[test]
    fn sources_include_updates_and_security() {
        let sources = sources(&base());
        assert_eq!(sources[1], "deb http://deb.debian.org/debian bookworm-updates main");
        assert!(sources[2].ends_with("bookworm-security main"));
    }

    #[test]
    fn manifest_sorts_packages() {
        let text = format_manifest(&base(), "base-00", "6.1", "vim\t2:9.0\nbash\t5.2\nnonsense\n");
        let value: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(value["packages"][0], serde_json::json!({"name": "bash", "version": "5.2"}));
        assert_eq!(value["packages"].as_array().map(Vec::len), Some(2));
        assert_eq!(value["kernel"], "6.1");
    }

    #[test]
    fn uuid_depends_on_the_image_name() {
        assert_eq!(file_system_uuid("base-00"), file_system_uuid("base-00"));
        assert_ne!(file_system_uuid("base-00"), file_system_uuid("base-01"));
    }

    #[test]
    fn collected_modules_have_a_load_order() {
        let directory = tempfile::tempdir().expect("a directory");
        let tree = directory.path().join("tree");
        std::fs::create_dir_all(tree.join("kernel")).expect("a directory");
        let required = modules::REQUIRED_MODULES.concat();
        let lines: Vec<String> = required.iter().map(|name| format!("kernel/{name}.ko:")).collect();
        std::fs::write(tree.join("modules.dep"), lines.join("\n")).expect("a file");
        std::fs::write(tree.join("modules.builtin"), "kernel/erofs.ko\n").expect("a file");
        for name in required {
            std::fs::write(tree.join(format!("kernel/{name}.ko")), name).expect("a file");
        }
        let out = directory.path().join("out");
        collect_modules(&tree, &out).expect("no module is missing");
        let list = read_text(&out.join(LOAD_LIST)).expect("it is there");
        assert_eq!(list, "virtio_mmio.ko\nvirtio_blk.ko\nvirtio_console.ko\nvirtio_net.ko\n\noverlay.ko\n");
        assert_eq!(read_text(&out.join("overlay.ko")).expect("it is there"), "overlay");
        assert!(!out.join("erofs.ko").exists(), "built in");
    }
}
