//! Interrupt controllers.

pub mod aclint;
pub mod gic;
pub mod plic;
