//! `cargo xtask check --language`: words to avoid and long lines, counted per directory of the
//! workspace. Clippy finds public items without a doc comment (`missing_docs` in `Cargo.toml`).
//!
//! The words are those of the last table of `docs/glossary.md`; there is no second list. A line
//! that needs one of the words, or cannot be shorter, contains `language: allow` in a comment, or
//! follows a line that does.

use std::{collections::BTreeMap, fmt::Write as _, fs, process::Command};

use anyhow::{Result, bail};

use crate::{root, run};

/// The terms of the project. Its last table lists the words to avoid.
const GLOSSARY: &str = include_str!("../../docs/glossary.md");
/// Columns of a line of code or of a comment, as in `rustfmt.toml`.
const MAX_COLUMNS: usize = 110;
/// Marks a line, or the line above it, as an exception.
const EXCEPTION: &str = "language: allow";
/// Extensions of files in which words are checked.
const PROSE: &[&str] = &["rs", "ts", "tsx", "css", "sql", "mjs", "md", "toml"];
/// Extensions of files whose lines have a maximum length.
const CODE: &[&str] = &["rs", "ts", "tsx", "mjs"];
/// Files that are not written by hand, must never change (the database records checksums of applied
/// migrations), or explain the words.
const EXEMPT: &[&str] = &[
    "docs/glossary.md",
    "docs/src/cli.md",
    "web/src/api/schema.ts",
    "controller/migrations/0001_",
    "controller/migrations/0002_",
    "controller/migrations/0003_",
    "controller/migrations/0004_",
];

/// A word or phrase to avoid, in lower case, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    avoid: String,
    instead: String,
}

/// One breach of a rule, at a line of a file. Line 0 is the file's name.
struct Finding {
    file: String,
    line: usize,
    kind: Kind,
    message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Word,
    Length,
}

/// Fails if there is a finding. Prints every finding and a table of counts.
pub fn check() -> Result<()> {
    let rules = rules(GLOSSARY)?;
    let mut findings = Vec::new();
    for file in files()? {
        let text = fs::read_to_string(root().join(&file)).unwrap_or_default();
        findings.extend(check_text(&file, &text, &rules));
    }
    for finding in &findings {
        println!("{}:{}: {}", finding.file, finding.line, finding.message);
    }
    if findings.is_empty() {
        return Ok(());
    }
    println!("{}", table(&findings));
    bail!("{} findings. An exception needs a comment `{EXCEPTION}`", findings.len())
}

/// The files of the checkout that are checked, relative to its root.
fn files() -> Result<Vec<String>> {
    let listed =
        run::output(Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    let is_checked = |file: &&str| extension(file).is_some_and(|extension| PROSE.contains(&extension));
    let is_exempt = |file: &str| EXEMPT.iter().any(|prefix| file.starts_with(prefix));
    Ok(listed.lines().filter(is_checked).filter(|file| !is_exempt(file)).map(str::to_owned).collect())
}

fn extension(file: &str) -> Option<&str> {
    file.rsplit_once('.').map(|(_, extension)| extension)
}

/// The rows of the glossary's last table.
fn rules(glossary: &str) -> Result<Vec<Rule>> {
    let rows = glossary
        .lines()
        .rev()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| {
        let mut cells = row.trim_matches('|').split('|').map(str::trim);
        cells.next().zip(cells.next())
    });
    let mut rules: Vec<Rule> = cells
        .filter(|(avoid, _)| *avoid != "avoid" && !avoid.starts_with("---"))
        .flat_map(|(avoid, instead)| {
            avoid
                .split(',')
                .map(|word| Rule { avoid: word.trim().to_lowercase(), instead: instead.to_owned() })
        })
        .collect();
    rules.reverse();
    if rules.is_empty() || rules.iter().any(|rule| rule.avoid.is_empty() || rule.instead.is_empty()) {
        bail!("Cannot read the last table of docs/glossary.md: it needs rows `| avoid | use |`");
    }
    Ok(rules)
}

