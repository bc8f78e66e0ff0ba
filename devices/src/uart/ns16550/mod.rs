//! The NS16550A serial port: two 16-byte FIFOs, level-triggered interrupt, loopback.
//!
//! Input comes from the backend as fast as the receiver has room, so the line never overruns; only loopback
//! does. Output that the backend has no room for stays in the transmitter, which then is not empty.
//!
//! Not modelled: the time that characters take (transmission is instant, a character below the trigger level
//! is a character timeout at once), line errors and breaks, DMA signalling, and modem lines: outside loopback
//! the other end is always ready. An access of any width moves one register, in the low byte.

pub mod spec;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Weak};

use emu_core::device::{AccessError, IrqLine, Mmio, NodeDesc, PropValue, Width};
use parking_lot::Mutex;

use super::line::Line;
use crate::backend::chardev::{CharBackend, CharDevice};
use spec::{fcr, ier, iir, lcr, lsr, mcr, msr};

/// What the other end of the line shows while there is no loopback: ready, clear to send, carrier.
const LINE_READY: u8 = msr::CTS | msr::DSR | msr::DCD;

/// A 16550A.
pub struct Ns16550 {
    // Configuration.
    clock_hz: u32,
    // Glue.
    irq: IrqLine,
    backend: Arc<dyn CharBackend>,
    // State.
    state: Mutex<State>,
}

struct State {
    line: Line,
    /// The THRE interrupt, which reading IIR clears.
    thr_empty: bool,
    overrun: bool,
    divisor: u16,
    ier: u8,
    fcr: u8,
    lcr: u8,
    mcr: u8,
    msr: u8,
    scr: u8,
}

impl State {
    /// After master reset (table I of the datasheet).
    fn new() -> Self {
        Self {
            line: Line::default(),
            thr_empty: false,
            overrun: false,
            divisor: 0,
            ier: 0,
            fcr: 0,
            lcr: 0,
            mcr: 0,
            msr: LINE_READY,
            scr: 0,
        }
    }

    /// How many bytes receiver and transmitter hold each.
    fn depth(&self) -> usize {
        if self.fcr & fcr::ENABLE != 0 { spec::FIFO_LEN } else { 1 }
    }

    fn trigger_level(&self) -> usize {
        match self.fcr & fcr::ENABLE {
            0 => 1,
            _ => fcr::TRIGGER_LEVELS[usize::from(self.fcr >> fcr::TRIGGER_SHIFT)],
        }
    }

    fn looped(&self) -> bool {
        self.mcr & mcr::LOOP != 0
    }

    /// The pending interrupt of the highest priority (table IV).
    fn interrupt(&self) -> u8 {
        let enabled = |bit| self.ier & bit != 0;
        if enabled(ier::RLS) && self.overrun {
            iir::RLS
        } else if enabled(ier::RDA) && self.line.receiver.len() >= self.trigger_level() {
            iir::RDA
        } else if enabled(ier::RDA) && !self.line.receiver.is_empty() {
            iir::TIMEOUT
        } else if enabled(ier::THRE) && self.thr_empty {
            iir::THRE
        } else if enabled(ier::MODEM) && self.msr & 0x0f != 0 {
            iir::MODEM
        } else {
            iir::NONE
        }
    }

    fn line_status(&self) -> u8 {
        let bit = |condition, bit| if condition { bit } else { 0 };
        bit(!self.line.receiver.is_empty(), lsr::DATA_READY)
            | bit(self.overrun, lsr::OVERRUN)
            | bit(self.line.transmitter.is_empty(), lsr::THR_EMPTY | lsr::TRANSMITTER_EMPTY)
    }

    /// Sets the modem lines, noting which have changed.
    fn set_modem_lines(&mut self, lines: u8) {
        let changed = (self.msr ^ lines) & 0xf0;
        let deltas = changed >> 4 & (msr::DELTA_CTS | msr::DELTA_DSR | msr::DELTA_DCD)
            | if changed & msr::RI != 0 && lines & msr::RI == 0 { msr::TRAILING_RI } else { 0 };
        self.msr = lines | self.msr & 0x0f | deltas;
    }

    fn set_mcr(&mut self, value: u8) {
        self.mcr = value & mcr::ALL;
        let wired = [(mcr::RTS, msr::CTS), (mcr::DTR, msr::DSR), (mcr::OUT1, msr::RI), (mcr::OUT2, msr::DCD)];
        let looped =
            wired.iter().filter(|(out, _)| self.mcr & out != 0).fold(0, |lines, (_, in_)| lines | in_);
        self.set_modem_lines(if self.looped() { looped } else { LINE_READY });
    }

