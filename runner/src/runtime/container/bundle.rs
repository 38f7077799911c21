//! The OCI configuration of a container. Pure: from what the runner has prepared to the text of
//! `config.json`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Kernel, seccomp};

/// Where the container's parts are mounted, in the mount namespace of its runner.
pub struct Parts {
    /// The image's root file system, read-only.
    pub root: PathBuf,
    /// The home, with the container's user as its owner.
    pub home: PathBuf,
    /// Files that do not outlive the container: the directories `tmp` and `var-tmp`.
    pub scratch: PathBuf,
    /// A directory with the agent's executable, [`AGENT_NAME`], on which something is mounted.
    pub run: PathBuf,
    /// The files `hosts`, `hostname` and `resolv.conf`.
    pub etc: PathBuf,
}

/// What a container is made of.
pub struct Bundle<'a> {
    /// Which kernel its programs have.
    pub kernel: Kernel,
    /// Its host name.
    pub name: &'a str,
    /// Its mounts.
    pub parts: Parts,
    /// The host's user of its own user, see [`USER_ID`].
    pub user: u32,
    /// The host's user of its root, which runs nothing.
    pub root_user: u32,
    /// Path of its network namespace, if it has one that was made before.
    pub network: &'a str,
    /// Its cgroup, as OCI runtimes take it.
    pub cgroup: &'a str,
    /// Files that a process may have open. Not more than the runner may have.
    pub open_files: u64,
    /// Processes and threads that it may have.
    pub pids: u32,
    /// Size of `/dev/shm`, in MiB.
    pub shared_memory_mib: u32,
}

/// User and group of the account in the image.
pub const USER_ID: u32 = 1000;
/// Home of the account in the image.
pub const HOME: &str = "/home/dev";
/// Where the agent's executable is in the container.
const AGENT: &str = "/run/workspace-agent";
/// Its name.
pub const AGENT_NAME: &str = "workspace-agent";
/// The descriptor of the agent's end of the channel to the runner: the first that an OCI runtime passes on.
pub const AGENT_SOCKET: i32 = 3;
/// As in a guest: programs that use select() break above this. Others raise the limit.
const SOFT_OPEN_FILES: u64 = 1024;
/// Added to the programs' score when the kernel selects what to end, as for a VMM.
const OOM_SCORE: i32 = 500;

/// Files of /proc that show or change the host.
const MASKED: [&str; 15] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/bus",
    "/proc/fs",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/key-users",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/sysrq-trigger",
    "/proc/kallsyms",
];
const READ_ONLY: [&str; 2] = ["/proc/irq", "/proc/sys"];

