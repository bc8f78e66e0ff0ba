//! Interrupt controllers.

pub mod aclint;
pub mod plic;
