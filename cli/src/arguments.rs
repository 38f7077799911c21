//! The grammar of the command line. Data only: it acts on nothing.
//!
//! Every option has an environment variable `BURROW_<OPTION>`; the option wins. Secrets are no options: a token comes from
//! standard input, `BURROW_TOKEN` or the credentials file.

mod moving;
mod past;

use std::{net::IpAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum, builder::Styles};
use clap_complete::Shell;
use protocol::TerminalId;

pub use self::moving::{Moving, Pull, Push};
pub use self::past::{
    Admin, Check, ForgetTenant, Fork, Grow, Growth, History, Keeper, Listed, Restore, Retention,
    RotateMasterKey, Snapshot, Volume,
};
use crate::output::Format;

const EXIT_STATUSES: &str = "\
Exit statuses:
  0 success · 1 error · 2 usage · 3 not found · 4 not signed in · 5 conflict · 6 quota
  7 unavailable or timed out · 130 interrupted
  exec and attach pass the remote status on; 255 means that the connection failed

Environment:
  every option can be given as BURROW_<OPTION>; BURROW_TOKEN signs in without a file; NO_COLOR is respected";

#[derive(Debug, Parser)]
#[command(
    name = "burrow",
    version,
    about = "Cloud development environments on your own machines",
    before_long_help = "\
Examples:
  burrow up                       everything on this machine; prints a link
  burrow login http://127.0.0.1:8080
  burrow create demo && burrow attach demo
  burrow exec demo -- uname -a
  burrow restore demo --at 10m notes.txt",
    after_help = EXIT_STATUSES,
    styles = Styles::plain(),
    max_term_width = 100,
    infer_long_args = false,
    disable_help_subcommand = true,
    propagate_version = false
)]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of all commands")]
pub struct Global {
    /// How to print: a table, a wider one, JSON or names
    #[arg(
        short,
        long,
        global = true,
        env = "BURROW_OUTPUT",
        value_enum,
        default_value_t,
        hide_env_values = true
    )]
    pub output: Format,
    /// Print identifiers only, and no progress
    #[arg(short, long, global = true, env = "BURROW_QUIET")]
    pub quiet: bool,
    /// Never ask; fail instead
    #[arg(long, global = true, env = "BURROW_NO_INPUT")]
    pub no_input: bool,
    /// The server's address [default: the one of `burrow login`]
    #[arg(long, global = true, env = "BURROW_URL", value_name = "URL")]
    pub url: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Up(Box<Up>),
    /// One running workspace's runner; reads its specification from standard input
    #[command(hide = true)]
    Runner,
    /// Reads one home's file system for the program that started it, and can do nothing else
    #[command(hide = true)]
    Ext4Reader,
    Login(Login),
    /// Forget the credentials, and end them on the server
    #[command(before_long_help = "Examples:\n  burrow logout")]
    Logout,
    /// Who is signed in, and where
    #[command(subcommand)]
    Auth(Auth),
    List(List),
    Create(Create),
    Start(Start),
    Stop(Stop),
    /// Show one workspace
    #[command(before_long_help = "Examples:\n  burrow show demo\n  burrow show demo -o json")]
    Show(OneWorkspace),
    Delete(Delete),
    Undelete(Undelete),
    History(History),
    Restore(Restore),
    /// Snapshots: a home as it was at an instant
    #[command(subcommand)]
    Snapshot(Snapshot),
    Fork(Fork),
    Grow(Grow),
    Push(Push),
    Pull(Pull),
    Attach(Attach),
    /// List the terminals of a workspace
    #[command(before_long_help = "Examples:\n  burrow terminals demo")]
    Terminals(OneWorkspace),
    Exec(Exec),
    /// Open a workspace in the browser; prints the address where there is none
    #[command(before_long_help = "Examples:\n  burrow open demo")]
    Open(OneWorkspace),
    Doctor(Doctor),
    /// Images that machines boot from
    #[command(subcommand)]
    Image(Image),
    /// Print the API's description as OpenAPI (JSON)
    #[command(hide = true)]
    Openapi,
    /// Print the versions of this program and of the server
    #[command(before_long_help = "Examples:\n  burrow version\n  burrow version -o json")]
    Version,
    /// Print a completion script for a shell
    #[command(before_long_help = "\
Examples:
  burrow completion bash > /etc/bash_completion.d/burrow
  burrow completion zsh > \"${fpath[1]}/_burrow\"
  burrow completion fish > ~/.config/fish/completions/burrow.fish")]
    Completion {
        #[arg(value_enum)]
        shell: CompletionShell,
    },
    /// Classes: a roster, and a workspace for each student
    #[command(subcommand)]
    Class(Class),
    /// Personal access tokens, for programs
    #[command(subcommand)]
    Token(Token),
    /// What a home is made of in the object store
    #[command(subcommand)]
    Volume(Volume),
    /// What an installation's owner decides
    #[command(subcommand)]
    Admin(Admin),
}

