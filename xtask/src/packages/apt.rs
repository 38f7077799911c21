//! Choosing how to install packages with `apt-get`, by simulation.
//!
//! A host may have newer packages from backports. Their parts conflict with those of the release:
//! QEMU 7.2 cannot be installed beside the `qemu-utils` of QEMU 10. So three plans are simulated in
//! turn:
//!
//! 1. the configured sources;
//! 2. the release's backports, from a temporary list of sources if the host has none;
//! 3. the release only, which may downgrade packages. It is carried out only if the user agrees.
//!
//! The first plan that neither downgrades nor removes a package wins. Packages whose version in an old
//! release is of no use come from the backports if they are there.

use std::{
    ffi::OsString,
    fs,
    io::{BufRead as _, IsTerminal as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::run;

/// Agreement to downgrades and removals where nobody can be asked: set on hosts that only build and test.
const CONSENT: &str = "BURROW_APT_YES";
/// The parts of QEMU must have one version. A missing part is installed together with the others.
const QEMU: &[&str] = &["qemu-system-x86", "qemu-system-common", "qemu-system-data", "qemu-utils"];
/// What an old release has lacks what we need: runsc of Debian 12 has no platform `systrap`.
const FROM_BACKPORTS: &[&str] = &["runsc"];
/// Where the release and its backports are, for hosts without backports in their sources.
const MIRROR: &str = "http://deb.debian.org/debian";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Installs the packages without a question if no installed package is downgraded or removed.
pub fn install(names: &[&str]) -> Result<()> {
    // No database cluster and no sshd may start just because their package was installed.
    let _no_services = NoServices::begin()?;
    run::run(privileged("apt-get").args(["update", "-qq"]))?;
    if !names.iter().any(|name| FROM_BACKPORTS.contains(name))
        && let Ok(plan) = Plan::simulate(names, Sources::Configured)
        && plan.is_harmless()
    {
        return plan.execute();
    }
    groups(names).iter().try_for_each(|group| install_group(group))
}

/// Packages that must be installed together, because their versions depend on each other.
fn groups<'a>(names: &[&'a str]) -> Vec<Vec<&'a str>> {
    let (qemu, others): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| QEMU.contains(name));
    let mut groups: Vec<Vec<&str>> = others.into_iter().map(|name| vec![name]).collect();
    if !qemu.is_empty() {
        groups.push(QEMU.to_vec());
    }
    groups
}

fn install_group(names: &[&str]) -> Result<()> {
    let release = Release::of_host()?;
    let mut sources = vec![Sources::Configured];
    sources.extend(Sources::backports(&release)?);
    if names.iter().any(|name| FROM_BACKPORTS.contains(name)) {
        sources.reverse();
    }
    for sources in sources {
        if let Ok(plan) = Plan::simulate(names, sources)
            && plan.is_harmless()
        {
            return plan.execute();
        }
    }
    let plan = Plan::simulate(names, Sources::Release(release.codename))?;
    if !plan.is_harmless() {
        plan.ask()?;
    }
    plan.execute()
}

/// Where packages come from.
enum Sources {
    Configured,
    /// The configured sources, with the release's backports preferred.
    Backports {
        suite: String,
        list: Option<TempDir>,
    },
    /// Only this release, even if a newer version is installed.
    Release(String),
}

impl Sources {
    /// The release's backports. None: the distribution has no such archive.
    fn backports(release: &Release) -> Result<Option<Self>> {
        if release.id != "debian" {
            return Ok(None);
        }
        let suite = format!("{}-backports", release.codename);
        let known = run::output(Command::new("apt-cache").arg("policy"))?;
        let list = if known.contains(&format!("/{suite}/")) || known.contains(&format!("a={suite}")) {
            None
        } else {
            Some(temporary_list(&suite)?)
        };
        Ok(Some(Self::Backports { suite, list }))
    }

