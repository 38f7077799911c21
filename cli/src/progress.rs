//! Long work in words, on standard error: a spinner with the time where a person looks on, plain lines elsewhere.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Spinner,
    Lines,
    Silent,
}

impl Style {
    /// What suits standard error.
    pub fn detect(quiet: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        match quiet {
            true => Self::Silent,
            false if io::stderr().is_terminal() && !dumb => Self::Spinner,
            false => Self::Lines,
        }
    }
}

/// One step under way. Dropped without [`Step::done`], it says that it failed.
pub struct Step {
    style: Style,
    title: String,
    since: Instant,
    bar: Option<ProgressBar>,
    detail: String,
    finished: bool,
}

impl Step {
    pub fn begin(style: Style, title: impl Into<String>) -> Self {
        let title = title.into();
        let bar = match style {
            Style::Spinner => Some(spinner(&title)),
            Style::Lines => {
                write_line(&format!("{title} …"));
                None
            }
            Style::Silent => None,
        };
        Self { style, title, since: Instant::now(), bar, detail: String::new(), finished: false }
    }

    /// A step of whose beginning nobody was told; it is shown once it is done.
    pub fn unseen(style: Style, title: impl Into<String>) -> Self {
        Self {
            style,
            title: title.into(),
            since: Instant::now(),
            bar: None,
            detail: String::new(),
            finished: false,
        }
    }

    /// More words about what is being done right now.
    pub fn detail(&mut self, detail: &str) {
        if self.detail == detail {
            return;
        }
        detail.clone_into(&mut self.detail);
        match (&self.bar, self.style) {
            (Some(bar), _) => bar.set_message(detail.to_owned()),
            (None, Style::Lines) => write_line(&format!("  {detail}")),
            _ => {}
        }
    }

    pub fn done(mut self) {
        self.end("✓", "done", self.since.elapsed());
    }

    /// Done, in a time that someone else measured.
    pub fn done_in(mut self, time: Duration) {
        self.end("✓", "done", time);
    }

    fn end(&mut self, mark: &str, word: &str, time: Duration) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let seconds = time.as_secs_f64();
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        match self.style {
            Style::Spinner => write_line(&format!("{mark} {} {seconds:.1} s", self.title)),
            Style::Lines => write_line(&format!("{} {word} in {seconds:.1} s", self.title)),
            Style::Silent => {}
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.end("✗", "failed", self.since.elapsed());
    }
}

fn spinner(title: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}")
        .expect("the template is a constant that the tests draw");
    let bar = ProgressBar::new_spinner().with_style(style).with_prefix(title.to_owned());
    bar.enable_steady_tick(TICK);
    bar
}

/// One line for the person. A closed standard error stops no work.
pub fn write_line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spinner_can_be_drawn() {
        let bar = spinner("Starting");
        bar.set_message("half");
        bar.finish_and_clear();
    }
}
