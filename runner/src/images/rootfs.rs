//! From a definition to an image's files: Debian's packages in a tree, the tree in a read-only file system, the kernel and its
//! modules beside it. Writes only into the workplace that it is given.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{
    KERNEL, MANIFEST, MODULES, Progress, ROOTFS,
    cache::{make_directory, readable, write_file},
    definition::{BUILDER_VERSION, Definition},
    error::{Error, at},
    kernel, modules,
    tools::{self, GZIP, LZ4, MKFS_EROFS, MMDEBSTRAP, Tool, XZ, ZSTD},
};

/// What is done in the tree once its packages are there.
pub const SETUP: &str = include_str!("setup.sh");
pub const LOAD_LIST: &str = "load.list";

/// What mmdebstrap says, what a person is told, and how much of the time has gone by then, as measured on two
/// cores, where packing took most.
const STEPS: [(&str, &str, f32); 7] = [
    ("I: running apt-get update", "Asking Debian for its packages", 0.01),
    ("I: downloading packages", "Downloading Debian's packages", 0.02),
    ("I: extracting archives", "Unpacking the base system", 0.03),
    ("I: installing essential", "Installing the base system", 0.05),
    ("I: installing remaining", "Installing the programs of the image", 0.11),
    ("I: running --customize-hook", "Adding the kernel and the user", 0.27),
    ("I: cleaning package lists", "Cleaning up", 0.29),
];
const PACKING: (&str, f32) = ("Packing the root file system", 0.30);
const UNPACKING: (&str, f32) = ("Unpacking the kernel", 0.99);

/// LZ4 at its strongest: reading costs the same at every strength, and the image is written once.
const COMPRESSION: &str = "-zlz4hc,12";
/// Bytes compressed together: larger packs better, and costs more for a read of little.
const CLUSTER: &str = "-C16384";

/// Which packages an image has, so that anyone can tell what runs in a workspace.
#[derive(Debug, Serialize)]
struct Manifest<'a> {
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

/// Builds all files of an image. Gives the directory that holds them, in the workplace.
pub fn build(
    definition: &Definition,
    name: &str,
    work: &Path,
    progress: &Progress<'_>,
) -> Result<PathBuf, Error> {
    [MMDEBSTRAP, MKFS_EROFS, LZ4].iter().try_for_each(Tool::require)?;
    let (root, out, notes) = (work.join("root"), work.join("image"), work.join("notes"));
    make_directory(&out)?;
    make_directory(&notes)?;
    install(definition, &root, &notes, work, progress)?;
    name_machine(definition, &root)?;
    let release = read(&notes.join("release"))?.trim().to_owned();
    let manifest = manifest(definition, name, &release, &read(&notes.join("packages"))?);
    write_file(&out.join(MANIFEST), manifest.as_bytes())?;
    collect_modules(&root.join("usr/lib/modules").join(&release), &out.join(MODULES))?;
    progress(PACKING.0, Some(PACKING.1));
    pack(&root, &out.join(ROOTFS), name)?;
    progress(UNPACKING.0, Some(UNPACKING.1));
    kernel::unpack(&notes.join("vmlinuz"), &out.join(KERNEL))?;
    for file in [ROOTFS, KERNEL] {
        readable(&out.join(file))?;
    }
    Ok(out)
}

fn install(
    definition: &Definition,
    root: &Path,
    notes: &Path,
    work: &Path,
    progress: &Progress<'_>,
) -> Result<(), Error> {
    let setup = work.join("setup.sh");
    write_file(&setup, SETUP.as_bytes())?;
    let user = &definition.user;
    let mut command = MMDEBSTRAP.command();
    command
        .env("BURROW_SETUP", &setup)
        .env("BURROW_OUT", notes)
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
        if let Some((_, sentence, done)) = STEPS.iter().find(|(sign, ..)| line.starts_with(sign)) {
            progress(sentence, Some(*done));
        }
    })
}

fn sources(definition: &Definition) -> [String; 3] {
    let Definition { suite, mirror, security_mirror, .. } = definition;
    [
        format!("deb {mirror} {suite} main"),
        format!("deb {mirror} {suite}-updates main"),
        format!("deb {security_mirror} {suite}-security main"),
    ]
}

/// After the packages: while they were installed, these files were the building machine's.
fn name_machine(definition: &Definition, root: &Path) -> Result<(), Error> {
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

/// `listing`: a name, a tab and a version in each line.
fn manifest(definition: &Definition, name: &str, release: &str, listing: &str) -> String {
    let mut packages: Vec<Package<'_>> = listing
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, version)| Package { name, version })
        .collect();
    packages.sort();
    let manifest = Manifest {
        image: name,
        builder: BUILDER_VERSION,
        suite: &definition.suite,
        kernel: release,
        packages,
    };
    // Words and lists of words always have a form.
    serde_json::to_string_pretty(&manifest).unwrap_or_default() + "\n"
}

