//! Device models.

pub mod backend;
