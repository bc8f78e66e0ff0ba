//! Progress of long work: a bar on a terminal, nothing in a pipe.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// Shows the steps of a fetch on standard error.
#[derive(Default)]
pub struct Bars {
    bar: Option<ProgressBar>,
}

/// A bar for `total` bytes, or one that only turns; hidden where standard error is no terminal.
pub fn bar(what: &str, total: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let template = match total {
        Some(_) => "{msg:40!} {bar:30} {bytes:>10}/{total_bytes:<10} {eta}",
        None => "{msg:40!} {spinner} {bytes}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    // Of an address, the file's name is what one wants to read.
    bar.set_message(what.rsplit('/').next().unwrap_or(what).to_owned());
    bar
}

impl images::Progress for Bars {
    fn message(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None if std::io::stderr().is_terminal() => eprintln!("{text}"),
            None => {}
        }
    }

    fn started(&mut self, what: &str, total: Option<u64>) {
        self.bar = Some(bar(what, total));
    }

    fn step(&mut self, what: &str, done: u64, total: u64) {
        let bar = self.bar.get_or_insert_with(|| {
            let bar = bar(what, Some(total));
            if let Ok(style) = ProgressStyle::with_template("{msg:40!} {bar:30} {pos}/{len} {elapsed}") {
                bar.set_style(style);
            }
            bar
        });
        bar.set_message(what.to_owned());
        bar.set_position(done);
    }

    fn advanced(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    fn finished(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
