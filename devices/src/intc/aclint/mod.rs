//! The RISC-V advanced core-local interruptor (ACLINT 1.0-rc4): machine and supervisor software interrupts,
//! the machine timer; and the SiFive CLINT, which is two of these side by side.
//!
//! [`Mtimer`] is the owner of the machine's `mtime`: `time` CSRs and `stimecmp` read it through
//! [`Mtimer::mtime`].
//!
//! Not modelled: an MTIMER with its MTIME register apart from its MTIMECMP registers. Registers of harts that
//! do not exist read as zero and ignore writes.

pub mod spec;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use emu_core::device::{AccessError, IrqLine, Mmio, NodeDesc, PropValue, Width};
use emu_core::sync::{EventHandle, Timer, weakly};
use emu_core::time::ticks_to_ns;
use parking_lot::Mutex;

use crate::part::Part;

/// Machine-level software interrupts: one MSIP register per hart drives that hart's MSIP line.
pub struct Mswi {
    harts: Vec<Mutex<bool>>,
    lines: Vec<IrqLine>,
}

impl Mswi {
    /// A device for one hart per line.
    ///
    /// # Panics
    /// If there are more than 4095 lines.
    pub fn new(lines: Vec<IrqLine>) -> Arc<Self> {
        assert!(lines.len() <= spec::MAX_HARTS, "{} harts", lines.len());
        Arc::new(Self { harts: lines.iter().map(|_| Mutex::new(false)).collect(), lines })
    }

    /// The device-tree node; the board adds `interrupts-extended`, the software interrupt of each hart.
    pub fn describe(&self) -> NodeDesc {
        NodeDesc::new("mswi", &["riscv,aclint-mswi"])
            .prop("interrupt-controller", PropValue::Empty)
            .prop("#interrupt-cells", PropValue::Cells(vec![0]))
    }

    fn set(&self, hart: usize, pending: bool) {
        if let (Some(state), Some(line)) = (self.harts.get(hart), self.lines.get(hart)) {
            let mut state = state.lock();
            *state = pending;
            line.set(pending);
        }
    }
}

impl Mmio for Mswi {
    fn read(&self, offset: u64, width: Width) -> Result<u64, AccessError> {
        let hart = swi_hart(offset, width)?;
        Ok(self.harts.get(hart).is_some_and(|state| *state.lock()).into())
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), AccessError> {
        self.set(swi_hart(offset, width)?, value & 1 != 0);
        Ok(())
    }

    fn reset(&self) {
        for hart in 0..self.harts.len() {
            self.set(hart, false);
        }
    }
}

/// Supervisor-level software interrupts: writing 1 to a hart's SETSSIP register makes an edge on that hart's
/// line.
///
/// An edge is the line going up and down again at once (§4.2: the interrupt is edge-sensitive). The hart's
/// side of the line sets `mip.SSIP` at the rising edge; only software clears it.
pub struct Sswi {
    lines: Vec<IrqLine>,
}

impl Sswi {
    /// A device for one hart per line.
    ///
    /// # Panics
    /// If there are more than 4095 lines.
    pub fn new(lines: Vec<IrqLine>) -> Arc<Self> {
        assert!(lines.len() <= spec::MAX_HARTS, "{} harts", lines.len());
        Arc::new(Self { lines })
    }

    /// The device-tree node; the board adds `interrupts-extended`, the supervisor software interrupt of each
    /// hart.
    pub fn describe(&self) -> NodeDesc {
        NodeDesc::new("sswi", &["riscv,aclint-sswi"])
            .prop("interrupt-controller", PropValue::Empty)
            .prop("#interrupt-cells", PropValue::Cells(vec![0]))
    }
}

impl Mmio for Sswi {
    fn read(&self, offset: u64, width: Width) -> Result<u64, AccessError> {
        swi_hart(offset, width).map(|_| 0)
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), AccessError> {
        let hart = swi_hart(offset, width)?;
        if let Some(line) = self.lines.get(hart).filter(|_| value & 1 != 0) {
            line.set(true);
            line.set(false);
        }
        Ok(())
    }

    fn reset(&self) {}
}

fn swi_hart(offset: u64, width: Width) -> Result<usize, AccessError> {
    if width != Width::Word || !offset.is_multiple_of(spec::SWI_STRIDE) {
        return Err(AccessError::Width);
    }
    Ok((offset / spec::SWI_STRIDE) as usize)
}

/// The machine timer: `mtime`, and one MTIMECMP register per hart that drives that hart's MTIP line.
pub struct Mtimer {
    // Configuration.
    hz: u64,
    // Glue.
    events: EventHandle,
    harts: Vec<Hart>,
    // State.
    /// What `mtime` shows beyond the ticks of the machine's clock, modulo 2⁶⁴.
    offset: AtomicU64,
    /// Makes writes of parts of `mtime` one step.
    writing: Mutex<()>,
}

struct Hart {
    line: IrqLine,
    timer: Timer,
    mtimecmp: Mutex<u64>,
}

