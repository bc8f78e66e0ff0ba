//! Bare-metal test programs.