    fn set_fcr(&mut self, value: u8) {
        let changed = (self.fcr ^ value) & fcr::ENABLE != 0;
        if changed || value & fcr::CLEAR_RECEIVER != 0 {
            self.line.receiver.clear();
        }
        if changed || value & fcr::CLEAR_TRANSMITTER != 0 {
            self.thr_empty |= !self.line.transmitter.is_empty();
            self.line.transmitter.clear();
        }
        // Only with the enable bit set are the other bits programmed.
        self.fcr = if value & fcr::ENABLE != 0 { value } else { 0 };
    }

    fn set_ier(&mut self, value: u8) {
        let newly = value & !self.ier;
        self.ier = value & ier::ALL;
        if newly & ier::THRE != 0 {
            self.thr_empty = self.line.transmitter.is_empty();
        }
    }
}

impl Ns16550 {
    /// A serial port on `backend`. `clock_hz` is the input clock that the device tree tells the driver; as
    /// characters take no time, it changes nothing else.
    pub fn new(irq: IrqLine, backend: Arc<dyn CharBackend>, clock_hz: u32) -> Arc<Self> {
        let uart = Arc::new(Self { clock_hz, irq, backend, state: Mutex::new(State::new()) });
        let device: Weak<Self> = Arc::downgrade(&uart);
        uart.backend.attach(device);
        uart
    }

    /// The device-tree node.
    pub fn describe(&self) -> NodeDesc {
        NodeDesc::new("serial", &["ns16550a"]).prop("clock-frequency", PropValue::Cells(vec![self.clock_hz]))
    }

    fn update_irq(&self, state: &State) {
        self.irq.set(state.interrupt() != iir::NONE);
    }

    fn transmit_one(&self, state: &mut State, byte: u8) {
        let depth = state.depth();
        if !state.looped() {
            state.line.write(&*self.backend, byte, depth);
        } else if !state.line.loop_back(byte, depth) {
            state.overrun = true;
        }
        state.thr_empty = state.line.transmitter.is_empty();
    }
}

impl CharDevice for Ns16550 {
    fn receive(&self, bytes: &[u8]) -> usize {
        let mut state = self.state.lock();
        let depth = if state.looped() { 0 } else { state.depth() };
        let taken = state.line.receive(bytes, depth);
        self.update_irq(&state);
        taken
    }

    fn output_ready(&self) {
        let mut state = self.state.lock();
        if state.line.flush(&*self.backend) {
            state.thr_empty |= state.line.transmitter.is_empty();
            self.update_irq(&state);
        }
    }
}

impl Mmio for Ns16550 {
    fn read(&self, offset: u64, _width: Width) -> Result<u64, AccessError> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let latch = state.lcr & lcr::DLAB != 0;
        let [divisor_low, divisor_high] = state.divisor.to_le_bytes();
        let value = match offset {
            spec::RBR_THR_DLL if latch => divisor_low,
            spec::RBR_THR_DLL => state.line.read(&*self.backend).unwrap_or(0),
            spec::IER_DLM if latch => divisor_high,
            spec::IER_DLM => state.ier,
            spec::IIR_FCR => {
                let interrupt = state.interrupt();
                if interrupt == iir::THRE {
                    state.thr_empty = false;
                }
                interrupt | if state.fcr & fcr::ENABLE != 0 { iir::FIFOS } else { 0 }
            }
            spec::LCR => state.lcr,
            spec::MCR => state.mcr,
            spec::LSR => {
                let status = state.line_status();
                state.overrun = false;
                status
            }
            spec::MSR => {
                let status = state.msr;
                state.msr &= 0xf0;
                status
            }
            spec::SCR => state.scr,
            _ => return Err(AccessError::Unmapped),
        };
        self.update_irq(state);
        Ok(value.into())
    }

    fn write(&self, offset: u64, _width: Width, value: u64) -> Result<(), AccessError> {
        let value = value as u8;
        let mut state = self.state.lock();
        let state = &mut *state;
        let latch = state.lcr & lcr::DLAB != 0;
        match offset {
            spec::RBR_THR_DLL if latch => state.divisor = state.divisor & 0xff00 | u16::from(value),
            spec::RBR_THR_DLL => self.transmit_one(state, value),
            spec::IER_DLM if latch => state.divisor = state.divisor & 0x00ff | u16::from(value) << 8,
            spec::IER_DLM => state.set_ier(value),
            spec::IIR_FCR => {
                state.set_fcr(value);
                state.line.ask_for_input(&*self.backend);
            }
            spec::LCR => state.lcr = value,
            spec::MCR => {
                state.set_mcr(value);
                if !state.looped() {
                    state.line.ask_for_input(&*self.backend);
                }
            }
            spec::LSR | spec::MSR => {}
            spec::SCR => state.scr = value,
            _ => return Err(AccessError::Unmapped),
        }
        self.update_irq(state);
        Ok(())
    }

    fn reset(&self) {
        let mut state = self.state.lock();
        *state = State { line: state.line.reset(&*self.backend), ..State::new() };
        self.update_irq(&state);
    }
}
