//! The AArch64 front end: its decoder, its lifter, and what instructions do.

#[path = "../common/mod.rs"]
mod common;

mod decode;
mod golden;
mod oracle;
mod pauth;
mod support;
mod vectors;
