//! Progress on standard error: a spinner with the elapsed time on a terminal, plain lines
//! elsewhere.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Between two frames of the spinner.
const TICK_INTERVAL: Duration = Duration::from_millis(120);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// One line with a spinner, for terminals.
    Spinner,
    /// One line per change, for logs.
    Lines,
    /// Nothing.
    Silent,
}

impl Style {
    /// The style that suits standard error.
    pub fn detect(quiet: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        match quiet {
            true => Self::Silent,
            false if io::stderr().is_terminal() && !dumb => Self::Spinner,
            false => Self::Lines,
        }
    }
}

/// A step in progress. Dropping it without [`Step::done`] shows that it failed.
pub struct Step {
    style: Style,
    title: String,
    since: Instant,
    bar: Option<ProgressBar>,
    detail: String,
    finished: bool,
}

impl Step {
    /// Shows that a step has begun.
    pub fn begin(style: Style, title: impl Into<String>) -> Self {
        let title = title.into();
        let bar = match style {
            Style::Spinner => Some(spinner(&title)),
            Style::Lines => {
                write_line(&format!("{title}…"));
                None
            }
            Style::Silent => None,
        };
        Self { style, title, since: Instant::now(), bar, detail: String::new(), finished: false }
    }

    /// A step that is shown only once it is done.
    pub fn hidden(style: Style, title: impl Into<String>) -> Self {
        Self {
            style,
            title: title.into(),
            since: Instant::now(),
            bar: None,
            detail: String::new(),
            finished: false,
        }
    }

    /// Shows what the step is doing now.
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

    /// Shows that the step is done.
    pub fn done(mut self) {
        self.end("✓", "done", self.since.elapsed());
    }

    /// Like [`Step::done`], with a time that was measured elsewhere.
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
    bar.enable_steady_tick(TICK_INTERVAL);
    bar
}

/// Writes one line to standard error. A closed standard error is ignored.
pub fn write_line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spinner_template_is_valid() {
        let bar = spinner("Starting");
        bar.set_message("half");
        bar.finish_and_clear();
    }
}
