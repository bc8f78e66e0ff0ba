//! Exclusive accesses whose load and store are not in one block: the other vCPUs stand still from one to the other.

use emu_core::exec::{Access, HostRequest, Isa, Stop, Vcpu};
use emu_core::ir::{MemAttr, Ty, View};

/// How often a wait looks at its word before it lets another host thread run: some tens of microseconds' worth.
const LOOKS_PER_YIELD: u32 = 500;

/// What a load-reserved or load-exclusive has read, for the store that answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    pub va: u64,
    pub bytes: u64,
    pub value: u128,
}

/// The local monitor of a vCPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Monitor(Option<Reservation>);

impl Monitor {
    /// Drops the reservation: stores fail until the next load.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// Drops the reservation and returns it.
    pub fn take(&mut self) -> Option<Reservation> {
        self.0.take()
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
    let reservation = vcpu.isa.monitor().take();
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

/// Looks whether the word still is what it was, some times over, then lets another host thread run.
pub(crate) fn wait_while<I: Exclusive>(vcpu: &mut Vcpu<I>, reservation: Reservation) -> Result<u64, Stop> {
    let Reservation { va, bytes, value } = reservation;
    // Nobody can write what is waited for while the others stand still.
    vcpu.isa.monitor().clear();
    vcpu.end_exclusive();
    // If it is alone, only an interrupt can change anything.
    let looks = if vcpu.is_alone() { 0 } else { LOOKS_PER_YIELD };
    for _ in 0..looks {
        // A word that cannot be read any more is none to wait for; what follows will notice.
        if read(vcpu, va, bytes) != Ok(value) || vcpu.port().wants_attention() {
            return Ok(0);
        }
        std::hint::spin_loop();
    }
    Err(Stop::Host(HostRequest::Yield))
}

/// As [`wait_while`], with the arguments of a helper, of which `value` may have anything above the word's own bits.
pub(crate) fn wait_for_change<I: Exclusive>(
    vcpu: &mut Vcpu<I>,
    [va, value, bytes]: [u64; 3],
) -> Result<u64, Stop> {
    let value = u128::from(value & u64::MAX >> (64 - 8 * bytes.clamp(1, 8)));
    wait_while(vcpu, Reservation { va, bytes, value })
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