/// Run everything on this machine: database, store, controller, gateway, machines
#[derive(Debug, Args)]
#[command(before_long_help = "\
Examples:
  burrow up
  burrow up --port 9000 --data-dir /srv/burrow
  burrow up --listen 0.0.0.0
  burrow up --database-url postgres://burrow@db/burrow --store s3://bucket/burrow --master-key /etc/burrow.key
  burrow up --master-key-service https://vault:8200 --vault-token-file /run/burrow/token

It stays in the foreground. Ctrl-C persists every home and ends; a second Ctrl-C ends at once.")]
pub struct Up {
    /// Where everything is kept [default: $XDG_DATA_HOME/burrow, or /var/lib/burrow for root]
    #[arg(long, env = "BURROW_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address to listen on
    #[arg(long, env = "BURROW_LISTEN", value_name = "IP", default_value = "127.0.0.1")]
    pub listen: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, env = "BURROW_PORT", default_value_t = 8080)]
    pub port: u16,
    /// An existing Postgres in place of the private one. Its password belongs into the environment variable
    #[arg(long, env = "BURROW_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// The object store: s3://bucket/prefix or file:///directory [default: a directory in the data directory]
    #[arg(long, env = "BURROW_STORE", value_name = "URL")]
    pub store: Option<String>,
    #[command(flatten)]
    pub master_key: MasterKey,
    /// Other addresses that browsers may come from, as https://burrow.example.org
    #[arg(long, env = "BURROW_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// While a machine runs, its home goes to the store so often; 0: at stops and when asked only
    #[arg(long, env = "BURROW_STREAM_SECONDS", value_name = "SECONDS", default_value_t = 5)]
    pub stream_seconds: u32,
    /// Which machines to make
    #[arg(long, env = "BURROW_RUNTIME", value_enum, default_value_t, hide_short_help = true)]
    pub runtime: Runtime,
    /// Directory of an image's definition (image.toml) [default: the one in this program]
    #[arg(long, env = "BURROW_IMAGE_SOURCE", value_name = "DIR", hide_short_help = true)]
    pub image_source: Option<PathBuf>,
    /// Where built images are kept [default: images in the data directory]
    #[arg(long, env = "BURROW_IMAGE_CACHE", value_name = "DIR", hide_short_help = true)]
    pub image_cache: Option<PathBuf>,
    /// The static agent for guests [default: beside the executable, or the checkout's]
    #[arg(long, env = "BURROW_AGENT", value_name = "FILE", hide_short_help = true)]
    pub agent: Option<PathBuf>,
}

/// Where the key is that seals all homes' keys.
#[derive(Clone, Debug, Args)]
pub struct MasterKey {
    /// File of the key that seals all homes' keys; made if missing [default: master.key in the data directory]
    #[arg(long, env = "BURROW_MASTER_KEY", value_name = "FILE")]
    pub master_key: Option<PathBuf>,
    /// OpenBao or HashiCorp Vault that keeps that key in its transit engine, as https://vault:8200
    #[arg(long, env = "BURROW_MASTER_KEY_SERVICE", value_name = "URL")]
    pub master_key_service: Option<String>,
    /// Where its transit engine is mounted
    #[arg(
        long,
        env = "BURROW_VAULT_MOUNT",
        value_name = "PATH",
        default_value = "transit",
        hide_short_help = true
    )]
    pub vault_mount: String,
    /// The key's name there
    #[arg(
        long,
        env = "BURROW_VAULT_KEY",
        value_name = "NAME",
        default_value = "burrow",
        hide_short_help = true
    )]
    pub vault_key: String,
    /// File of its token, read for each call [default: VAULT_TOKEN, or what `vault login` left]
    #[arg(long, env = "BURROW_VAULT_TOKEN_FILE", value_name = "FILE", hide_short_help = true)]
    pub vault_token_file: Option<PathBuf>,
    /// PEM certificates to trust for it in place of the system's [default: VAULT_CACERT]
    #[arg(long, env = "BURROW_VAULT_CACERT", value_name = "FILE", hide_short_help = true)]
    pub vault_cacert: Option<PathBuf>,
    /// Its namespace [default: VAULT_NAMESPACE]
    #[arg(long, env = "BURROW_VAULT_NAMESPACE", value_name = "NAME", hide_short_help = true)]
    pub vault_namespace: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// A microVM with its own kernel
    #[default]
    Microvm,
    /// A plain process: for tests, never for strangers' code
    Fake,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompletionShell {
    Bash,
    Zsh,
    Fish,
}

