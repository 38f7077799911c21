//! The program that starts a container: crun or runc on the host's kernel, or runsc, which brings gVisor's.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{ContainerError, Kernel, bundle::AGENT_SOCKET};
use crate::cgroup;

/// Where programs are, beside the directories of `PATH`.
const DIRECTORIES: [&str; 4] = ["/usr/local/sbin", "/usr/sbin", "/usr/local/bin", "/usr/bin"];

/// How runsc runs a sandbox:
///
/// - The systrap platform needs no virtualization.
/// - The root is the image, and read-only; without this, changes of it would stay in memory.
/// - The sandbox has its own network stack, with the links of its network namespace.
/// - It is started in its cgroup already. runsc itself does not understand hosts that have both versions.
const RUNSC_OPTIONS: [&str; 4] =
    ["--platform=systrap", "--overlay2=none", "--network=sandbox", "--ignore-cgroups"];

/// An installed program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciRuntime {
    /// Where it is.
    pub program: PathBuf,
    /// Which kernel its containers have.
    pub kernel: Kernel,
}

impl OciRuntime {
    /// Finds the program. `runsc` is the operator's own, if there is one.
    pub fn find(kernel: Kernel, runsc: Option<&Path>) -> Result<Self, ContainerError> {
        let program = match (kernel, runsc) {
            (Kernel::Host, _) => choose(cgroup::has_version_1(), find_program),
            (Kernel::Gvisor, Some(given)) => given.is_file().then(|| given.to_owned()),
            (Kernel::Gvisor, None) => find_program("runsc"),
        };
        program.map(|program| Self { program, kernel }).ok_or_else(|| missing(kernel, runsc))
    }

    /// The arguments that run a container until it ends. Its agent gets the descriptor [`AGENT_SOCKET`],
    /// and the program's own standard input, output and error.
    pub fn run_arguments(&self, state: &Path, bundle: &Path, name: &str) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["--root".into(), state.into()];
        match self.kernel {
            // It passes on so many descriptors from 3.
            Kernel::Host => arguments.extend(["run", "--preserve-fds", "1"].map(Into::into)),
            Kernel::Gvisor => {
                arguments.extend(RUNSC_OPTIONS.map(Into::into));
                let same = format!("{AGENT_SOCKET}:{AGENT_SOCKET}");
                arguments.extend(["run".into(), "--pass-fd".into(), same.into()]);
            }
        }
        arguments.extend(["--bundle".into(), bundle.into(), name.into()]);
        arguments
    }
}

fn missing(kernel: Kernel, runsc: Option<&Path>) -> ContainerError {
    ContainerError::Unavailable(match (kernel, runsc) {
        (Kernel::Host, _) => {
            let name = if cgroup::has_version_1() { "runc" } else { "crun" };
            format!("{name} is not installed. Run `apt-get install {name}`")
        }
        (Kernel::Gvisor, Some(given)) => format!("there is no file {}. See --runsc", given.display()),
        (Kernel::Gvisor, None) => {
            "runsc is not installed. Run `apt-get install runsc`, or use --runsc".to_owned()
        }
    })
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(DIRECTORIES.map(PathBuf::from));
    directories.map(|directory| directory.join(name)).find(|path| path.is_absolute() && path.is_file())
}

/// crun is faster, but refuses hosts that have version 1 of cgroups beside version 2.
fn choose(has_version_1: bool, find: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    if has_version_1 { find("runc") } else { find("crun").or_else(|| find("runc")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtime_suits_the_hosts_cgroups() {
        for (has_version_1, installed, expected) in [
            (false, &["crun", "runc"][..], Some("crun")),
            (false, &["runc"], Some("runc")),
            (true, &["crun", "runc"], Some("runc")),
            (true, &["crun"], None),
            (false, &[], None),
        ] {
            let found = choose(has_version_1, |name| installed.contains(&name).then(|| name.into()));
            assert_eq!(found, expected.map(PathBuf::from), "{has_version_1} {installed:?}");
        }
    }

    #[test]
    fn operators_runsc_is_used_or_refused() {
        let own = tempfile::NamedTempFile::new().expect("a file");
        let found = OciRuntime::find(Kernel::Gvisor, Some(own.path())).expect("it is there");
        assert_eq!(found.program, own.path());
        let error = OciRuntime::find(Kernel::Gvisor, Some(Path::new("/nowhere/runsc"))).expect_err("missing");
        assert!(error.to_string().contains("/nowhere/runsc"), "{error}");
    }

    #[test]
    fn sandbox_has_its_own_network_and_a_read_only_root() {
        let runtime = OciRuntime { program: "/usr/bin/runsc".into(), kernel: Kernel::Gvisor };
        let arguments = runtime.run_arguments(Path::new("/s"), Path::new("/b"), "box");
        let line = arguments.join(std::ffi::OsStr::new(" ")).into_string().expect("text");
        assert_eq!(
            line,
            "--root /s --platform=systrap --overlay2=none --network=sandbox --ignore-cgroups run \
             --pass-fd 3:3 --bundle /b box"
        );
    }
}
