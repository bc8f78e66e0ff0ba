//! How threads of one machine meet: the event queue for asynchronous input, and the cross-vCPU protocol.

mod events;

pub use events::{EventHandle, EventLoop, Timer};
