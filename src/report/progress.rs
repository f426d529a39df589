//! The progress bar: how many tests have run, and which are running.

use super::escape;
use crate::event::TestId;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// How many running tests are named.
const NAMED: usize = 4;

/// A bar on standard error, or nothing.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    visible: bool,
    running: Vec<TestId>,
}

impl Progress {
    /// A bar that appears when the first test starts, if `visible`.
    pub fn new(visible: bool) -> Self {
        Self { bar: None, visible, running: Vec::new() }
    }

    /// Whether there should be a bar: standard error is a terminal that can move its cursor, and
    /// neither CI nor `--quiet` asks for plain lines.
    pub fn wanted(quiet: bool, terminal: bool, ci: bool, term: Option<&str>) -> bool {
        terminal && !quiet && !ci && term.is_none_or(|term| term != "dumb")
    }

    /// The number of tests is known.
    pub fn start(&mut self, tests: usize) {
        if !self.visible {
            return;
        }
        let bar = ProgressBar::with_draw_target(Some(tests as u64), ProgressDrawTarget::stderr_with_hz(60));
        if let Ok(style) = ProgressStyle::with_template(
            "{prefix:>12.cyan.bold} [{elapsed_precise}] [{bar:25}] {pos}/{len} {wide_msg}",
        ) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix("Running");
        bar.enable_steady_tick(Duration::from_millis(200));
        self.bar = Some(bar);
    }

    pub fn test_started(&mut self, test: &TestId) {
        if self.bar.is_some() {
            self.running.push(test.clone());
            self.show();
        }
    }

    /// A test has ended.
    pub fn test_finished(&mut self, test: &TestId) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
            if let Some(index) = self.running.iter().position(|running| running == test) {
                self.running.remove(index);
            }
            self.show();
        }
    }

    fn show(&self) {
        let Some(bar) = &self.bar else { return };
        let names: Vec<_> = self.running.iter().take(NAMED).map(|test| escape::line(&test.name)).collect();
        let more = if self.running.len() > NAMED { ", …" } else { "" };
        bar.set_message(format!("{}{more}", names.join(", ")));
    }

    /// Runs `write` while the bar is out of the way.
    pub fn suspend<R>(&self, write: impl FnOnce() -> R) -> R {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Takes the bar away for good.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.running.clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::Progress;

    #[test]
    fn a_bar_is_only_for_a_person_at_a_terminal() {
        assert!(Progress::wanted(false, true, false, Some("xterm")));
        assert!(!Progress::wanted(true, true, false, None), "quiet");
        assert!(!Progress::wanted(false, false, false, None), "no terminal");
        assert!(!Progress::wanted(false, true, true, None), "CI");
        assert!(!Progress::wanted(false, true, false, Some("dumb")), "dumb terminal");
    }
}
