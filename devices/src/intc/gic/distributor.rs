//! Accesses to the registers of [`super::spec`]: the same for the distributors of both versions and for redistributors.

use std::ops::Range;

use emu_core::device::{AccessError, Width};

use super::block::{LEN, PRIORITY_MASK};
use super::interface::{from_shifted_view, shifted_view};
use super::spec::{Bit, Register};
use super::state::{SGIS, State};

/// An access: whose private interrupts it sees, and which blocks of 32 interrupts its registers are for.
#[derive(Clone)]
pub(super) struct Frame {
    pub(super) cpu: usize,
    pub(super) words: Range<usize>,
    /// Only Non-secure Group 1 interrupts are seen.
    pub(super) restricted: bool,
    /// A GICv2's: it has targets and no group modifiers, and its SGIs have sources, which other registers set.
    pub(super) v2: bool,
}

/// Reads a register, at an aligned offset; what is not there reads as zero.
pub(super) fn read(
    state: &State,
    frame: &Frame,
    register: Register,
    width: Width,
) -> Result<u64, AccessError> {
    if let Register::Priority(first) | Register::Targets(first) = register {
        check(width, false)?;
        let is_targets = matches!(register, Register::Targets(_));
        let bytes = (0..width.bytes() as usize).map(|i| byte(state, frame, first + i, is_targets));
        return Ok(bytes.enumerate().fold(0, |all, (i, byte)| all | u64::from(byte) << (8 * i)));
    }
    check(width, true)?;
    let value = match register {
        Register::Bits(bit, word) => frame.block(state, word).map_or(0, |(block, visible)| {
            let value = match bit {
                Bit::Group if frame.restricted => 0,
                Bit::Group => block.group,
                Bit::GroupModifier if frame.restricted || frame.v2 => 0,
                Bit::GroupModifier => block.modifier,
                Bit::SetEnable | Bit::ClearEnable => block.enabled,
                Bit::SetPending | Bit::ClearPending => block.pending(),
                Bit::SetActive | Bit::ClearActive => block.active,
            };
            value & visible
        }),
        Register::Config(half) => frame
            .block(state, half / 2)
            .map_or(0, |(block, visible)| spread((block.edge & visible) >> (half % 2 * 16)) << 1),
        Register::Priority(_) | Register::Targets(_) => 0,
    };
    Ok(value.into())
}

/// Writes a register, at an aligned offset; what is not there ignores it. The caller updates the CPUs.
pub(super) fn write(
    state: &mut State,
    frame: &Frame,
    register: Register,
    width: Width,
    value: u64,
) -> Result<(), AccessError> {
    if let Register::Priority(first) | Register::Targets(first) = register {
        check(width, false)?;
        for (i, byte) in value.to_le_bytes().into_iter().take(width.bytes() as usize).enumerate() {
            match register {
                Register::Targets(_) => set_targets(state, frame, first + i, byte),
                _ => set_priority(state, frame, first + i, byte),
            }
        }
        return Ok(());
    }
    check(width, true)?;
    let value = value as u32;
    let (word, Frame { cpu, restricted, v2, .. }) = match register {
        Register::Bits(_, word) => (word, frame),
        Register::Config(half) => (half / 2, frame),
        Register::Priority(_) | Register::Targets(_) => return Ok(()),
    };
    let Some((_, visible)) = frame.block(state, word) else { return Ok(()) };
    let Some(block) = state.block_mut(*cpu, word) else { return Ok(()) };
    let masked = value & visible;
    // The SGIs of a GICv2 are pending from CPUs: other registers say which.
    let latched = if *v2 && word == 0 { masked & !0xffff } else { masked };
    match register {
        Register::Bits(Bit::Group, _) if !restricted => block.group = value,
        Register::Bits(Bit::GroupModifier, _) if !restricted && !v2 => block.modifier = value,
        Register::Bits(Bit::Group | Bit::GroupModifier, _) => {}
        Register::Bits(Bit::SetEnable, _) => block.enabled |= masked,
        Register::Bits(Bit::ClearEnable, _) => block.enabled &= !masked,
        Register::Bits(Bit::SetPending, _) => block.latch |= latched,
        Register::Bits(Bit::ClearPending, _) => block.latch &= !latched,
        Register::Bits(Bit::SetActive, _) => block.active |= masked,
        Register::Bits(Bit::ClearActive, _) => block.active &= !masked,
        Register::Config(half) => {
            // SGIs are edges and stay so.
            let fixed = if word == 0 { 0xffff } else { 0 };
            let mask = 0xffff << (half % 2 * 16) & visible & !fixed;
            block.edge = block.edge & !mask | gather(value >> 1) << (half % 2 * 16) & mask;
        }
        Register::Priority(_) | Register::Targets(_) => {}
    }
    Ok(())
}

