//! Device models: what datasheets and the virtio specification say, in Rust.
//!
//! Each device is a folder: `spec.rs` is the datasheet's registers and nothing else, `mod.rs` the behaviour,
//! `tests.rs` its tests. A device is handed everything that it needs when it is built ([`emu_core::device`]):
//! guest memory if it does DMA, an interrupt line per output, the event queue for clock, timers and
//! asynchronous input. It never sees a vCPU or the machine, and its addresses are offsets from its own base.
//!
//! A device locks itself; any vCPU thread may call in at any time. Locks nest in one direction only: device →
//! interrupt controller → hart pins, and device → backend → event queue. The event queue holds no lock when
//! it calls a device.
//!
//! [`backend`] is the host's side: where characters, frames and random bytes come from and go to.

pub mod backend;
pub mod fw_cfg;
pub mod gpio;
pub mod intc;
mod part;
mod primecell;
pub mod rtc;
pub mod syscon;
pub mod uart;
pub mod virtio;

#[cfg(test)]
mod testing;
