//! The PL011 serial port: two 16-byte FIFOs, interrupts by level and time-out, loopback.
//!
//! It sends and receives whether it has been enabled or not: early consoles and small programs rely on what a boot loader
//! would have set up. Output that the backend has no room for stays in the transmitter.
//!
//! Not modelled: the time that characters take (transmission is instant, bytes that wait in the receiver have timed out at
//! once), line errors and breaks, DMA, IrDA, and modem lines: the other end is always ready.

pub mod spec;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Weak};

use emu_core::device::{AccessError, IrqLine, Mmio, NodeDesc, PropValue, Width};
use parking_lot::Mutex;

use super::line::Line;
use crate::backend::chardev::{CharBackend, CharDevice};
use crate::primecell::id_register;
use spec::{cr, fr, ifls, int, lcr_h};

/// A PL011.
pub struct Pl011 {
    // Glue.
    irq: IrqLine,
    backend: Arc<dyn CharBackend>,
    // State.
    state: Mutex<State>,
}

struct State {
    line: Line,
    /// A byte was lost since the last time that this was told.
    overrun: bool,
    /// Interrupts, before the mask.
    raised: u16,
    mask: u16,
    control: u16,
    line_control: u16,
    levels: u16,
    divisor: [u16; 2],
    irda: u16,
    dma: u16,
}

impl State {
    fn new() -> Self {
        Self {
            line: Line::default(),
            overrun: false,
            raised: 0,
            mask: 0,
            control: cr::RESET,
            line_control: 0,
            levels: ifls::RESET,
            divisor: [0; 2],
            irda: 0,
            dma: 0,
        }
    }

    fn fifos(&self) -> bool {
        self.line_control & lcr_h::FEN != 0
    }

    fn depth(&self) -> usize {
        if self.fifos() { spec::FIFO_LEN } else { 1 }
    }

    /// The level of a FIFO at which its interrupt is raised; `field` is the place of its selection.
    fn level(&self, field: u16) -> usize {
        if self.fifos() { ifls::LEVELS[usize::from(self.levels >> field & 7)] } else { 1 }
    }

    fn looped(&self) -> bool {
        self.control & cr::LBE != 0
    }

    fn flags(&self) -> u16 {
        let bit = |on, bit| if on { bit } else { 0 };
        let (received, sending) = (self.line.receiver.len(), self.line.transmitter.len());
        fr::CTS
            | fr::DSR
            | fr::DCD
            | bit(sending > 0, fr::BUSY)
            | bit(received == 0, fr::RXFE)
            | bit(sending >= self.depth(), fr::TXFF)
            | bit(received >= self.depth(), fr::RXFF)
            | bit(sending == 0, fr::TXFE)
    }

    /// Bytes have come.
    fn received(&mut self) {
        self.raised |= int::RT;
        if self.line.receiver.len() >= self.level(ifls::RX_SHIFT) {
            self.raised |= int::RX;
        }
    }

    fn read_data(&mut self, backend: &dyn CharBackend) -> u16 {
        let byte = self.line.read(backend).unwrap_or(0);
        if self.line.receiver.len() < self.level(ifls::RX_SHIFT) {
            self.raised &= !int::RX;
        }
        if self.line.receiver.is_empty() {
            self.raised &= !int::RT;
        }
        u16::from(byte) | if std::mem::take(&mut self.overrun) { spec::DR_OE } else { 0 }
    }

    fn write_data(&mut self, byte: u8, backend: &dyn CharBackend) {
        let depth = self.depth();
        if !self.looped() {
            self.line.write(backend, byte, depth);
        } else if self.line.loop_back(byte, depth) {
            self.received();
        } else {
            self.overrun = true;
            self.raised |= int::OE;
        }
        self.sent();
    }

    /// The transmitter holds more or less than before.
    fn sent(&mut self) {
        let (held, level) = (self.line.transmitter.len(), self.level(0));
        let low = if self.fifos() { held <= level } else { held == 0 };
        self.raised = if low { self.raised | int::TX } else { self.raised & !int::TX };
    }

    fn set_line_control(&mut self, value: u16) {
        if (self.line_control ^ value) & lcr_h::FEN != 0 {
            self.line.receiver.clear();
            self.line.transmitter.clear();
            self.raised &= !(int::RX | int::RT);
        }
        self.line_control = value & 0xff;
    }
}

impl Pl011 {
    /// A serial port on `backend`.
    pub fn new(irq: IrqLine, backend: Arc<dyn CharBackend>) -> Arc<Self> {
        let uart = Arc::new(Self { irq, backend, state: Mutex::new(State::new()) });
        let device: Weak<Self> = Arc::downgrade(&uart);
        uart.backend.attach(device);
        uart
    }

    /// The device-tree node; the board adds the clocks that it names.
    pub fn describe(&self) -> NodeDesc {
        let clocks = ["uartclk", "apb_pclk"].map(str::to_owned).to_vec();
        NodeDesc::new("pl011", &["arm,pl011", "arm,primecell"]).prop("clock-names", PropValue::Strs(clocks))
    }

    fn update_irq(&self, state: &State) {
        self.irq.set(state.raised & state.mask != 0);
    }
}

impl CharDevice for Pl011 {
    fn receive(&self, bytes: &[u8]) -> usize {
        let mut state = self.state.lock();
        let depth = if state.looped() { 0 } else { state.depth() };
        let taken = state.line.receive(bytes, depth);
        if taken > 0 {
            state.received();
        }
        self.update_irq(&state);
        taken
    }

    fn output_ready(&self) {
        let mut state = self.state.lock();
        if state.line.flush(&*self.backend) {
            state.sent();
            self.update_irq(&state);
        }
    }
}

impl Mmio for Pl011 {
    fn read(&self, offset: u64, width: Width) -> Result<u64, AccessError> {
        // Drivers use words, halves and bytes for the same registers.
        width.expect_low_part(offset)?;
        let mut state = self.state.lock();
        let state = &mut *state;
        let value = match offset {
            spec::DR => state.read_data(&*self.backend),
            spec::RSR_ECR if state.overrun => spec::RSR_OE,
            spec::FR => state.flags(),
            spec::ILPR => state.irda,
            spec::IBRD => state.divisor[0],
            spec::FBRD => state.divisor[1],
            spec::LCR_H => state.line_control,
            spec::CR => state.control,
            spec::IFLS => state.levels,
            spec::IMSC => state.mask,
            spec::RIS => state.raised,
            spec::MIS => state.raised & state.mask,
            spec::DMACR => state.dma,
            _ => id_register(offset, spec::PERIPHERAL_ID).unwrap_or(0).into(),
        };
        self.update_irq(state);
        Ok(u64::from(value) & width.mask())
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<(), AccessError> {
        width.expect_low_part(offset)?;
        let value = value as u16;
        let mut state = self.state.lock();
        let state = &mut *state;
        match offset {
            spec::DR => state.write_data(value as u8, &*self.backend),
            spec::RSR_ECR => state.overrun = false,
            spec::ILPR => state.irda = value & 0xff,
            spec::IBRD => state.divisor[0] = value,
            spec::FBRD => state.divisor[1] = value & 0x3f,
            spec::LCR_H => {
                state.set_line_control(value);
                state.line.ask_for_input(&*self.backend);
            }
            spec::CR => {
                state.control = value;
                if !state.looped() {
                    state.line.ask_for_input(&*self.backend);
                }
            }
            spec::IFLS => state.levels = value & 0x3f,
            spec::IMSC => state.mask = value & int::ALL,
            spec::ICR => state.raised &= !value,
            spec::DMACR => state.dma = value & 0x7,
            _ => {}
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
