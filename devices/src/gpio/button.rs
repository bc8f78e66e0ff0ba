//! A button on an input line: pressing it drives the line high for a moment.

use emu_core::device::IrqLine;
use emu_core::sync::{EventHandle, Timer};

/// How long a press lasts: longer than drivers take to believe it.
const PRESS_NS: u64 = 100_000_000;

/// A push button.
pub struct Button {
    line: IrqLine,
    events: EventHandle,
    release: Timer,
}

impl Button {
    /// A button that drives `line`.
    pub fn new(line: IrqLine, events: &EventHandle) -> Self {
        let released = line.clone();
        Self { line, events: events.clone(), release: events.timer(move || released.set(false)) }
    }

    /// Presses it and lets it go again. It returns at once; a press while it is down makes that one longer.
    pub fn press(&self) {
        self.line.set(true);
        self.release.arm(self.events.clock().now_ns().saturating_add(PRESS_NS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Lines, events, wait_for};

    #[test]
    fn a_press_ends() {
        let (events, lines) = (events(), Lines::new());
        let button = Button::new(lines.line(3), &events.handle());
        assert!(!lines.level(3));
        button.press();
        assert!(lines.level(3));
        wait_for("the button is released", || !lines.level(3));
        button.press();
        assert_eq!(lines.rises(3), 2);
    }
}