impl Frame {
    /// The block with this number, if its registers are here, and the interrupts of it that are seen.
    fn block<'a>(&self, state: &'a State, word: usize) -> Option<(&'a super::block::Block, u32)> {
        let block = state.block(self.cpu, word).filter(|_| self.words.contains(&word))?;
        Some((block, state.visible(block, self.restricted)))
    }

    /// The block that an INTID is in, its place there, and whether it is seen.
    fn find<'a>(&self, state: &'a State, intid: usize) -> Option<(&'a super::block::Block, usize)> {
        let (block, visible) = self.block(state, intid / LEN)?;
        let bit = intid % LEN;
        (visible >> bit & 1 != 0).then_some((block, bit))
    }
}

fn byte(state: &State, frame: &Frame, intid: usize, targets: bool) -> u8 {
    let Some((block, bit)) = frame.find(state, intid) else { return 0 };
    match targets {
        false if frame.restricted => shifted_view(block.priority[bit]),
        false => block.priority[bit],
        // With one CPU there is nothing to choose (IHI 0048B, §4.3.12).
        true if !frame.v2 || state.cpus.len() == 1 => 0,
        // A private interrupt is for the CPU that looks.
        true if intid < LEN => 1 << frame.cpu,
        true => block.targets[bit],
    }
}

fn set_priority(state: &mut State, frame: &Frame, intid: usize, value: u8) {
    if let Some((_, bit)) = frame.find(state, intid)
        && let Some(block) = state.block_mut(frame.cpu, intid / LEN)
    {
        let value = if frame.restricted { from_shifted_view(value) } else { value };
        block.priority[bit] = value & PRIORITY_MASK;
    }
}

fn set_targets(state: &mut State, frame: &Frame, intid: usize, value: u8) {
    let all = ((1u32 << state.cpus.len()) - 1) as u8;
    if let Some((_, bit)) =
        frame.find(state, intid).filter(|_| frame.v2 && intid >= LEN && state.cpus.len() > 1)
        && let Some(block) = state.block_mut(frame.cpu, intid / LEN)
    {
        block.targets[bit] = value & all;
    }
}

/// The sources of SGIs `first` to `first` + `bytes` - 1, a byte each (GICD_SPENDSGIR); only those that are seen.
pub(super) fn sgi_sources(state: &State, frame: &Frame, first: usize, bytes: usize) -> u64 {
    let sources = (first..first + bytes).map(|sgi| {
        let seen = sgi < SGIS && frame.find(state, sgi).is_some();
        if seen { state.cpus.get(frame.cpu).map_or(0, |cpu| cpu.sgi_sources[sgi]) } else { 0 }
    });
    sources.enumerate().fold(0, |all, (i, byte)| all | u64::from(byte) << (8 * i))
}

/// Sets or clears sources of SGIs.
pub(super) fn change_sgi_sources(
    state: &mut State,
    frame: &Frame,
    first: usize,
    bytes: &[u8],
    change: fn(u8, u8) -> u8,
) {
    let all = ((1u32 << state.cpus.len()) - 1) as u8;
    for (sgi, byte) in (first..SGIS).zip(bytes) {
        if frame.find(state, sgi).is_some() {
            let old = state.cpus.get(frame.cpu).map_or(0, |cpu| cpu.sgi_sources[sgi]);
            state.set_sgi_sources(frame.cpu, sgi, change(old, byte & all));
        }
    }
}

/// Registers of bits take whole words; those of bytes whatever fits.
fn check(width: Width, whole: bool) -> Result<(), AccessError> {
    let fits = if whole { width == Width::Word } else { width <= Width::Word };
    if fits { Ok(()) } else { Err(AccessError::Width) }
}

/// Bit n of the low half to bit 2n.
fn spread(bits: u32) -> u32 {
    (0..16).fold(0, |all, bit| all | (bits >> bit & 1) << (2 * bit))
}

/// Bit 2n to bit n.
fn gather(bits: u32) -> u32 {
    (0..16).fold(0, |all, bit| all | (bits >> (2 * bit) & 1) << bit)
}
