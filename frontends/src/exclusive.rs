//! Exclusive accesses whose load and store are not in one block: the other vCPUs stand still from one to the other.

use emu_core::exec::{Access, Isa, Stop, Vcpu};
use emu_core::ir::{MemAttr, Ty, View};

/// What a load-reserved or load-exclusive has read, for the store that answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reservation {
    va: u64,
    bytes: u64,
    value: u128,
}

/// The local monitor of a vCPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Monitor(Option<Reservation>);

impl Monitor {
    /// Drops the reservation: stores fail until the next load. True if there was one.
    pub fn clear(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// What the load has read; zero if there was none.
    pub fn value(&self) -> u128 {
        self.0.map_or(0, |reservation| reservation.value)
    }
}

/// An instruction set with such accesses.
pub(crate) trait Exclusive: Isa {
    /// The monitor.
    fn monitor(&mut self) -> &mut Monitor;
}

/// Reads `bytes` bytes (1, 2, 4, 8 or 16) at `va`, zero-extended, and lets no other vCPU run until the store.
pub(crate) fn load<I: Exclusive>(vcpu: &mut Vcpu<I>, va: u64, bytes: u64) -> Result<u128, Stop> {
    vcpu.isa.monitor().clear();
    if !va.is_multiple_of(bytes) {
        return Err(vcpu.isa.misaligned(va, Access::Read).into());
    }
    vcpu.begin_exclusive();
    match read(vcpu, va, bytes) {
        Ok(value) => {
            *vcpu.isa.monitor() = Monitor(Some(Reservation { va, bytes, value }));
            Ok(value)
        }
        Err(stop) => {
            vcpu.end_exclusive();
            Err(stop)
        }
    }
}

fn read<I: Exclusive>(vcpu: &mut Vcpu<I>, va: u64, bytes: u64) -> Result<u128, Stop> {
    let attr = MemAttr { exclusive: true, ..MemAttr::PLAIN };
    if let Some(ty) = integer(bytes) {
        return Ok(vcpu.load(ty, attr, va)?.into());
    }
    let low = vcpu.load(Ty::I64, attr, va)?;
    let high = vcpu.load(Ty::I64, attr, va.wrapping_add(8))?;
    Ok(u128::from(low) | u128::from(high) << 64)
}

/// Stores `value` if nothing has been stored there since the load of as many bytes at `va`; whether it has.
pub(crate) fn store<I: Exclusive>(
    vcpu: &mut Vcpu<I>,
    va: u64,
    value: u128,
    bytes: u64,
) -> Result<bool, Stop> {
    let reservation = vcpu.isa.monitor().0.take();
    if !va.is_multiple_of(bytes) {
        return Err(vcpu.isa.misaligned(va, Access::Write).into());
    }
    // The stretch in which the other vCPUs stood still may have ended: then anything may have been stored.
    let held = reservation.filter(|r| r.va == va && r.bytes == bytes && vcpu.is_exclusive());
    let Some(Reservation { value: expected, .. }) = held else {
        vcpu.end_exclusive();
        return Ok(false);
    };
    // Devices do not stand still, so the store still compares.
    let found = match integer(bytes) {
        // The low bits are what counts.
        Some(ty) => vcpu.cas(ty, MemAttr::PLAIN, va, expected as u64, value as u64)?.into(),
        None => vcpu.cas_128(View::Current, va, expected, value)?,
    };
    vcpu.end_exclusive();
    Ok(found == expected)
}

/// The integer of that size; none for 16 bytes.
fn integer(bytes: u64) -> Option<Ty> {
    match bytes {
        1 => Some(Ty::I8),
        2 => Some(Ty::I16),
        4 => Some(Ty::I32),
        8 => Some(Ty::I64),
        _ => None,
    }
}
