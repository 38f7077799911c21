//! The OCI configuration of a container. Pure: from what the runner has prepared to the text of
//! `config.json`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::seccomp;

/// Where the container's parts are mounted, in the mount namespace of its runner.
pub struct Parts {
    /// The image's root file system, read-only.
    pub root: PathBuf,
    /// The home, with the container's user as its owner.
    pub home: PathBuf,
    /// Files that do not outlive the container: the directories `tmp` and `var-tmp`.
    pub scratch: PathBuf,
    /// The agent's executable.
    pub agent: PathBuf,
    /// The files `hosts`, `hostname` and `resolv.conf`.
    pub etc: PathBuf,
}

/// What a container is made of.
pub struct Bundle<'a> {
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
    /// Size of `/dev/shm`, in MiB.
    pub shared_memory_mib: u32,
}

/// User and group of the account in the image.
pub const USER_ID: u32 = 1000;
/// Home of the account in the image.
pub const HOME: &str = "/home/dev";
/// Where the agent's executable is in the container.
const AGENT: &str = "/run/workspace-agent";
/// The descriptor of the agent's socket: the first that an OCI runtime passes on.
const AGENT_SOCKET: &str = "3";
/// As in a guest: programs that use select() break above this. Others raise the limit.
const SOFT_OPEN_FILES: u64 = 1024;
/// Added to the programs' score when the kernel selects what to end, as for a VMM.
const OOM_SCORE: i32 = 500;

/// Files of /proc that show or change the host.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/sysrq-trigger",
    "/proc/kallsyms",
];
const READ_ONLY: [&str; 4] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"];

impl Bundle<'_> {
    /// The configuration, version 1.0.2.
    pub fn config(&self) -> Value {
        json!({
            "ociVersion": "1.0.2",
            "hostname": self.name,
            "root": { "path": self.parts.root, "readonly": true },
            "process": process(self.open_files),
            "mounts": self.mounts(),
            "linux": {
                "namespaces": namespaces(self.network),
                "uidMappings": self.id_mappings(),
                "gidMappings": self.id_mappings(),
                "cgroupsPath": self.cgroup,
                // Beside the harmless ones that every OCI runtime adds.
                "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
                "seccomp": seccomp::profile(),
                "maskedPaths": MASKED,
                "readonlyPaths": READ_ONLY,
                "rootfsPropagation": "private",
            },
        })
    }

    /// Only the container's user and its root exist on the host.
    fn id_mappings(&self) -> Value {
        json!([
            { "containerID": 0, "hostID": self.root_user, "size": 1 },
            { "containerID": USER_ID, "hostID": self.user, "size": 1 },
        ])
    }

    fn mounts(&self) -> Value {
        let Parts { home, scratch, agent, etc, .. } = &self.parts;
        let shared_memory = format!("size={}m", self.shared_memory_mib);
        json!([
            mount("proc", "/proc", &["nosuid", "noexec", "nodev"]),
            mount("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=64k"]),
            mount("devpts", "/dev/pts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
            mount("tmpfs", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", &shared_memory]),
            mount("mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
            // The container's network namespace is not its own, so it may not mount the real one.
            mount("tmpfs", "/sys", &["nosuid", "noexec", "nodev", "ro", "mode=555", "size=4k"]),
            mount("tmpfs", "/run", &["nosuid", "nodev", "mode=755", "size=16m"]),
            bind(home, HOME, &["rw", "nosuid", "nodev"]),
            bind(&scratch.join("tmp"), "/tmp", &["rw", "nosuid", "nodev"]),
            bind(&scratch.join("var-tmp"), "/var/tmp", &["rw", "nosuid", "nodev"]),
            bind(agent, AGENT, &["ro", "nosuid", "nodev"]),
            bind(&etc.join("hosts"), "/etc/hosts", &["ro", "nosuid", "nodev", "noexec"]),
            bind(&etc.join("hostname"), "/etc/hostname", &["ro", "nosuid", "nodev", "noexec"]),
            bind(&etc.join("resolv.conf"), "/etc/resolv.conf", &["ro", "nosuid", "nodev", "noexec"]),
        ])
    }
}

/// The agent, as the container's user. It is the container's first process.
fn process(open_files: u64) -> Value {
    json!({
        "terminal": false,
        "user": { "uid": USER_ID, "gid": USER_ID },
        "args": [AGENT, "--serve-descriptor", AGENT_SOCKET, "--home", HOME],
        "env": ["USER=dev", "PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/home/dev"],
        "cwd": "/",
        "noNewPrivileges": true,
        "oomScoreAdj": OOM_SCORE,
        "capabilities": {
            "bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": [],
        },
        "rlimits": [
            { "type": "RLIMIT_NOFILE", "soft": open_files.min(SOFT_OPEN_FILES), "hard": open_files },
            { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
        ],
    })
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
    let mut options = options.to_vec();
    options.push("bind");
    json!({ "type": "bind", "source": source, "destination": target, "options": options })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(network: &str) -> Value {
        let parts = Parts {
            root: "/r".into(),
            home: "/h".into(),
            scratch: "/s".into(),
            agent: "/a".into(),
            etc: "/e".into(),
        };
        Bundle {
            name: "box",
            parts,
            user: 620_007,
            root_user: 640_007,
            network,
            cgroup: "burrow/sandbox-7",
            open_files: 4096,
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
