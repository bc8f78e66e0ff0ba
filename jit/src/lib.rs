//! IR to host code.