fn check_text(file: &str, text: &str, rules: &[Rule]) -> Vec<Finding> {
    let has_limit = extension(file).is_some_and(|extension| CODE.contains(&extension));
    let mut findings = Vec::new();
    let name = words(file);
    findings.extend(breaches(&name, rules).map(|rule| word_finding(file, 0, rule)));
    let mut is_allowed = false;
    for (index, line) in text.lines().enumerate() {
        let was_allowed = std::mem::replace(&mut is_allowed, line.contains(EXCEPTION));
        if was_allowed || is_allowed {
            continue;
        }
        let number = index + 1;
        let line_words = words(line);
        findings.extend(breaches(&line_words, rules).map(|rule| word_finding(file, number, rule)));
        let columns = line.chars().count();
        if has_limit && columns > MAX_COLUMNS {
            let message = format!("{columns} columns, at most {MAX_COLUMNS}");
            findings.push(Finding { file: file.to_owned(), line: number, kind: Kind::Length, message });
        }
    }
    findings
}

fn breaches<'a>(words: &str, rules: &'a [Rule]) -> impl Iterator<Item = &'a Rule> {
    rules.iter().filter(move |rule| words.contains(&format!(" {} ", rule.avoid)))
}

fn word_finding(file: &str, line: usize, rule: &Rule) -> Finding {
    let message = format!("`{}`: use {}", rule.avoid, rule.instead);
    Finding { file: file.to_owned(), line, kind: Kind::Word, message }
}

/// The words of a line in lower case, with one space before and after each. Identifiers are split:
/// `is_running`, `isRunning` and `IsRunning` are " is running ".
fn words(line: &str) -> String {
    let mut words = String::with_capacity(line.len() + 8);
    words.push(' ');
    let mut was_lower = false;
    for character in line.chars() {
        if character.is_uppercase() && was_lower {
            words.push(' ');
        }
        was_lower = character.is_lowercase();
        if character.is_alphanumeric() || character == '\'' {
            words.extend(character.to_lowercase());
        } else if !words.ends_with(' ') {
            words.push(' ');
        }
    }
    words.push(' ');
    words
}

/// The counts of each directory of the workspace.
fn table(findings: &[Finding]) -> String {
    let mut counts: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for finding in findings {
        let directory = finding.file.split_once('/').map_or("(root)", |(directory, _)| directory);
        counts.entry(directory).or_default()[finding.kind as usize] += 1;
    }
    let mut table = format!("\n{:18} {:>8} {:>12}\n", "directory", "words", "long lines");
    let mut total = [0; 2];
    for (directory, counts) in &counts {
        let [word, length] = counts;
        let _ = writeln!(table, "{directory:18} {word:>8} {length:>12}");
        for (sum, count) in total.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    let [word, length] = total;
    table + &format!("{:18} {word:>8} {length:>12}", "total")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(file: &str, text: &str) -> Vec<String> {
        let rules = rules(GLOSSARY).expect("a table");
        check_text(file, text, &rules).into_iter().map(|finding| finding.message).collect()
    }

    mod glossary {
        use super::*;

        #[test]
        fn last_table_is_read() {
            let rules = rules(GLOSSARY).expect("a table");
            // language: allow
            assert!(rules.iter().any(|rule| rule.avoid == "anew" && rule.instead == "again"));
        }

        #[test]
        fn without_table_is_refused() {
            assert!(rules("# Glossary\n").is_err());
        }
    }

    mod words {
        use super::*;

        // language: allow
        const SAMPLES: &str = "// Anew.\nfn put_back() {}\nstruct PutBack;\nlet x = \"Keeper: put  back\";";

        #[test]
        fn are_found_in_prose_and_identifiers() {
            for sample in SAMPLES.lines() {
                assert!(!messages("a.rs", sample).is_empty(), "{sample}");
            }
        }

        #[test]
        fn inside_other_words_are_ignored() {
            assert_eq!(messages("a.rs", "// The bookkeepers renew."), [""; 0]);
        }

        #[test]
        fn with_exception_are_ignored() {
            for sample in SAMPLES.lines() {
                assert_eq!(messages("a.rs", &format!("{sample} // {EXCEPTION}")), [""; 0]);
                assert_eq!(messages("a.rs", &format!("// {EXCEPTION}\n{sample}")), [""; 0]);
            }
        }
    }

    mod columns {
        use super::*;

        #[test]
        fn have_a_limit_in_code_only() {
            let long = format!("// {}", "x".repeat(MAX_COLUMNS));
            assert_eq!(messages("a.rs", &long).len(), 1);
            assert_eq!(messages("a.rs", &long[..MAX_COLUMNS]).len(), 0);
            assert_eq!(messages("a.md", &long).len(), 0);
        }
    }
}
