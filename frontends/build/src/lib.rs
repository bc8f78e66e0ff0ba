//! Compiles decode tables; build-time only.
