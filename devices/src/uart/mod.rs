//! Serial ports.

mod line;
pub mod ns16550;
pub mod pl011;
#[cfg(test)]
mod testing;
