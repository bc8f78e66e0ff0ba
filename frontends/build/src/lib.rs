//! Compiles decode tables.
