//! The user-mode network, seen by a guest, with servers on the host's loopback. Nothing leaves the machine.

mod datagrams;
mod guest;
mod tcp;