impl From<CompletionShell> for Shell {
    fn from(shell: CompletionShell) -> Self {
        match shell {
            CompletionShell::Bash => Self::Bash,
            CompletionShell::Zsh => Self::Zsh,
            CompletionShell::Fish => Self::Fish,
        }
    }
}

/// Sign in with a browser, or with a token from standard input
#[derive(Debug, Args)]
#[command(before_long_help = "\
Examples:
  burrow login http://127.0.0.1:8080
  burrow login https://burrow.example.org --token - < token.txt")]
pub struct Login {
    /// The server's address [default: BURROW_URL, the last one, or http://127.0.0.1:8080]
    pub server: Option<String>,
    /// Read a personal access token from standard input
    // No variable: BURROW_TOKEN is the token itself, and makes a login needless.
    #[arg(long, value_name = "-", value_parser = ["-"])]
    pub token: Option<String>,
    /// Print the address and the code only; open no browser
    #[arg(long, env = "BURROW_NO_BROWSER")]
    pub no_browser: bool,
}

#[derive(Debug, Subcommand)]
pub enum Auth {
    /// Who is signed in, where, and until when
    #[command(before_long_help = "Examples:\n  burrow auth status")]
    Status,
}

#[derive(Debug, Args)]
pub struct OneWorkspace {
    /// The workspace's name
    #[arg(env = "BURROW_WORKSPACE")]
    pub workspace: String,
}

/// How long to wait for a workspace.
#[derive(Clone, Copy, Debug, Args)]
pub struct Waiting {
    /// Return at once
    #[arg(long, env = "BURROW_NO_WAIT")]
    pub no_wait: bool,
    /// Longest time to wait, as 90, 90s, 5m or 1h
    #[arg(long, env = "BURROW_TIMEOUT", value_parser = parse_duration, default_value = "10m")]
    pub timeout: std::time::Duration,
}

/// Make a workspace and start it
#[derive(Debug, Args)]
#[command(before_long_help = "\
Examples:
  burrow create demo
  burrow create demo --template base --no-start
  burrow create demo --if-not-exists --timeout 5m")]
pub struct Create {
    /// 1 to 63 characters of a-z, 0-9 and -
    pub name: String,
    /// What the machine is made of
    #[arg(long, env = "BURROW_TEMPLATE", default_value = "base")]
    pub template: String,
    /// Only make it
    #[arg(long, env = "BURROW_NO_START")]
    pub no_start: bool,
    /// Succeed if it is there already
    #[arg(long, env = "BURROW_IF_NOT_EXISTS")]
    pub if_not_exists: bool,
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Start a workspace and wait until it runs
#[derive(Debug, Args)]
#[command(before_long_help = "Examples:\n  burrow start demo\n  burrow start demo --no-wait")]
pub struct Start {
    #[command(flatten)]
    pub target: OneWorkspace,
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Stop a workspace: its home is persisted first
#[derive(Debug, Args)]
#[command(before_long_help = "Examples:\n  burrow stop demo\n  burrow stop demo --no-wait")]
pub struct Stop {
    #[command(flatten)]
    pub target: OneWorkspace,
    #[command(flatten)]
    pub waiting: Waiting,
}

/// List workspaces
#[derive(Debug, Args)]
#[command(
    visible_alias = "ls",
    before_long_help = "Examples:\n  burrow list\n  burrow list -o json\n  burrow list --deleted"
)]
pub struct List {
    /// Those that were deleted and can still be brought back
    #[arg(long, env = "BURROW_DELETED")]
    pub deleted: bool,
}

/// Bring a deleted workspace back, with its home as it was saved last
#[derive(Debug, Args)]
#[command(before_long_help = "\
Examples:
  burrow list --deleted
  burrow undelete demo

It comes back stopped. A home is kept for some days after the deletion.")]
pub struct Undelete {
    /// Its name, or its identifier where several of that name were deleted
    #[arg(env = "BURROW_WORKSPACE")]
    pub workspace: String,
}

/// Delete a workspace and its home; for some days it can be brought back
#[derive(Debug, Args)]
#[command(
    visible_alias = "rm",
    before_long_help = "Examples:\n  burrow delete demo\n  burrow delete demo --yes"
)]
pub struct Delete {
    /// The workspace's name
    pub workspace: String,
    /// Do not ask for the name again
    #[arg(short, long, env = "BURROW_YES")]
    pub yes: bool,
    /// Succeed if it is not there
    #[arg(long, env = "BURROW_IGNORE_NOT_FOUND")]
    pub ignore_not_found: bool,
}