    /// The arguments for `apt-get` that select these sources for these packages.
    fn arguments(&self, names: &[&str]) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        if let Self::Backports { suite, list } = self {
            if let Some(list) = list {
                arguments.extend(list_options(list.path()));
            }
            arguments.extend(["-t".into(), suite.into()]);
        }
        if matches!(self, Self::Release(_)) {
            arguments.push("--allow-downgrades".into());
        }
        arguments.extend(names.iter().map(|name| match self {
            Self::Release(codename) => format!("{name}/{codename}").into(),
            Self::Configured | Self::Backports { .. } => (*name).into(),
        }));
        arguments
    }
}

/// The host's sources and the suite, with their package lists, in a directory that does not outlive
/// the installation.
fn temporary_list(suite: &str) -> Result<TempDir> {
    let directory = tempfile::Builder::new().prefix("burrow-apt").tempdir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    let parts = directory.path().join("parts");
    fs::create_dir(&parts)?;
    fs::create_dir_all(directory.path().join("lists/partial"))?;
    for entry in fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten() {
        fs::copy(entry.path(), parts.join(entry.file_name()))?;
    }
    let line = format!("deb [signed-by={KEYRING}] {MIRROR} {suite} main\n");
    fs::write(parts.join("burrow-backports.list"), line)?;
    run::run(privileged("apt-get").args(list_options(directory.path())).args(["update", "-qq"]))?;
    Ok(directory)
}

fn list_options(directory: &Path) -> [OsString; 4] {
    let option = |name: &str, path: PathBuf| {
        let mut option = OsString::from(format!("{name}="));
        option.push(path);
        option
    };
    [
        "-o".into(),
        option("Dir::Etc::SourceParts", directory.join("parts")),
        "-o".into(),
        option("Dir::State::Lists", directory.join("lists")),
    ]
}

/// What `apt-get install` would do.
struct Plan {
    arguments: Vec<OsString>,
    changes: Changes,
    /// Keeps a temporary list of sources until the plan is executed.
    _sources: Sources,
}

impl Plan {
    /// Fails if `apt-get` finds no way to install the packages from these sources.
    fn simulate(names: &[&str], sources: Sources) -> Result<Self> {
        let arguments = sources.arguments(names);
        let mut command = Command::new("apt-get");
        command.env("LC_ALL", "C").args(["-s", "-q", "install", "--no-install-recommends"]).args(&arguments);
        let changes = Changes::parse(&run::output(&mut command)?, is_older);
        Ok(Self { arguments, changes, _sources: sources })
    }

    fn is_harmless(&self) -> bool {
        self.changes.downgraded.is_empty() && self.changes.removed.is_empty()
    }

    /// Asks whether packages may be downgraded and removed. Fails unless the answer is yes.
    fn ask(&self) -> Result<()> {
        let Changes { downgraded, removed } = &self.changes;
        eprintln!("The missing packages conflict with installed ones. To install them, apt would");
        for (name, from, to) in downgraded {
            eprintln!("  downgrade {name} from {from} to {to}");
        }
        for name in removed {
            eprintln!("  remove {name}");
        }
        if std::env::var_os(CONSENT).is_some_and(|value| value == "1") {
            eprintln!("{CONSENT}=1 agrees to that.");
            return Ok(());
        }
        if std::io::stdin().is_terminal() {
            eprint!("Continue? Type yes: ");
            std::io::stderr().flush()?;
            let mut answer = String::new();
            std::io::stdin().lock().read_line(&mut answer)?;
            if answer.trim() == "yes" {
                return Ok(());
            }
        }
        bail!("Nothing was changed. Install the packages yourself, or set {CONSENT}=1 to agree.")
    }

    fn execute(&self) -> Result<()> {
        let mut command = privileged("apt-get");
        command.args(["install", "-y", "-q", "--no-install-recommends"]).args(&self.arguments);
        run::run(&mut command)
    }
}

/// Installed packages that a simulated installation would change to an older version or remove.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    /// Name, installed version, new version.
    downgraded: Vec<(String, String, String)>,
    removed: Vec<String>,
}

