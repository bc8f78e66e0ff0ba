//! The host's side of devices: where characters, frames and random bytes come from and go to.

pub mod chardev;
pub mod entropy;
pub mod net;
