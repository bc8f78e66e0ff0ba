//! The host's side of devices: where characters and frames come from and go to.

pub mod chardev;
pub mod net;
