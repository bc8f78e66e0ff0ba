//! Real-time clocks.

pub mod goldfish;
pub mod pl031;

use std::time::{SystemTime, UNIX_EPOCH};

use emu_core::sync::EventHandle;

/// The wall-clock time, in nanoseconds since 1970 UTC, at which the machine's clock showed zero.
pub fn host_epoch(events: &EventHandle) -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    u64::try_from(since_1970).unwrap_or(0).wrapping_sub(events.clock().now_ns())
}
