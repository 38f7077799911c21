//! Who programs run as: the home's owner, with a login environment, away from the agent's own privileges.
//!
//! Inside a machine the agent is root and PID 1. Programs are started through the agent's own executable as a launcher
//! (`burrow-agent launch`), which enters the user's cgroup, gives up root and then becomes the program: nothing
//! between fork and exec needs unsafe code. On a host (the fake runtime) programs run as whoever runs the agent.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use protocol::files::HomePath;
use rustix::process::{Gid, Uid};

/// The person's account inside a machine, made by the image.
pub const NAME: &str = "dev";
pub const UID: u32 = 1000;
pub const GID: u32 = 1000;
/// `sudo` in Debian: the group whose members may become root.
const GROUPS: [u32; 2] = [GID, 27];

/// The first argument that makes the agent's executable a launcher.
pub const LAUNCH: &str = "launch";

/// The variables that describe a session; nothing of the agent's own environment is passed on.
const PATH_VARIABLE: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/games:/usr/games";

#[derive(Clone, Debug)]
pub struct Person {
    pub home: PathBuf,
    /// Give up root by the launcher. False on a host.
    pub launcher: bool,
    /// The cgroup that programs enter.
    pub cgroup: Option<PathBuf>,
}

/// A program to be started: what `std::process::Command` and `portable_pty::CommandBuilder` both take.
#[derive(Debug)]
pub struct Program {
    pub argv: Vec<OsString>,
    pub directory: PathBuf,
    pub environment: Vec<(OsString, OsString)>,
}

impl Person {
    /// The login shell.
    pub fn shell(&self) -> Vec<String> {
        vec!["/bin/bash".to_owned(), "-l".to_owned()]
    }

    /// `argv` as this person would start it in `directory`, with `extra` variables on top of a login's.
    pub fn program(&self, argv: &[String], directory: &HomePath, extra: &[(String, String)]) -> Program {
        let directory = self.home.join(directory.as_str());
        let mut environment: Vec<(OsString, OsString)> = [
            ("HOME", self.home.clone().into_os_string()),
            ("USER", self.name().into()),
            ("LOGNAME", self.name().into()),
            ("SHELL", "/bin/bash".into()),
            ("PATH", PATH_VARIABLE.into()),
            ("LANG", "C.UTF-8".into()),
            ("BURROW", "1".into()),
        ]
        .map(|(name, value)| (name.into(), value))
        .to_vec();
        environment.extend(extra.iter().map(|(name, value)| (name.into(), value.into())));
        let argv = argv.iter().map(OsString::from).collect();
        if !self.launcher {
            return Program { argv, directory, environment };
        }
        let mut launched: Vec<OsString> =
            vec!["/proc/self/exe".into(), LAUNCH.into(), directory.into_os_string()];
        launched.push(self.cgroup.clone().unwrap_or_default().into_os_string());
        launched.extend(argv);
        Program { argv: launched, directory: "/".into(), environment }
    }

    fn name(&self) -> String {
        if self.launcher {
            NAME.to_owned()
        } else {
            std::env::var("USER").unwrap_or_else(|_| "root".to_owned())
        }
    }
}

/// The launcher: `launch <directory> <cgroup or empty> <program> <argument>…`. Returns only if it failed; the status is a
/// shell's: 127 not found, 126 not executable.
pub fn launch(arguments: &[OsString]) -> (i32, String) {
    let [directory, cgroup, program, rest @ ..] = arguments else {
        return (126, "the launcher needs a directory, a cgroup and a program".to_owned());
    };
    if let Err(error) = become_person(Path::new(directory), Path::new(cgroup)) {
        return (126, format!("{error:#}"));
    }
    let error = std::os::unix::process::CommandExt::exec(std::process::Command::new(program).args(rest));
    let status = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
    (status, format!("{}: {error}", program.to_string_lossy()))
}

fn become_person(directory: &Path, cgroup: &Path) -> anyhow::Result<()> {
    if !cgroup.as_os_str().is_empty() {
        std::fs::write(cgroup.join("cgroup.procs"), "0").context("cannot enter the user's cgroup")?;
    }
    // Programs are killed before the agent when memory runs out.
    std::fs::write("/proc/self/oom_score_adj", "0").context("cannot reset the OOM score")?;
    let groups = GROUPS.map(Gid::from_raw);
    rustix::thread::set_thread_groups(&groups).context("cannot set groups")?;
    rustix::thread::set_thread_res_gid(Gid::from_raw(GID), Gid::from_raw(GID), Gid::from_raw(GID))
        .context("cannot set the group")?;
    rustix::thread::set_thread_res_uid(Uid::from_raw(UID), Uid::from_raw(UID), Uid::from_raw(UID))
        .context("cannot set the user")?;
    std::env::set_current_dir(directory)
        .or_else(|_| std::env::set_current_dir(format!("/home/{NAME}")))
        .or_else(|_| std::env::set_current_dir("/"))
        .context("cannot enter the directory")
}