impl Bundle<'_> {
    /// The configuration, version 1.0.2.
    pub fn config(&self) -> Value {
        let mut config = json!({
            "ociVersion": "1.0.2",
            "hostname": self.name,
            "root": { "path": self.parts.root, "readonly": true },
            "process": self.process(),
            "mounts": self.mounts(),
            "linux": {
                "namespaces": namespaces(self.network),
                "uidMappings": self.id_mappings(),
                "gidMappings": self.id_mappings(),
                "cgroupsPath": self.cgroup,
                // Beside the harmless ones that every OCI runtime adds.
                "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
                "maskedPaths": MASKED,
                "readonlyPaths": READ_ONLY,
                "rootfsPropagation": "private",
            },
        });
        // gVisor's kernel answers every call itself, and has a list of those that it makes.
        if self.kernel == Kernel::Host {
            config["linux"]["seccomp"] = seccomp::profile();
        }
        config
    }

    /// The agent, as the container's user. It is the container's first process.
    fn process(&self) -> Value {
        json!({
            "terminal": false,
            "user": { "uid": USER_ID, "gid": USER_ID },
            "args": [AGENT, "--serve-descriptor", AGENT_SOCKET.to_string(), "--home", HOME],
            "env": ["USER=dev", "PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/home/dev"],
            "cwd": "/",
            "noNewPrivileges": true,
            "oomScoreAdj": OOM_SCORE,
            "capabilities": {
                "bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": [],
            },
            "rlimits": self.limits(),
        })
    }

    fn limits(&self) -> Vec<Value> {
        let limit = |kind: &str, soft: u64, hard: u64| json!({ "type": kind, "soft": soft, "hard": hard });
        let mut limits = vec![
            limit("RLIMIT_NOFILE", self.open_files.min(SOFT_OPEN_FILES), self.open_files),
            limit("RLIMIT_CORE", 0, 0),
        ];
        // The cgroup's limit would end gVisor's kernel, and so the workspace. On the host's kernel this
        // limit would count all processes of the user, whichever container they are in.
        if self.kernel == Kernel::Gvisor {
            limits.push(limit("RLIMIT_NPROC", self.pids.into(), self.pids.into()));
        }
        limits
    }

    /// Only the container's user and its root exist on the host.
    fn id_mappings(&self) -> Value {
        json!([
            { "containerID": 0, "hostID": self.root_user, "size": 1 },
            { "containerID": USER_ID, "hostID": self.user, "size": 1 },
        ])
    }

    fn mounts(&self) -> Value {
        let Parts { home, scratch, run, etc, .. } = &self.parts;
        let shared_memory = format!("size={}m", self.shared_memory_mib);
        json!([
            mount("proc", "/proc", &["nosuid", "noexec", "nodev"]),
            mount("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=64k"]),
            mount("devpts", "/dev/pts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
            mount("tmpfs", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", &shared_memory]),
            mount("mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
            // The container's network namespace is not its own, so it may not mount the real one.
            mount("tmpfs", "/sys", &["nosuid", "noexec", "nodev", "ro", "mode=555", "size=4k"]),
            // A directory of the image: gVisor mounts nothing on what it has itself mounted.
            mount_tree(run, "/run", &["ro", "nosuid", "nodev"]),
            bind(home, HOME, &["rw", "nosuid", "nodev"]),
            bind(&scratch.join("tmp"), "/tmp", &["rw", "nosuid", "nodev"]),
            bind(&scratch.join("var-tmp"), "/var/tmp", &["rw", "nosuid", "nodev"]),
            bind(&etc.join("hosts"), "/etc/hosts", &["ro", "nosuid", "nodev", "noexec"]),
            bind(&etc.join("hostname"), "/etc/hostname", &["ro", "nosuid", "nodev", "noexec"]),
            bind(&etc.join("resolv.conf"), "/etc/resolv.conf", &["ro", "nosuid", "nodev", "noexec"]),
        ])
    }
}

fn namespaces(network: &str) -> Value {
    let own = ["user", "pid", "mount", "ipc", "uts", "cgroup"].map(|kind| json!({ "type": kind }));
    let mut all = own.to_vec();
    all.push(if network.is_empty() {
        json!({ "type": "network" })
    } else {
        json!({ "type": "network", "path": network })
    });
    all.into()
}

fn mount(kind: &str, target: &str, options: &[&str]) -> Value {
    json!({ "type": kind, "source": kind, "destination": target, "options": options })
}

fn bind(source: &Path, target: &str, options: &[&str]) -> Value {
    let options = [options, &["bind"]].concat();
    json!({ "type": "bind", "source": source, "destination": target, "options": options })
}

/// As [`bind`], with what is mounted below the source.
fn mount_tree(source: &Path, target: &str, options: &[&str]) -> Value {
    let options = [options, &["rbind"]].concat();
    json!({ "type": "bind", "source": source, "destination": target, "options": options })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(network: &str) -> Value {
        config_with(Kernel::Host, network)
    }

    fn config_with(kernel: Kernel, network: &str) -> Value {
        let parts = Parts {
            root: "/r".into(),
            home: "/h".into(),
            scratch: "/s".into(),
            run: "/a".into(),
            etc: "/e".into(),
        };
        Bundle {
            kernel,
            name: "box",
            parts,
            user: 620_007,
            root_user: 640_007,
            network,
            cgroup: "burrow/sandbox-7",
            open_files: 4096,
            pids: 64,
            shared_memory_mib: 512,
        }
        .config()
    }

    #[test]
    fn container_has_no_privileges() {
        let config = config("/proc/1/fd/9");
        for (pointer, expected) in [
            ("/root/readonly", json!(true)),
            ("/process/noNewPrivileges", json!(true)),
            ("/process/user/uid", json!(1000)),
            ("/process/capabilities/bounding", json!([])),
            ("/process/capabilities/effective", json!([])),
            ("/process/capabilities/ambient", json!([])),
            ("/linux/seccomp/defaultAction", json!("SCMP_ACT_ERRNO")),
            ("/linux/resources/devices/0/allow", json!(false)),
            ("/linux/cgroupsPath", json!("burrow/sandbox-7")),
            ("/linux/uidMappings/0", json!({ "containerID": 0, "hostID": 640_007, "size": 1 })),
            ("/linux/uidMappings/1", json!({ "containerID": 1000, "hostID": 620_007, "size": 1 })),
        ] {
            assert_eq!(config.pointer(pointer), Some(&expected), "{pointer}");
        }
        assert_eq!(config["linux"]["uidMappings"], config["linux"]["gidMappings"]);
    }

    #[test]
    fn tiers_differ_in_kernel_only() {
        let (mut host, mut gvisor) = (config_with(Kernel::Host, ""), config_with(Kernel::Gvisor, ""));
        let profile = host["linux"].as_object_mut().expect("an object").remove("seccomp");
        assert_eq!(profile, Some(seccomp::profile()));
        let limits = gvisor["process"]["rlimits"].as_array_mut().expect("a list").pop();
        assert_eq!(limits, Some(json!({ "type": "RLIMIT_NPROC", "soft": 64, "hard": 64 })));
        assert_eq!(host, gvisor);
    }

    #[test]
    fn every_namespace_is_its_own() {
        let kinds = |config: &Value| {
            let all = config["linux"]["namespaces"].as_array().expect("a list").clone();
            all.iter().map(|one| one["type"].as_str().expect("a text").to_owned()).collect::<Vec<_>>()
        };
        let expected = ["user", "pid", "mount", "ipc", "uts", "cgroup", "network"];
        let config_with = config("/proc/1/fd/9");
        assert_eq!(kinds(&config_with), expected);
        assert_eq!(config_with["linux"]["namespaces"][6]["path"], "/proc/1/fd/9");
        let without = config("");
        assert_eq!(kinds(&without), expected, "an empty network, and not the host's");
        assert!(without["linux"]["namespaces"][6].get("path").is_none());
    }

    #[test]
    fn mounts_allow_no_devices_and_no_privileges() {
        for mount in config("")["mounts"].as_array().expect("a list") {
            let options = mount["options"].as_array().expect("a list");
            let has = |option: &str| options.iter().any(|known| known == option);
            let target = mount["destination"].as_str().expect("a text");
            assert!(has("nosuid"), "{mount}");
            assert!(has("nodev") || ["/dev", "/dev/pts"].contains(&target), "{mount}");
            let is_writable_bind = has("bind") && has("rw");
            assert_eq!(is_writable_bind, [HOME, "/tmp", "/var/tmp"].contains(&target), "{mount}");
        }
    }
}
