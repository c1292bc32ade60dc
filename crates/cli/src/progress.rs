//! Progress bars, on standard error.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

#[cfg(feature = "pull")]
use indicatif::HumanBytes;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use crate::args::ProgressMode;
use crate::flow::Count;

/// How often the bar is drawn when nothing else moves it.
const PERIOD: Duration = Duration::from_millis(100);
/// With an input of known length.
const BAR: &str = "{bar:30} {percent:>3} % {msg} [{elapsed}, left {eta}]";
/// With an input of unknown length.
const SPINNER: &str = "{spinner} {msg} [{elapsed}]";

/// A bar on standard error, if it is a terminal and the mode allows.
fn bar(mode: ProgressMode, length: Option<u64>) -> Option<ProgressBar> {
    let show = mode == ProgressMode::Auto && io::stderr().is_terminal();
    show.then(|| {
        let (bar, template) = match length {
            Some(length) => (ProgressBar::new(length), BAR),
            None => (ProgressBar::new_spinner(), SPINNER),
        };
        bar.set_style(ProgressStyle::with_template(template).expect("a test parses both templates"));
        bar.enable_steady_tick(PERIOD);
        bar
    })
}

/// A bar with counts and rates, or nothing at all. It disappears when dropped.
pub struct Progress {
    bar: Option<ProgressBar>,
    begun: Instant,
    texts: u64,
    tokens: u64,
}

impl Progress {
    /// `bytes` is the length of the input where it is known; `on_terminal` says whether the results go to one, where a
    /// bar would be drawn over them.
    pub fn new(mode: ProgressMode, bytes: Option<u64>, on_terminal: bool) -> Self {
        let bar = if on_terminal { None } else { bar(mode, bytes) };
        Self { bar, begun: Instant::now(), texts: 0, tokens: 0 }
    }

    /// Counts results that are written, from how many bytes of input.
    pub fn advance(&mut self, count: Count, bytes: u64) {
        self.texts += count.texts;
        self.tokens += count.tokens;
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
            bar.set_message(message(self.texts, self.tokens, self.begun.elapsed()));
        }
    }

    /// Leaves the counts on the screen as a last line.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.suspend(|| crate::say(&message(self.texts, self.tokens, self.begun.elapsed())));
        }
    }
}

/// A bar of bytes that arrive, or nothing at all.
#[cfg(feature = "pull")]
#[derive(Default)]
pub struct Arrival {
    bar: Option<ProgressBar>,
}

#[cfg(feature = "pull")]
impl Arrival {
    /// `bytes` is how many there are in all, where it is known.
    pub fn new(mode: ProgressMode, bytes: Option<u64>) -> Self {
        Self { bar: bar(mode, bytes) }
    }

    /// How many bytes have arrived.
    pub fn at(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
            bar.set_message(HumanBytes(bytes).to_string());
        }
    }

    /// Leaves nothing on the screen.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn message(texts: u64, tokens: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(1e-9);
    format!(
        "{} texts, {:.0} texts/s, {:.0} tokens/s",
        HumanCount(texts),
        texts as f64 / seconds,
        tokens as f64 / seconds
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_parse() {
        for template in [BAR, SPINNER] {
            ProgressStyle::with_template(template).unwrap();
        }
    }

    #[test]
    fn rates_are_over_the_time_since_the_start() {
        assert_eq!(message(1200, 6000, Duration::from_secs(2)), "1,200 texts, 600 texts/s, 3000 tokens/s");
    }
}