/// The modules for the initramfs, unpacked, in one directory with the order in which they load: a paragraph for each group.
fn collect_modules(tree: &Path, out: &Path) -> Result<(), Error> {
    make_directory(out)?;
    let (dependencies, builtin) = (read(&tree.join("modules.dep"))?, read(&tree.join("modules.builtin"))?);
    let mut groups = Vec::new();
    for wanted in modules::WANTED {
        let order = modules::load_order(wanted, &dependencies, &builtin)
            .map_err(|missing| Error::Kernel(format!("it has no module {missing}")))?;
        let mut group = String::new();
        for path in &order {
            let file = format!("{}.ko", modules::name(path));
            unpack_module(&tree.join(path), &out.join(&file))?;
            group.push_str(&file);
            group.push('\n');
        }
        groups.push(group);
    }
    write_file(&out.join(LOAD_LIST), groups.join("\n").as_bytes())
}

fn unpack_module(from: &Path, to: &Path) -> Result<(), Error> {
    let tool = match from.extension().and_then(std::ffi::OsStr::to_str) {
        Some("xz") => XZ,
        Some("zst") => ZSTD,
        Some("gz") => GZIP,
        _ => {
            std::fs::copy(from, to).map_err(at("copy", from))?;
            return readable(to);
        }
    };
    tools::filter(&tool, &["-dc"], from, to)?;
    readable(to)
}

fn pack(root: &Path, to: &Path, name: &str) -> Result<(), Error> {
    let mut command = MKFS_EROFS.command();
    // Times are kept: Python tells by them whether its compiled files are current.
    command
        .args([COMPRESSION, CLUSTER, "--preserve-mtime", "--quiet"])
        .arg(format!("-U{}", identity(name)))
        .arg(to)
        .arg(root);
    MKFS_EROFS.run(&mut command, &mut |_| {})
}

/// A file system's UUID, made of the image's name rather than of chance.
fn identity(name: &str) -> uuid::Uuid {
    let hash = blake3::derive_key("burrow image file system", name.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(at("read", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Definition {
        Definition::parse(super::super::BASE_DEFINITION).expect("it parses")
    }

    #[test]
    fn updates_and_security_come_with_the_suite() {
        let sources = sources(&base());
        assert_eq!(sources[1], "deb http://deb.debian.org/debian bookworm-updates main");
        assert!(sources[2].ends_with("bookworm-security main"));
    }

    #[test]
    fn the_manifest_lists_packages_in_order() {
        let text = manifest(&base(), "base-00", "6.1", "vim\t2:9.0\nbash\t5.2\nnonsense\n");
        let value: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(value["packages"][0], serde_json::json!({"name": "bash", "version": "5.2"}));
        assert_eq!(value["packages"].as_array().map(Vec::len), Some(2));
        assert_eq!(value["kernel"], "6.1");
    }

    #[test]
    fn a_file_systems_identity_is_its_images() {
        assert_eq!(identity("base-00"), identity("base-00"));
        assert_ne!(identity("base-00"), identity("base-01"));
    }

    #[test]
    fn modules_are_collected_unpacked_with_their_order() {
        let directory = tempfile::tempdir().expect("a directory");
        let tree = directory.path().join("tree");
        std::fs::create_dir_all(tree.join("kernel")).expect("a directory");
        let wanted = modules::WANTED.concat();
        let lines: Vec<String> = wanted.iter().map(|name| format!("kernel/{name}.ko:")).collect();
        std::fs::write(tree.join("modules.dep"), lines.join("\n")).expect("a file");
        std::fs::write(tree.join("modules.builtin"), "kernel/erofs.ko\n").expect("a file");
        for name in wanted {
            std::fs::write(tree.join(format!("kernel/{name}.ko")), name).expect("a file");
        }
        let out = directory.path().join("out");
        collect_modules(&tree, &out).expect("all are there");
        let list = read(&out.join(LOAD_LIST)).expect("it is there");
        assert_eq!(list, "virtio_mmio.ko\nvirtio_blk.ko\nvirtio_console.ko\nvirtio_net.ko\n\noverlay.ko\n");
        assert_eq!(read(&out.join("overlay.ko")).expect("it is there"), "overlay");
        assert!(!out.join("erofs.ko").exists(), "built in");
    }
}