/// Attach to a terminal of a workspace, the same one as in the browser
#[derive(Debug, Args)]
#[command(before_long_help = "\
Examples:
  burrow attach demo              the most recent terminal, or a new one
  burrow attach demo --new
  burrow attach demo --terminal 0199…

Keys at the beginning of a line: ~. disconnects, ~? lists the others. The shell goes on running.")]
pub struct Attach {
    #[command(flatten)]
    pub target: OneWorkspace,
    /// The terminal's identifier, or its beginning (see `burrow terminals`)
    #[arg(long, env = "BURROW_TERMINAL", value_name = "ID", conflicts_with = "new")]
    pub terminal: Option<String>,
    /// Open a new terminal
    #[arg(long, env = "BURROW_NEW")]
    pub new: bool,
    /// Fail if the workspace is stopped, rather than start it
    #[arg(long, env = "BURROW_NO_START")]
    pub no_start: bool,
}

/// Run a program in a workspace: its streams and its exit status are passed through
#[derive(Debug, Args)]
#[command(before_long_help = "\
Examples:
  burrow exec demo -- make test
  tar c src | burrow exec -i demo -- tar x
  burrow exec -w project -e CI=1 demo -- ./run.sh")]
pub struct Exec {
    #[command(flatten)]
    pub target: OneWorkspace,
    /// Pass standard input on
    #[arg(short = 'i', long, env = "BURROW_INTERACTIVE")]
    pub interactive: bool,
    /// Set a variable of the program's environment; may be repeated
    #[arg(short, long, env = "BURROW_ENV", value_name = "KEY=VALUE", value_parser = parse_variable)]
    pub env: Vec<(String, String)>,
    /// Directory to run in, relative to the home
    #[arg(short, long, env = "BURROW_WORKDIR", value_name = "DIR")]
    pub workdir: Option<String>,
    /// Fail if the workspace is stopped, rather than start it
    #[arg(long, env = "BURROW_NO_START")]
    pub no_start: bool,
    /// The program and its arguments
    #[arg(last = true, required = true, num_args = 1..)]
    pub command: Vec<String>,
}

