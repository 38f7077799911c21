//! The commands. Each file holds one command: its grammar (a clap type) and its code (`run`).
//!
//! To add a command, write `commands/NAME.rs` with a type `Name` that derives [`clap::Args`] and
//! has `async fn run(self, context: &Context) -> Result<(), CommandError>`, then add it to the list
//! below.
//!
//! Rules of the grammar, which tests enforce: every option has an environment variable
//! `BURROW_<OPTION>` (the option wins), and every command has examples. Secrets are never options:
//! a token comes from standard input, `BURROW_TOKEN` or the credentials file.

use clap::{Parser, Subcommand, builder::Styles};

use crate::{
    context::{Context, GlobalOptions},
    output::{CommandError, ExitStatus},
};

pub mod admin;
pub mod attach;
pub mod audit;
pub mod auth;
pub mod backup;
pub mod budget;
mod candidates;
pub mod class;
pub mod completion;
pub mod create;
pub mod delete;
pub mod doctor;
pub mod exec;
pub mod ext4_reader;
pub mod fork;
pub mod forward;
pub mod gateway;
pub mod grow;
pub mod history;
pub mod hold;
pub mod image;
pub mod list;
pub mod login;
pub mod logout;
pub mod network;
pub mod open;
pub mod ports;
pub mod pull;
pub mod push;
pub mod reference;
pub mod restore;
pub mod runner;
pub mod show;
pub mod snapshot;
pub mod start;
pub mod stop;
pub mod terminals;
pub mod token;
mod transfer;
pub mod undelete;
pub mod up;
pub mod usage;
pub mod user;
pub mod version;
pub mod volume;
pub mod wait;
mod workspace;

const AFTER_HELP: &str = "\
Exit status:
  0 success · 1 error · 2 usage · 3 not found · 4 not signed in · 5 conflict · 6 quota
  7 unavailable or timed out · 130 interrupted
  exec and attach return the remote exit status; 255 means that the connection failed

Environment variables:
  Every option can be set as BURROW_<OPTION>. BURROW_TOKEN signs in without a credentials file.
  NO_COLOR turns colors off.";

const AFTER_LONG_HELP: &str = "\
Examples:
  burrow up
  burrow login http://127.0.0.1:8080
  burrow create demo && burrow attach demo
  burrow exec demo -- uname -a
  burrow restore demo --at 10m notes.txt

Exit status:
  0 success · 1 error · 2 usage · 3 not found · 4 not signed in · 5 conflict · 6 quota
  7 unavailable or timed out · 130 interrupted
  exec and attach return the remote exit status; 255 means that the connection failed

Environment variables:
  Every option can be set as BURROW_<OPTION>. BURROW_TOKEN signs in without a credentials file.
  NO_COLOR turns colors off.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "burrow",
    version,
    about = "Self-hosted cloud development environments",
    after_help = AFTER_HELP,
    after_long_help = AFTER_LONG_HELP,
    styles = Styles::plain(),
    max_term_width = 100,
    infer_long_args = false,
    disable_help_subcommand = true,
    propagate_version = false
)]
pub struct Arguments {
    #[command(flatten)]
    pub global: GlobalOptions,
    #[command(subcommand)]
    pub command: Command,
}

/// Makes [`Command`] and its dispatch from one list, in the order of `burrow --help`.
macro_rules! commands {
    ($($module:ident::$Name:ident),* $(,)?) => {
        /// A parsed command.
        #[derive(Debug, Subcommand)]
        pub enum Command {
            $($Name(Box<$module::$Name>),)*
        }

        impl Command {
            /// Runs the command to its end.
            pub async fn run(self, context: &Context) -> Result<ExitStatus, CommandError> {
                match self {
                    $(Self::$Name(command) => command.run(context).await.map(ExitStatus::from),)*
                }
            }
        }
    };
}

