//! System instructions: cache maintenance, address translation, TLB maintenance. Their lines are in the table of system
//! registers.

pub(super) mod at;
pub(super) mod cache;
pub(super) mod tlbi;