/// Say what works on this machine, what does not, and what to do about it
#[derive(Debug, Args)]
#[command(before_long_help = "Examples:\n  burrow doctor\n  burrow doctor -o json")]
pub struct Doctor {
    /// The data directory of `burrow up`
    #[arg(long, env = "BURROW_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Image {
    /// Build the base image, unless its content is in the cache already; needs root and the network
    #[command(before_long_help = "\
Examples:
  burrow image build
  burrow image build --image-source images/base --image-cache /var/cache/burrow -o json")]
    Build {
        /// Directory of an image's definition (image.toml) [default: the one in this program]
        #[arg(long, env = "BURROW_IMAGE_SOURCE", value_name = "DIR")]
        image_source: Option<PathBuf>,
        /// Where built images are kept [default: images in the data directory]
        #[arg(long, env = "BURROW_IMAGE_CACHE", value_name = "DIR")]
        image_cache: Option<PathBuf>,
        /// The static agent for guests [default: beside the executable, or the checkout's]
        #[arg(long, env = "BURROW_AGENT", value_name = "FILE")]
        agent: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub enum Class {
    /// Make a class from a roster: a CSV file with name and e-mail
    #[command(before_long_help = "\
Examples:
  burrow class create algo --template base --roster students.csv
  burrow class create algo -o json > invitations.json")]
    Create {
        /// 1 to 63 characters of a-z, 0-9 and -
        name: String,
        /// What the students' machines are made of
        #[arg(long, env = "BURROW_TEMPLATE", default_value = "base")]
        template: String,
        /// CSV file of name and e-mail; - reads standard input
        #[arg(long, env = "BURROW_ROSTER", value_name = "FILE")]
        roster: Option<PathBuf>,
    },
    /// List classes
    #[command(visible_alias = "ls", before_long_help = "Examples:\n  burrow class list")]
    List,
    /// Show a class: its students and their workspaces
    #[command(before_long_help = "Examples:\n  burrow class show algo")]
    Show(OneClass),
    /// Start the workspaces of all students
    #[command(before_long_help = "Examples:\n  burrow class start algo")]
    Start(OneClass),
    /// Stop the workspaces of all students; the homes are persisted
    #[command(before_long_help = "Examples:\n  burrow class stop algo")]
    Stop(OneClass),
    /// Delete a class and the workspaces of its students, for good
    #[command(visible_alias = "rm", before_long_help = "Examples:\n  burrow class delete algo --yes")]
    Delete {
        #[command(flatten)]
        target: OneClass,
        /// Do not ask for the name again
        #[arg(short, long, env = "BURROW_YES")]
        yes: bool,
    },
    /// Add students; prints a link for each new one, and names malformed rows
    #[command(before_long_help = "\
Examples:
  burrow class roster algo more-students.csv
  burrow class roster algo - < students.csv")]
    Roster {
        #[command(flatten)]
        target: OneClass,
        /// CSV file of name and e-mail; - reads standard input
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub struct OneClass {
    /// The class's name
    pub class: String,
}

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token; its text is printed once
    #[command(before_long_help = "Examples:\n  burrow token create ci --days 30")]
    Create {
        /// What it is for
        name: String,
        /// Days until it expires
        #[arg(long, env = "BURROW_DAYS", value_parser = clap::value_parser!(u16).range(1..=365))]
        days: Option<u16>,
    },
    /// List tokens
    #[command(visible_alias = "ls", before_long_help = "Examples:\n  burrow token list")]
    List,
    /// Delete a token: what uses it is signed out
    #[command(visible_alias = "rm", before_long_help = "Examples:\n  burrow token delete ci")]
    Delete {
        /// Name or identifier
        token: String,
    },
}

/// "90", "90s", "5m", "1h".
fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        unit => return Err(format!("`{unit}` is no unit of time; use s, m or h")),
    };
    let number: u64 = digits.parse().map_err(|_| "expected a time such as 90s or 5m".to_owned())?;
    number
        .checked_mul(factor)
        .map(std::time::Duration::from_secs)
        .ok_or_else(|| "the time is too long".to_owned())
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// Whether `text` may be the beginning of this identifier.
pub fn is_beginning_of(text: &str, id: TerminalId) -> bool {
    !text.is_empty() && id.to_string().starts_with(&text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    fn each_command(command: &clap::Command, path: String, check: &mut dyn FnMut(&str, &clap::Command)) {
        check(&path, command);
        for sub in command.get_subcommands() {
            each_command(sub, format!("{path} {}", sub.get_name()), check);
        }
    }

    #[test]
    fn the_grammar_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_option_has_its_variable() {
        each_command(&Arguments::command(), String::new(), &mut |path, command| {
            for argument in command.get_opts() {
                let long = argument.get_long().expect("every option has a long form");
                if matches!(long, "help" | "version") || (path == " login" && long == "token") {
                    continue;
                }
                let expected = format!("BURROW_{}", long.to_uppercase().replace('-', "_"));
                assert_eq!(
                    argument.get_env().and_then(|env| env.to_str()),
                    Some(expected.as_str()),
                    "{path}"
                );
            }
        });
    }

    #[test]
    fn long_help_begins_with_examples() {
        each_command(&Arguments::command(), String::new(), &mut |path, command| {
            if command.is_hide_set() || (command.has_subcommands() && !path.is_empty()) {
                return;
            }
            let help = command.clone().render_long_help().to_string();
            assert!(help.starts_with("Examples:\n  "), "burrow{path}: {help}");
        });
    }

    #[test]
    fn a_wrong_word_gets_a_suggestion_and_status_2() {
        let error = parse("burrow crate demo").expect_err("no such command");
        assert_eq!((error.kind(), error.exit_code()), (ErrorKind::InvalidSubcommand, 2));
        assert!(error.to_string().contains("create"), "{error}");
        let error = parse("burrow up --prot 1").expect_err("no such option");
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--port"), "{error}");
    }

    #[test]
    fn exec_takes_everything_behind_two_dashes() {
        let parsed = parse("burrow exec -i -e A=b=c -w x demo -- ls -o json --help").expect("valid");
        let Command::Exec(exec) = parsed.command else { panic!("exec") };
        assert_eq!(exec.command, ["ls", "-o", "json", "--help"]);
        assert_eq!(exec.env, [("A".to_owned(), "b=c".to_owned())]);
        assert!(parse("burrow exec demo").is_err());
        assert!(parse("burrow exec demo -e =x -- ls").is_err());
    }

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("5m", 300), ("1h", 3600)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "m", "-1", "5d", "1.5h", "99999999999999999999h", "9999999999999999999h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn tokens_are_no_arguments() {
        assert!(parse("burrow login http://x --token brw_secret").is_err());
        assert!(parse("burrow login http://x --token -").is_ok());
    }

    #[test]
    fn attach_takes_one_terminal() {
        assert!(parse("burrow attach demo --new --terminal x").is_err());
    }
}
