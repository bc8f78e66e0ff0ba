//! How threads of one machine meet: the event queue for asynchronous input, and the cross-vCPU protocol.

mod events;
mod protocol;
mod shim;

pub use events::{EventHandle, EventLoop, Timer, weakly};
pub use protocol::{Group, Port, Request};
