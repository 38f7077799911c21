//! The guest's user: the account that owns the home and that every program runs as.
//!
//! In a guest the agent is root and PID 1. It starts programs through its own executable as a
//! *launcher* (`workspace-agent launch …`). The launcher enters a cgroup of its own, gives up root
//! and then executes the program. No code between fork and exec needs to be unsafe. On a host (the
//! process runtime of the tests) programs run as the agent's own user.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use rustix::process::{Gid, Resource, Uid};

use crate::guest::cgroups;

/// Name of the user's account in a guest. The image creates the account.
pub const NAME: &str = "dev";
/// User id of the account.
pub const UID: u32 = 1000;
/// Group id of the account.
pub const GID: u32 = 1000;
/// The account's groups. 27 is `sudo` in Debian, whose members may become root.
pub const GROUPS: [u32; 2] = [GID, 27];

/// Open files of a program that does not raise the limit itself, as on other Linux systems.
const SOFT_OPEN_FILES: u64 = 1024;

/// The first argument that makes the agent's executable a launcher.
pub const LAUNCH: &str = "launch";
/// The same for a [`ProgramRole::Helper`].
pub const LAUNCH_HELPER: &str = "launch-helper";

/// What a program is for, which decides what it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramRole {
    /// The user has started it.
    Chosen,
    /// The agent has started it, such as a language server. It gets half of the memory, and when memory
    /// runs out, the kernel ends it first.
    Helper,
}

impl ProgramRole {
    /// The role that the first argument of a launcher names.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Chosen, Self::Helper].into_iter().find(|role| role.word() == word)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Chosen => LAUNCH,
            Self::Helper => LAUNCH_HELPER,
        }
    }

    fn memory_divisor(self) -> u64 {
        match self {
            Self::Chosen => 1,
            Self::Helper => 2,
        }
    }

    /// Added to what the kernel computes when it chooses a process to kill.
    fn oom_score(self) -> &'static str {
        match self {
            Self::Chosen => "0",
            Self::Helper => "500",
        }
    }
}

/// Exit status of a shell for a program that cannot be started.
pub const STATUS_NOT_EXECUTABLE: i32 = 126;
/// Exit status of a shell for a program that does not exist.
pub const STATUS_NOT_FOUND: i32 = 127;

/// Where programs are searched if the login shell does not say it.
pub const PATH_VARIABLE: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/games:/usr/games";

/// The user that programs run as, and how they are started.
#[derive(Clone, Debug)]
pub struct GuestUser {
    /// The home directory, absolute.
    pub home: PathBuf,
    /// Whether programs and file accesses give up root. False on a host.
    pub drops_privileges: bool,
    /// The cgroup of which each program enters a new child.
    cgroup: Option<PathBuf>,
}

/// A program to start, in the form that both `std::process::Command` and
/// `portable_pty::CommandBuilder` take.
#[derive(Debug)]
pub struct Program {
    /// Program and arguments.
    pub argv: Vec<OsString>,
    /// Absolute working directory.
    pub directory: PathBuf,
    /// The whole environment. Nothing of the agent's own environment is passed on.
    pub environment: Vec<(OsString, OsString)>,
}

impl Program {
    /// A command in its own process group. `None` if the program has no name.
    pub fn command(self) -> Option<tokio::process::Command> {
        let [name, arguments @ ..] = self.argv.as_slice() else { return None };
        let mut command = tokio::process::Command::new(name);
        command
            .args(arguments)
            .env_clear()
            .envs(self.environment)
            .current_dir(self.directory)
            .process_group(0);
        Some(command)
    }
}

/// Why a program cannot be started in a working directory.
#[derive(Debug, thiserror::Error)]
#[error("Cannot use the working directory {name}: {}", directory_error_cause(cause))]
pub struct DirectoryError {
    name: String,
    /// Not a source: the message has it already.
    cause: io::Error,
}

fn directory_error_cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist in the workspace".to_owned(),
        io::ErrorKind::NotADirectory => "it is not a directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

impl GuestUser {
    /// The account [`NAME`] of a guest.
    pub fn in_guest(cgroup: Option<PathBuf>) -> Self {
        Self { home: Path::new("/home").join(NAME), drops_privileges: true, cgroup }
    }

    /// The user that runs the agent on a host, with `home` as the home directory.
    pub fn on_host(home: PathBuf) -> Self {
        Self { home, drops_privileges: false, cgroup: None }
    }

    /// Program and arguments of the login shell.
    pub fn shell(&self) -> Vec<String> {
        vec!["/bin/bash".to_owned(), "-l".to_owned()]
    }

    /// Program and arguments of a login shell that reads the file of `ENV` in place of its start files.
    pub fn marking_shell(&self) -> Vec<String> {
        ["/bin/bash", "--posix", "-l"].map(str::to_owned).to_vec()
    }

    /// Program and arguments of a shell that reads no start files.
    pub fn plain_shell(&self) -> Vec<String> {
        ["/bin/bash", "--noprofile", "--norc"].map(str::to_owned).to_vec()
    }

