//! `burrow reference`: man pages and the Markdown reference of the command line, from the same
//! grammar that parses it.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, Args};
use clap_mangen::Man;

use crate::{
    context::Context,
    output::{CommandError, ErrorKind},
};

/// Generate man pages and the Markdown reference of the command line
#[derive(Debug, Args)]
#[command(
    hide = true,
    after_long_help = "\
Examples:
  burrow reference --man target/man
  burrow reference --markdown docs/src/cli.md"
)]
pub struct Reference {
    /// Write one man page per command to this directory
    #[arg(long, env = "BURROW_MAN", value_name = "DIR", required_unless_present = "markdown")]
    pub man: Option<PathBuf>,
    /// Write one Markdown page about all commands to this file
    #[arg(long, env = "BURROW_MARKDOWN", value_name = "FILE")]
    pub markdown: Option<PathBuf>,
}

impl Reference {
    /// Writes what was asked for.
    #[expect(clippy::unused_async, reason = "all commands have the same signature")]
    pub async fn run(self, context: &Context) -> Result<(), CommandError> {
        let mut root = context.grammar();
        root.build();
        if let Some(directory) = &self.man {
            let written = fs::create_dir_all(directory).and_then(|()| write_man_pages(&root, directory));
            written.map_err(|error| cannot_write(directory, &error))?;
        }
        if let Some(file) = &self.markdown {
            fs::write(file, markdown(&root)).map_err(|error| cannot_write(file, &error))?;
        }
        Ok(())
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> CommandError {
    CommandError::new(ErrorKind::Error, format!("Cannot write {}", path.display())).because(error)
}

/// The command and all commands below it that are not hidden, parents first.
fn visible<'a>(command: &'a clap::Command, found: &mut Vec<&'a clap::Command>) {
    found.push(command);
    let subcommands = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    subcommands.for_each(|sub| visible(sub, found));
}

fn all_visible(root: &clap::Command) -> Vec<&clap::Command> {
    let mut found = Vec::new();
    visible(root, &mut found);
    found
}

/// "burrow snapshot create".
fn full_name(command: &clap::Command) -> &str {
    command.get_bin_name().unwrap_or_else(|| command.get_name())
}

/// The text behind the options, split into the examples and the rest.
fn trailing_help(command: &clap::Command) -> (Option<String>, Option<String>) {
    let text = command.get_after_long_help().or_else(|| command.get_after_help());
    let Some(text) = text.map(ToString::to_string) else { return (None, None) };
    let Some(rest) = text.strip_prefix("Examples:\n") else { return (None, Some(text)) };
    match rest.split_once("\n\n") {
        Some((examples, notes)) => (Some(examples.to_owned()), Some(notes.to_owned())),
        None => (Some(rest.to_owned()), None),
    }
}

/// Lines without the indentation that all of them share.
fn dedent(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
    lines.join("\n")
}

fn write_man_pages(root: &clap::Command, directory: &Path) -> io::Result<()> {
    for command in all_visible(root) {
        let name = full_name(command).replace(' ', "-");
        let page = man_page(command, &name)?;
        fs::write(directory.join(format!("{name}.1")), page)?;
    }
    Ok(())
}

fn man_page(command: &clap::Command, name: &str) -> io::Result<Vec<u8>> {
    let (examples, notes) = trailing_help(command);
    // Pages are named after the whole command line, as Git does: git-commit(1).
    let man = Man::new(command.clone().display_name(name)).title(name).section("1").source("Burrow");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut page)?;
    }
    if command.get_subcommands().any(|sub| !sub.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    let mut end = String::new();
    if let Some(examples) = examples {
        let _ = write!(end, ".SH EXAMPLES\n.nf\n{}\n.fi\n", roff(&dedent(&examples)));
    }
    if let Some(notes) = notes {
        let _ = write!(end, ".SH NOTES\n.nf\n{}\n.fi\n", roff(&notes));
    }
    page.extend_from_slice(end.as_bytes());
    Ok(page)
}

/// Text that troff prints as it is: no line may look like a request.
fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    let lines: Vec<String> = escaped
        .lines()
        .map(|line| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() })
        .collect();
    lines.join("\n")
}

fn markdown(root: &clap::Command) -> String {
    let mut page = String::from(
        "<!-- Generated by `burrow reference --markdown`. Do not edit. -->\n\n# Command-line reference\n\n",
    );
    let commands = all_visible(root);
    for command in commands.iter().skip(1) {
        let name = full_name(command);
        let depth = name.split(' ').count().saturating_sub(2);
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let anchor = name.replace(' ', "-");
        let _ = writeln!(page, "{}- [`{name}`](#{anchor}) – {about}", "  ".repeat(depth));
    }
    for command in commands {
        let _ = write!(page, "\n{}", markdown_section(command));
    }
    page
}