impl Mtimer {
    /// A timer that ticks `hz` times a second, for one hart per line. No interrupt is pending before the
    /// first write to a hart's MTIMECMP.
    ///
    /// # Panics
    /// If there are more than 4095 lines.
    pub fn new(hz: u64, events: &EventHandle, lines: Vec<IrqLine>) -> Arc<Self> {
        assert!(lines.len() <= spec::MAX_HARTS, "{} harts", lines.len());
        Arc::new_cyclic(|this: &Weak<Self>| {
            let harts = lines.into_iter().enumerate().map(|(index, line)| {
                let expired = weakly(this, move |this| this.update_irq(index));
                Hart { line, timer: events.timer(expired), mtimecmp: Mutex::new(u64::MAX) }
            });
            Self {
                hz,
                events: events.clone(),
                harts: harts.collect(),
                offset: AtomicU64::new(0),
                writing: Mutex::new(()),
            }
        })
    }

    /// The device-tree node; the board adds `interrupts-extended`, the timer interrupt of each hart.
    pub fn describe(&self) -> NodeDesc {
        NodeDesc::new("mtimer", &["riscv,aclint-mtimer"])
    }

    /// The value of the MTIME register now.
    pub fn mtime(&self) -> u64 {
        self.events.clock().ticks(self.hz).wrapping_add(self.offset())
    }

    /// What [`Mtimer::mtime`] shows beyond the ticks of the machine's clock, modulo 2⁶⁴.
    pub fn offset(&self) -> u64 {
        self.offset.load(Ordering::SeqCst)
    }

    /// Ticks per second.
    pub fn hz(&self) -> u64 {
        self.hz
    }

    fn set_mtime(&self, change: impl FnOnce(u64) -> u64) {
        let writing = self.writing.lock();
        let ticks = self.events.clock().ticks(self.hz);
        let mtime = change(ticks.wrapping_add(self.offset()));
        self.offset.store(mtime.wrapping_sub(ticks), Ordering::SeqCst);
        drop(writing);
        for hart in 0..self.harts.len() {
            self.update_irq(hart);
        }
    }

    fn update_irq(&self, hart: usize) {
        if let Some(hart) = self.harts.get(hart) {
            self.update_hart(hart, *hart.mtimecmp.lock());
        }
    }

    /// Drives the hart's line (§2.3: pending while `mtime` ≥ `mtimecmp`) and sees to the next change. It is
    /// called with the hart's lock held, so the line shows the latest write.
    fn update_hart(&self, hart: &Hart, mtimecmp: u64) {
        let ticks = self.events.clock().ticks(self.hz);
        let mtime = ticks.wrapping_add(self.offset());
        hart.line.set(mtime >= mtimecmp);
        match ticks_to_ns(ticks.saturating_add(mtimecmp.saturating_sub(mtime)), self.hz) {
            // Beyond what the clock can show: that is how software switches the timer off.
            u64::MAX => hart.timer.disarm(),
            _ if mtime >= mtimecmp => hart.timer.disarm(),
            deadline => hart.timer.arm(deadline),
        }
    }
}

impl Mmio for Mtimer {
    fn read(&self, offset: u64, width: Width) -> Result<u64, AccessError> {
        let part = Part::of(offset, width)?;
        if part.register == spec::MTIMER_MTIME {
            return Ok(part.get(self.mtime()));
        }
        let hart = self.harts.get((part.register / spec::MTIMECMP_STRIDE) as usize);
        Ok(hart.map_or(0, |hart| part.get(*hart.mtimecmp.lock())))
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), AccessError> {
        let part = Part::of(offset, width)?;
        if part.register == spec::MTIMER_MTIME {
            self.set_mtime(|mtime| part.set(mtime, value));
        } else if let Some(hart) = self.harts.get((part.register / spec::MTIMECMP_STRIDE) as usize) {
            let mut mtimecmp = hart.mtimecmp.lock();
            *mtimecmp = part.set(*mtimecmp, value);
            self.update_hart(hart, *mtimecmp);
        }
        Ok(())
    }

    /// §2.2: MTIME becomes zero. MTIMECMP is unspecified; here it is the value that never comes.
    fn reset(&self) {
        for hart in &self.harts {
            *hart.mtimecmp.lock() = u64::MAX;
        }
        self.set_mtime(|_| 0);
    }
}

/// The SiFive CLINT: an [`Mswi`] and an [`Mtimer`] in one register space.
pub struct Clint {
    mswi: Arc<Mswi>,
    mtimer: Arc<Mtimer>,
}

impl Clint {
    /// Puts the two side by side.
    pub fn new(mswi: Arc<Mswi>, mtimer: Arc<Mtimer>) -> Arc<Self> {
        Arc::new(Self { mswi, mtimer })
    }

    /// The device-tree node; the board adds `interrupts-extended`, the software and the timer interrupt of
    /// each hart.
    pub fn describe(&self) -> NodeDesc {
        NodeDesc::new("clint", &["sifive,clint0", "riscv,clint0"])
    }

    /// The part at `offset` and the offset within it; none in the gap after MTIME.
    fn part(&self, offset: u64) -> Option<(&dyn Mmio, u64)> {
        match offset.checked_sub(spec::CLINT_MTIMER) {
            None => Some((&*self.mswi, offset)),
            Some(within) if within < spec::MTIMER_SIZE => Some((&*self.mtimer, within)),
            Some(_) => None,
        }
    }
}

impl Mmio for Clint {
    fn read(&self, offset: u64, width: Width) -> Result<u64, AccessError> {
        self.part(offset).map_or(Ok(0), |(part, offset)| part.read(offset, width))
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), AccessError> {
        self.part(offset).map_or(Ok(()), |(part, offset)| part.write(offset, width, value))
    }

    fn reset(&self) {
        self.mswi.reset();
        self.mtimer.reset();
    }
}
