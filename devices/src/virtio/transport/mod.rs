//! Virtio transports: the registers through which a driver finds a device and sets up its queues.

pub mod mmio;