fn markdown_section(command: &clap::Command) -> String {
    let name = full_name(command);
    let (examples, notes) = trailing_help(command);
    let mut section = format!("## {name}\n\n");
    if let Some(about) = command.get_long_about().or_else(|| command.get_about()) {
        let _ = writeln!(section, "{about}.\n");
    }
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage);
    let _ = writeln!(section, "```text\n{usage}\n```");
    let aliases: Vec<String> = command.get_visible_aliases().map(|alias| format!("`{alias}`")).collect();
    if !aliases.is_empty() {
        let _ = writeln!(section, "\nAlias: {}", aliases.join(", "));
    }
    let is_root = !name.contains(' ');
    // The global options are described once, with `burrow` itself.
    let shown = |argument: &&Arg| {
        let is_builtin = matches!(argument.get_id().as_str(), "help" | "version");
        !argument.is_hide_set() && !is_builtin && (is_root || !argument.is_global_set())
    };
    let arguments: Vec<&Arg> = command.get_positionals().filter(shown).collect();
    if !arguments.is_empty() {
        section.push_str("\n| argument | meaning |\n| --- | --- |\n");
        for argument in arguments {
            let _ = writeln!(section, "| `{}` | {} |", value_names(argument), meaning(argument));
        }
    }
    let is_option = |argument: &&Arg| !argument.is_positional();
    let options: Vec<&Arg> = command.get_arguments().filter(is_option).filter(shown).collect();
    if !options.is_empty() {
        section.push_str("\n| option | meaning |\n| --- | --- |\n");
        for option in options {
            let _ = writeln!(section, "| {} | {} |", flags(option), meaning(option));
        }
    }
    if let Some(examples) = examples {
        let _ = writeln!(section, "\n```sh\n{}\n```", dedent(&examples));
    }
    if let Some(notes) = notes {
        if notes.contains(":\n  ") {
            let _ = writeln!(section, "\n```text\n{notes}\n```");
        } else {
            let _ = writeln!(section, "\n{notes}");
        }
    }
    section
}

fn value_names(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let names: Vec<&str> = names.iter().map(clap::builder::Str::as_str).collect();
    names.join(" ")
}

/// "`-o`, `--output OUTPUT`".
fn flags(option: &Arg) -> String {
    let takes_value = matches!(option.get_action(), ArgAction::Set | ArgAction::Append);
    let value = if takes_value { format!(" {}", value_names(option)) } else { String::new() };
    let short = option.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
    let long = option.get_long().unwrap_or_default();
    format!("{short}`--{long}{value}`")
}

/// The help text with the default, the possible values and the environment variable.
fn meaning(argument: &Arg) -> String {
    let mut text = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let takes_value = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
    let values = argument.get_possible_values();
    if takes_value && !values.is_empty() {
        let names: Vec<String> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
        let _ = write!(text, ". Possible values: {}", names.join(", "));
    }
    let defaults: Vec<String> =
        argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    if takes_value && !defaults.is_empty() {
        let _ = write!(text, " [default: `{}`]", defaults.join(" "));
    }
    if let Some(variable) = argument.get_env() {
        let _ = write!(text, " [env: `{}`]", variable.to_string_lossy());
    }
    text.replace('|', "\\|").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::commands::Arguments;

    fn built() -> clap::Command {
        let mut root = Arguments::command();
        root.build();
        root
    }

    #[test]
    fn man_pages_cover_visible_commands() {
        let directory = tempfile::tempdir().expect("a directory");
        write_man_pages(&built(), directory.path()).expect("written");
        let page = |name: &str| fs::read_to_string(directory.path().join(name)).expect(name);
        for name in ["burrow.1", "burrow-create.1", "burrow-snapshot-create.1"] {
            assert!(page(name).contains(".SH SYNOPSIS"), "{name}");
        }
        assert!(page("burrow-create.1").contains(".SH EXAMPLES\n.nf\nburrow create demo\n"));
        assert!(!directory.path().join("burrow-runner.1").exists(), "hidden commands have no page");
    }

    #[test]
    fn markdown_covers_visible_commands() {
        let page = markdown(&built());
        for name in ["burrow up", "burrow create", "burrow snapshot create", "burrow volume scrub"] {
            assert!(page.contains(&format!("\n## {name}\n")), "{name}");
        }
        assert!(!page.contains("## burrow runner"), "hidden commands have no section");
        assert!(page.contains("| `--no-start` |") && page.contains("| `-q`, `--quiet` |"));
        assert!(page.contains("`BURROW_PORT`") && page.contains("[default: `8080`]"));
    }

    #[test]
    fn roff_lines_are_no_requests() {
        assert_eq!(roff(".a\n'b\nc\\d -e"), "\\&.a\n\\&'b\nc\\ed \\-e");
    }
}