impl Changes {
    /// Reads `Inst NAME [OLD] (NEW …` and `Remv NAME …`. An `Inst` without an old version is a
    /// new package.
    fn parse(simulation: &str, is_older: impl Fn(&str, &str) -> bool) -> Self {
        let mut changes = Self::default();
        for line in simulation.lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("Remv"), Some(name)) => changes.removed.push(name.to_owned()),
                (Some("Inst"), Some(name)) => {
                    let (old, new) = (words.next(), words.next());
                    let old = old.and_then(|word| word.strip_prefix('[')?.strip_suffix(']'));
                    let new = new.and_then(|word| word.strip_prefix('('));
                    if let (Some(old), Some(new)) = (old, new)
                        && is_older(new, old)
                    {
                        changes.downgraded.push((name.to_owned(), old.to_owned(), new.to_owned()));
                    }
                }
                _ => {}
            }
        }
        changes
    }
}

/// Whether version `a` is older than `b`, by Debian's rules.
fn is_older(a: &str, b: &str) -> bool {
    Command::new("dpkg")
        .args(["--compare-versions", a, "lt", b])
        .status()
        .is_ok_and(|status| status.success())
}

/// A distribution's name and the name of its release.
struct Release {
    id: String,
    codename: String,
}

impl Release {
    fn of_host() -> Result<Self> {
        let text = fs::read_to_string("/etc/os-release").context("Cannot read /etc/os-release")?;
        Self::parse(&text).context("/etc/os-release names no release. Install the packages yourself")
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
            Some(line.trim_matches('"').to_owned())
        };
        Some(Self { id: value("ID")?, codename: value("VERSION_CODENAME")? })
    }
}

fn privileged(program: &str) -> Command {
    let mut command = if run::is_root() {
        Command::new(program)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["env", "DEBIAN_FRONTEND=noninteractive", program]);
        sudo
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// While it exists, installed packages start no service (Debian's `policy-rc.d`). Only for root,
/// and only if the host has no policy of its own.
struct NoServices(bool);

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn begin() -> Result<Self> {
        if !run::is_root() || Path::new(POLICY).exists() {
            return Ok(Self(false));
        }
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o755);
        let mut file = options.open(POLICY).with_context(|| format!("Cannot write {POLICY}"))?;
        file.write_all(b"#!/bin/sh\nexit 101\n")?;
        file.set_permissions(fs::Permissions::from_mode(0o755))?;
        Ok(Self(true))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.0 {
            let _ = fs::remove_file(POLICY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    mod changes {
        use super::*;

        const SIMULATION: &str = "\
Remv qemu-block-extra [1:10.0.2]
Inst qemu-utils [1:10.0.2] (1:7.2 Debian:12.15/oldstable [amd64])
Inst libssl3 [3.0.15] (3.0.17 Debian:12.15/oldstable [amd64])
Inst cpio (2.13 Debian:12.15/oldstable [amd64])
Conf cpio (2.13 Debian:12.15/oldstable [amd64])
";

        #[test]
        fn name_downgrades_and_removals() {
            let changes = Changes::parse(SIMULATION, is_older);
            let downgrade = ("qemu-utils".to_owned(), "1:10.0.2".to_owned(), "1:7.2".to_owned());
            assert_eq!(
                changes,
                Changes { downgraded: vec![downgrade], removed: vec!["qemu-block-extra".to_owned()] }
            );
        }

        #[test]
        fn of_new_packages_are_none() {
            assert_eq!(Changes::parse("Inst cpio (2.13 Debian [amd64])\n", is_older), Changes::default());
        }
    }

    #[test]
    fn parts_of_qemu_are_one_group() {
        let groups = groups(&["cpio", "qemu-system-x86", "zstd"]);
        assert_eq!(groups, [vec!["cpio"], vec!["zstd"], QEMU.to_vec()]);
    }

    #[test]
    fn release_is_read_from_os_release() {
        let text = "PRETTY_NAME=\"Ubuntu 24.04\"\nID=ubuntu\nVERSION_CODENAME=noble\n";
        let release = Release::parse(text).expect("complete");
        assert_eq!((release.id.as_str(), release.codename.as_str()), ("ubuntu", "noble"));
    }
}