    /// Finds the working directory that a request names: absolute, or relative to the home. Without
    /// a name it is the home. Blocking.
    ///
    /// Whether the user may enter it is decided when the program is started, with the user's rights.
    pub fn find_directory(&self, name: Option<&str>) -> Result<PathBuf, DirectoryError> {
        let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(self.home.clone()) };
        let directory = self.home.join(name);
        // The last segment makes the kernel look into the directory, which a file refuses.
        match std::fs::metadata(directory.join(".")) {
            Ok(_) => Ok(directory),
            Err(cause) => Err(DirectoryError { name: name.to_owned(), cause }),
        }
    }

    /// Prepares `argv` to be started as this user in `directory` (see
    /// [`find_directory`](Self::find_directory)), with `extra` variables added to the login
    /// environment.
    pub fn program(&self, argv: &[String], directory: PathBuf, extra: &[(String, String)]) -> Program {
        self.program_as(ProgramRole::Chosen, argv, directory, extra)
    }

    /// Like [`Self::program`], for a program that helps with others and must not take their memory.
    pub fn helper(&self, argv: &[String], directory: PathBuf, extra: &[(String, String)]) -> Program {
        self.program_as(ProgramRole::Helper, argv, directory, extra)
    }

    fn program_as(
        &self,
        role: ProgramRole,
        argv: &[String],
        directory: PathBuf,
        extra: &[(String, String)],
    ) -> Program {
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
        if !self.drops_privileges {
            return Program { argv, directory, environment };
        }
        let mut launched: Vec<OsString> =
            vec!["/proc/self/exe".into(), role.word().into(), directory.into_os_string()];
        launched.push(self.cgroup.clone().unwrap_or_default().into_os_string());
        launched.extend(argv);
        Program { argv: launched, directory: "/".into(), environment }
    }

    fn name(&self) -> String {
        if self.drops_privileges {
            NAME.to_owned()
        } else {
            std::env::var("USER").unwrap_or_else(|_| "root".to_owned())
        }
    }
}

/// Runs the launcher: `launch <directory> <cgroup or empty> <program> <argument>…`.
///
/// Returns only on failure, with the exit status that a shell would report and a message.
pub fn launch(role: ProgramRole, arguments: &[OsString]) -> (i32, String) {
    let [directory, cgroup, program, rest @ ..] = arguments else {
        return (
            STATUS_NOT_EXECUTABLE,
            "Cannot launch: directory, cgroup and program are required.".to_owned(),
        );
    };
    if let Err(error) = become_user(role, Path::new(directory), Path::new(cgroup)) {
        return (STATUS_NOT_EXECUTABLE, format!("{error:#}"));
    }
    let error = std::os::unix::process::CommandExt::exec(std::process::Command::new(program).args(rest));
    let is_missing = error.kind() == std::io::ErrorKind::NotFound;
    let status = if is_missing { STATUS_NOT_FOUND } else { STATUS_NOT_EXECUTABLE };
    (status, format!("{}: {error}", program.to_string_lossy()))
}

fn become_user(role: ProgramRole, directory: &Path, cgroup: &Path) -> anyhow::Result<()> {
    if !cgroup.as_os_str().is_empty() {
        cgroups::enter_child(cgroup, role.memory_divisor())
            .context("cannot enter a cgroup of the user's programs")?;
    }
    // When memory runs out, the kernel kills programs before the agent.
    std::fs::write("/proc/self/oom_score_adj", role.oom_score()).context("cannot reset the OOM score")?;
    // Programs that use select() break above 1,024 descriptors; others raise the soft limit.
    let mut files = rustix::process::getrlimit(Resource::Nofile);
    files.current = Some(files.maximum.map_or(SOFT_OPEN_FILES, |maximum| maximum.min(SOFT_OPEN_FILES)));
    rustix::process::setrlimit(Resource::Nofile, files).context("cannot set the limit of open files")?;
    let groups = GROUPS.map(Gid::from_raw);
    rustix::thread::set_thread_groups(&groups).context("cannot set groups")?;
    rustix::thread::set_thread_res_gid(Gid::from_raw(GID), Gid::from_raw(GID), Gid::from_raw(GID))
        .context("cannot set the group")?;
    rustix::thread::set_thread_res_uid(Uid::from_raw(UID), Uid::from_raw(UID), Uid::from_raw(UID))
        .context("cannot set the user")?;
    enter_directory(directory)
}

/// Enters the working directory. Only a home that cannot be entered is replaced, by `/`: a program
/// that was meant for one directory must not run in another one, but a shell is needed to repair a
/// home.
fn enter_directory(directory: &Path) -> anyhow::Result<()> {
    let Err(cause) = std::env::set_current_dir(directory) else { return Ok(()) };
    let error = DirectoryError { name: directory.display().to_string(), cause };
    if directory != Path::new("/home").join(NAME) {
        return Err(error.into());
    }
    eprintln!("{error}. The program starts in /.");
    std::env::set_current_dir("/").context("cannot enter /")
}
