//! The client commands, one noun a file. They speak to a server through [`crate::server::Server`] and print through
//! [`crate::output::Output`].

pub mod admin;
pub mod attach;
pub mod auth;
pub mod class;
pub mod deleted;
pub mod exec;
pub mod fork;
pub mod history;
pub mod moving;
mod place;
pub mod restore;
pub mod snapshot;
pub mod token;
pub mod version;
pub mod volume;
pub mod waiting;
pub mod workspace;

use std::io::{self, BufRead, IsTerminal, Read, Write};

use crate::{
    arguments::Global,
    failure::{Failure, Kind},
    output::Output,
    progress::Style,
    server::{self, Server},
};

/// What every command has at hand.
pub struct Context {
    pub output: Output,
    pub style: Style,
    /// Whether a person can be asked.
    pub asks: bool,
    url: Option<String>,
}

impl Context {
    pub fn new(global: &Global) -> Self {
        let ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
        Self {
            output: Output { format: global.output, quiet: global.quiet },
            style: Style::detect(global.quiet),
            asks: !global.no_input && !ci && io::stdin().is_terminal() && io::stderr().is_terminal(),
            url: global.url.clone(),
        }
    }

    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// The server, as the person who signed in.
    pub fn server(&self) -> Result<Server, Failure> {
        server::signed_in(self.url())
    }

    /// Another server that the person has signed in to.
    pub fn other_server(&self, url: &str) -> Result<Server, Failure> {
        server::signed_in_to(url)
    }

    /// Lets something be destroyed only by someone who types its name, or said `--yes`. `deed`: what would be done, as in
    /// "deletes the class algo, for good".
    pub fn confirm(&self, yes: bool, deed: &str, name: &str) -> Result<(), Failure> {
        if yes {
            return Ok(());
        }
        if !self.asks {
            return Err(Failure::new(Kind::Usage, format!("This {deed}"))
                .why("it is not done without being asked for twice")
                .next("add --yes"));
        }
        eprint!("This {deed}. Type {name} to go on: ");
        let _ = io::stderr().flush();
        let mut answer = String::new();
        io::stdin()
            .lock()
            .take(MAX_ANSWER_BYTES)
            .read_line(&mut answer)
            .map_err(|error| Failure::error("The answer cannot be read").because(&error))?;
        if answer.trim() == name {
            Ok(())
        } else {
            Err(Failure::new(Kind::Usage, "That is another word; nothing was done"))
        }
    }
}

/// Longest answer that is read.
const MAX_ANSWER_BYTES: u64 = 4096;

/// The one of `names` that is nearest to `wanted`, if any is near.
pub fn did_you_mean<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let far = wanted.chars().count() / 3 + 2;
    names
        .map(|name| (distance(wanted, name), name))
        .filter(|(distance, _)| *distance < far)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested() {
        let names = ["demo", "thesis", "homework"];
        assert_eq!(did_you_mean("dmeo", names.into_iter()), Some("demo"));
        assert_eq!(did_you_mean("homewrok", names.into_iter()), Some("homework"));
        assert_eq!(did_you_mean("x", names.into_iter()), None);
        assert_eq!(did_you_mean("zzzzzzzz", names.into_iter()), None);
    }
}
