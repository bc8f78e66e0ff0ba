//! How a caller follows a fetch that takes a while.

/// Receives progress. Each method may be left out; `()` ignores all.
///
/// [`started`](Progress::started) and [`finished`](Progress::finished) bracket one step; steps do not nest.
/// [`message`](Progress::message) may come at any time. A step that fails or is tried again is not finished:
/// the next call is `started` or the operation returns its error.
pub trait Progress {
    /// A line for the user that is not about bytes.
    fn message(&mut self, _text: &str) {}

    /// A step begins; `total` is its size in bytes where that is known.
    fn started(&mut self, _what: &str, _total: Option<u64>) {}

    /// `bytes` more of the current step are done.
    fn advanced(&mut self, _bytes: u64) {}

    /// Of work that is counted in pieces, not bytes, `done` of `total` are done, and now comes `what`. It ends as a
    /// step does.
    fn step(&mut self, _what: &str, _done: u64, _total: u64) {}

    /// The current step is complete.
    fn finished(&mut self) {}
}

impl Progress for () {}
