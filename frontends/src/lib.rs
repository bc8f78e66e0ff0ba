//! Guest instruction sets.
