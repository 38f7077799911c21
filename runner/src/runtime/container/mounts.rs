//! What a container consists of, mounted in a mount namespace of its own.
//!
//! ```text
//! /mnt                tmpfs
//!   volume/home       the volume, as a file (FUSE), which the session serves
//!   unmapped/home     its file system, for the host: mode 0700
//!   home              the same, its files belong to the container's user
//!   scratch           a file system on a file without a name
//!   root              the image
//!   run               the agent's executable
//!   etc               hosts, hostname, resolv.conf
//!   bundle            config.json
//!   oci               what the OCI runtime knows of the container
//! ```
//!
//! The host's kernel mounts this home. It was written by this kernel's own file system, and never by a
//! guest with access to the disk: see [`super::ContainerHost`].

use std::{
    ffi::OsStr,
    fmt::Write as _,
    fs::{self, File},
    io,
    net::IpAddr,
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use rustix::{
    mount::MountFlags,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use tokio::time::timeout;

use super::{
    super::{RuntimeError, cannot},
    bundle::{AGENT_NAME, Parts, USER_ID},
    idmap,
    namespace::MountNamespace,
    volume_file,
};
use crate::supervisor::messages::HomeContent;

/// A directory that every host has. Only this namespace sees what is mounted on it.
const TOP: &str = "/mnt";
/// Each network namespace sees its own here.
const NETWORK_SETTINGS: &str = "/proc/sys/net/core";
/// `e2fsck` has repaired something.
const CORRECTED: i32 = 1;
/// A full check of a large home from a distant store takes minutes.
const TOOL_TIMEOUT: Duration = Duration::from_mins(10);
/// Copies the image's first files into a home that has no owner yet. The owner is set last, so a start
/// that was interrupted copies again. Repairs work without `lost+found`.
const INITIALIZE: &str = r#"
    set -e
    [ "$(stat -c %u "$1")" = "$3" ] && exit 0
    rmdir "$1/lost+found" 2>/dev/null || true
    cp -R --preserve=mode "$2/." "$1/"
    chown -hR "$3:$3" "$1"/.[!.]* "$1"/* 2>/dev/null || true
    chmod 0755 "$1"
    sync -f "$1"
    chown "$3:$3" "$1"
"#;

/// The mounted parts of a container.
#[derive(Clone, Debug)]
pub struct Mounts {
    namespace: MountNamespace,
}

/// Names in a container.
pub struct Names {
    /// Its host name.
    pub host: String,
    /// The name servers that it may use.
    pub nameservers: Vec<IpAddr>,
}

impl Mounts {
    /// Creates the namespace and its directories.
    pub async fn create() -> Result<Self, RuntimeError> {
        let namespace = MountNamespace::create().await?;
        namespace.run(create_directories).await?;
        Ok(Self { namespace })
    }

    /// Where the parts are, for the container's configuration.
    pub fn parts() -> Parts {
        Parts { root: at("root"), home: at("home"), scratch: at("scratch"), run: at("run"), etc: at("etc") }
    }

    /// Writes the configuration, and returns its directory.
    pub async fn write_bundle(&self, config: String) -> Result<PathBuf, RuntimeError> {
        let file = at("bundle").join("config.json");
        let write = move || fs::write(file, config).map_err(cannot("write the container's configuration"));
        self.namespace.run(write).await?;
        Ok(at("bundle"))
    }

    /// A program that will run where the parts are mounted.
    pub fn command(&self, program: impl AsRef<OsStr>) -> tokio::process::Command {
        self.namespace.command(program)
    }

    /// What the OCI runtime knows of the container: nobody else sees it.
    pub fn runtime_state() -> PathBuf {
        at("oci")
    }

    /// Mounts the file that is to be served on the returned device.
    pub async fn mount_volume(&self) -> Result<File, RuntimeError> {
        self.namespace.run(|| volume_file::mount(&at("volume"))).await
    }

    /// Mounts the home, after creating, checking or growing its file system as needed. The image must be
    /// mounted, and the volume served.
    pub async fn mount_home(
        &self,
        content: HomeContent,
        home_bytes: u64,
        users: Arc<OwnedFd>,
    ) -> Result<(), RuntimeError> {
        let file = at("volume").join(volume_file::NAME);
        match content {
            HomeContent::Blank => self.create_file_system(&file, home_bytes).await?,
            HomeContent::FileSystem { bytes } if bytes < home_bytes => {
                self.check_and_grow(&file, home_bytes).await?;
            }
            HomeContent::FileSystem { .. } => self.run("e2fsck", &[&"-p", &file], CORRECTED).await?,
        }
        let home = at("unmapped/home");
        self.run("mount", &[&"-t", &"ext4", &"-o", &"loop,discard,nodev,nosuid", &file, &home], 0).await?;
        let skeleton = at("root/etc/skel");
        let arguments: [&(dyn AsRef<OsStr> + Sync); 6] =
            [&"-c", &INITIALIZE, &"sh", &home, &skeleton, &USER_ID.to_string()];
        self.run("sh", &arguments, 0).await?;
        let map = move || {
            idmap::bind_mapped(&home, &at("home"), &users).map_err(cannot("map the users of the home"))
        };
        self.namespace.run(map).await
    }

    /// Enlarges a file system that is not mounted. Unlike a mounted one, it needs a complete check before,
    /// but no capability that a host may withhold from root (`CAP_SYS_RESOURCE`).
    async fn check_and_grow(&self, file: &Path, home_bytes: u64) -> Result<(), RuntimeError> {
        self.run("e2fsck", &[&"-f", &"-p", &file], CORRECTED).await?;
        self.run("resize2fs", &[&file, &format!("{}K", home_bytes / 1024)], 0).await
    }

    /// Enlarges the file system of the mounted home. One that is as large already stays as it is.
    pub async fn grow_home(&self, home_bytes: u64) -> Result<(), RuntimeError> {
        let script = r#"exec resize2fs "$(findmnt -n -o SOURCE "$1")" "$2""#;
        let (home, size) = (at("unmapped/home"), format!("{}K", home_bytes / 1024));
        self.run("sh", &[&"-c", &script, &"sh", &home, &size], 0).await
    }

    /// Writes everything that programs have written into the volume.
    pub async fn sync_home(&self) -> Result<(), RuntimeError> {
        self.run("sync", &[&"-f", &at("unmapped/home")], 0).await
    }

    /// Mounts the image. On a kernel that cannot map its users, its files belong to nobody.
    pub async fn mount_root(&self, image: &Path, users: Arc<OwnedFd>) -> Result<(), RuntimeError> {
        let unmapped = at("unmapped/root");
        self.run("mount", &[&"-t", &"erofs", &"-o", &"loop,ro,nodev,nosuid", &image, &unmapped], 0).await?;
        let map = move || {
            let Err(error) = idmap::bind_mapped(&unmapped, &at("root"), &users) else { return Ok(()) };
            tracing::info!(%error, "the image's files belong to nobody in the container");
            let mounted = rustix::mount::mount_bind(&unmapped, at("root"));
            mounted.map_err(|errno| cannot("mount the image")(errno.into()))
        };
        self.namespace.run(map).await
    }

    /// Mounts the agent's executable, read-only.
    pub async fn mount_agent(&self, agent: PathBuf) -> Result<(), RuntimeError> {
        let mount = move || {
            let target = at("run").join(AGENT_NAME);
            File::create(&target)?;
            rustix::mount::mount_bind(agent, &target)?;
            let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
            Ok(rustix::mount::mount_remount(&target, flags, c"")?)
        };
        self.namespace.run(|| mount().map_err(cannot("mount the agent"))).await
    }

    /// Mounts the scratch disk.
    pub async fn mount_scratch(&self, disk: &File) -> Result<(), RuntimeError> {
        let file = format!("/proc/{}/fd/{}", std::process::id(), disk.as_raw_fd());
        let scratch = at("scratch");
        self.run("mount", &[&"-t", &"ext4", &"-o", &"loop,nodev,nosuid,noatime", &file, &scratch], 0).await?;
        let create = || {
            for name in ["scratch/tmp", "scratch/var-tmp"] {
                let created = fs::create_dir(at(name))
                    .and_then(|()| fs::set_permissions(at(name), fs::Permissions::from_mode(0o1777)));
                created.map_err(cannot("create a directory for temporary files"))?;
            }
            Ok(())
        };
        self.namespace.run(create).await
    }

    /// Hides the settings of a network namespace that runsc takes for those of the host's own. Since Linux
    /// 6.11 every namespace has them, and releases of runsc before August 2024 then refuse to start.
    pub async fn hide_network_settings(&self, network: io::Result<OwnedFd>) -> Result<(), RuntimeError> {
        let hide = move || {
            let enter = move_into_link_name_space(network?.as_fd(), Some(LinkNameSpaceType::Network));
            enter?;
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::RDONLY;
            Ok(rustix::mount::mount("burrow", NETWORK_SETTINGS, "tmpfs", flags, c"size=4k")?)
        };
        self.namespace.run(|| hide().map_err(cannot("hide the network's settings"))).await
    }

    /// Writes the files of `/etc` that differ between containers.
    pub async fn write_names(&self, names: &Names) -> Result<(), RuntimeError> {
        let host = &names.host;
        let mut servers = String::new();
        for server in &names.nameservers {
            let _ = writeln!(servers, "nameserver {server}");
        }
        let files = [
            ("etc/hostname", format!("{host}\n")),
            ("etc/hosts", format!("127.0.0.1 localhost\n127.0.1.1 {host}\n::1 localhost ip6-localhost\n")),
            ("etc/resolv.conf", servers),
        ];
        let write = || {
            let mut files = files.into_iter();
            files
                .try_for_each(|(name, text)| fs::write(at(name), text))
                .map_err(cannot("write the sandbox's names"))
        };
        self.namespace.run(write).await
    }

    /// Unmounts the home. When this returns, everything in it is in the volume.
    pub async fn unmount_home(&self) -> Result<(), RuntimeError> {
        // What a start that failed has not mounted is left out.
        let script =
            r#"for path; do if findmnt -n "$path" >/dev/null; then umount "$path" || exit; fi; done"#;
        let paths = ["home", "unmapped/home", "volume"].map(at);
        self.run("sh", &[&"-c", &script, &"sh", &paths[0], &paths[1], &paths[2]], 0).await
    }

    /// The same options as in a guest, so that a home has one format.
    async fn create_file_system(&self, file: &Path, home_bytes: u64) -> Result<(), RuntimeError> {
        let (size, extended) = (format!("{}k", home_bytes / 1024), "assume_storage_prezeroed=1,nodiscard");
        let arguments: [&(dyn AsRef<OsStr> + Sync); 10] =
            [&"-q", &"-F", &"-m", &"0", &"-L", &"home", &"-E", &extended, &file, &size];
        self.run("mkfs.ext4", &arguments, 0).await
    }

    /// Runs a program of the host in the namespace. `highest` is the highest exit status of a success.
    async fn run(
        &self,
        program: &str,
        arguments: &[&(dyn AsRef<OsStr> + Sync)],
        highest: i32,
    ) -> Result<(), RuntimeError> {
        let failed = |cause: String| {
            let source = io::Error::other(format!("{program}: {cause}"));
            RuntimeError::Io { action: "prepare the sandbox's disks", source }
        };
        let mut command = self.command(program);
        let output = command.args(arguments).stdin(Stdio::null()).output();
        let output =
            timeout(TOOL_TIMEOUT, output).await.map_err(|_| failed("it did not end in time".into()))?;
        let output = output.map_err(|error| failed(error.to_string()))?;
        if output.status.code().is_some_and(|status| (0..=highest).contains(&status)) {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&output.stderr);
        Err(failed(format!("{} ({})", message.lines().next().unwrap_or("it failed").trim(), output.status)))
    }
}

fn create_directories() -> Result<(), RuntimeError> {
    let options = c"mode=0755,size=4m";
    rustix::mount::mount("burrow", TOP, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options)
        .map_err(|errno| cannot("mount the sandbox's directory")(errno.into()))?;
    for (name, mode) in [
        ("volume", 0o700),
        ("unmapped", 0o700),
        ("unmapped/home", 0o700),
        ("home", 0o755),
        ("scratch", 0o755),
        ("unmapped/root", 0o700),
        ("root", 0o755),
        ("run", 0o755),
        ("etc", 0o755),
        ("bundle", 0o700),
        ("oci", 0o700),
    ] {
        let mut builder = fs::DirBuilder::new();
        builder.mode(mode).create(at(name)).map_err(cannot("create a directory of the sandbox"))?;
    }
    Ok(())
}

fn at(name: &str) -> PathBuf {
    Path::new(TOP).join(name)
}
