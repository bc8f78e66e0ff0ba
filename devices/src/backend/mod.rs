//! The host's side of devices: where characters come from and go to.

pub mod chardev;