commands! {
    up::Up,
    login::Login,
    logout::Logout,
    auth::Auth,
    list::List,
    create::Create,
    start::Start,
    stop::Stop,
    show::Show,
    delete::Delete,
    undelete::Undelete,
    history::History,
    restore::Restore,
    snapshot::Snapshot,
    fork::Fork,
    grow::Grow,
    hold::Hold,
    network::Network,
    push::Push,
    pull::Pull,
    attach::Attach,
    terminals::Terminals,
    exec::Exec,
    open::Open,
    ports::Ports,
    forward::Forward,
    doctor::Doctor,
    image::Image,
    version::Version,
    completion::Completion,
    class::Class,
    user::User,
    token::Token,
    volume::Volume,
    audit::Audit,
    backup::Backup,
    budget::Budget,
    usage::Usage,
    admin::Admin,
    runner::Runner,
    gateway::Gateway,
    ext4_reader::Ext4Reader,
    reference::Reference,
}

impl Command {
    /// Whether the command handles Ctrl-C itself, because it forwards it or cleans up first.
    pub fn handles_signals(&self) -> bool {
        matches!(self, Self::Attach(_) | Self::Exec(_) | Self::Up(_) | Self::Runner(_))
    }
}

#[cfg(test)]
mod tests {
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

    mod grammar {
        use super::*;

        #[test]
        fn is_valid() {
            Arguments::command().debug_assert();
        }

        #[test]
        fn options_have_environment_variables() {
            each_command(&Arguments::command(), String::new(), &mut |path, command| {
                // Hidden commands are started by this program itself.
                if command.is_hide_set() {
                    return;
                }
                for argument in command.get_arguments().filter(|argument| !argument.is_positional()) {
                    let long = argument.get_long().expect("every option has a long form");
                    // What is read from standard input is a secret.
                    let is_secret = argument.get_value_names().is_some_and(|names| names == ["-"]);
                    if matches!(long, "help" | "version") || is_secret {
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
        fn long_help_has_examples() {
            each_command(&Arguments::command(), String::new(), &mut |path, command| {
                if command.is_hide_set() || (command.has_subcommands() && !path.is_empty()) {
                    return;
                }
                let help = command.clone().render_long_help().to_string();
                assert!(help.contains("\nExamples:\n  burrow"), "burrow{path}: {help}");
            });
        }

        #[test]
        fn commands_have_summaries() {
            each_command(&Arguments::command(), String::new(), &mut |path, command| {
                let about = command.get_about().map(ToString::to_string).unwrap_or_default();
                assert!(!about.is_empty() && !about.starts_with('`'), "burrow{path}: {about}");
            });
        }

        #[test]
        fn typo_gets_suggestion_and_status_2() {
            let error = parse("burrow crate demo").expect_err("no such command");
            assert_eq!((error.kind(), error.exit_code()), (ErrorKind::InvalidSubcommand, 2));
            assert!(error.to_string().contains("create"), "{error}");
            let error = parse("burrow up --prot 1").expect_err("no such option");
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("--port"), "{error}");
        }

        #[test]
        fn old_names_are_hidden_aliases() {
            assert!(parse("burrow volume check demo").is_ok());
            assert!(parse("burrow admin collect").is_ok());
            assert!(parse("burrow admin forget-tenant --name Home").is_ok()); // language: allow
        }
    }

    #[test]
    fn exec_takes_everything_after_two_dashes() {
        let parsed = parse("burrow exec -i -e A=b=c -w x demo -- ls -o json --help").expect("valid");
        let Command::Exec(exec) = parsed.command else { panic!("exec") };
        assert_eq!(exec.command, ["ls", "-o", "json", "--help"]);
        assert_eq!(exec.env, [("A".to_owned(), "b=c".to_owned())]);
        assert!(parse("burrow exec demo").is_err());
        assert!(parse("burrow exec demo -e =x -- ls").is_err());
    }

    #[test]
    fn login_refuses_token_as_argument() {
        assert!(parse("burrow login http://x --token brw_secret").is_err());
        assert!(parse("burrow login http://x --token -").is_ok());
    }

    #[test]
    fn attach_takes_one_terminal() {
        assert!(parse("burrow attach demo --new --terminal x").is_err());
    }
}
