//! Software floating point, exact in value and flags.
