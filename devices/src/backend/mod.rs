//! The host side of devices: what a network card or a console is plugged into.

pub mod net;
