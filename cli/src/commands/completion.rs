//! `burrow completion`.

use clap::{Args, ValueEnum};
use clap_complete::env::Shells;

use crate::{
    context::Context,
    output::{self, CommandError},
};

/// Set when a completion script calls this program for candidates.
pub const COMPLETE_VARIABLE: &str = "_BURROW_COMPLETE";

/// Print a shell completion script
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  burrow completion bash > /etc/bash_completion.d/burrow
  burrow completion zsh > \"${fpath[1]}/_burrow\"
  burrow completion fish > ~/.config/fish/completions/burrow.fish")]
pub struct Completion {
    /// Shell to complete in
    #[arg(value_enum)]
    pub shell: Shell,
}

/// The shells that are supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl From<Shell> for clap_complete::Shell {
    fn from(shell: Shell) -> Self {
        match shell {
            Shell::Bash => Self::Bash,
            Shell::Zsh => Self::Zsh,
            Shell::Fish => Self::Fish,
        }
    }
}

impl Completion {
    /// Prints the script.
    #[expect(clippy::unused_async, reason = "all commands have the same signature")]
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let mut script = Vec::new();
        let name = clap_complete::Shell::from(self.shell).to_string();
        let shells = Shells::builtins();
        let shell = shells.completer(&name).expect("it is one of the supported shells");
        let grammar = context.grammar();
        let bin = grammar.get_name();
        shell
            .write_registration(COMPLETE_VARIABLE, bin, bin, bin, &mut script)
            .map_err(|error| CommandError::error("Cannot write the script").because(&error))?;
        output::line(String::from_utf8_lossy(&script).trim_end())
    }
}
