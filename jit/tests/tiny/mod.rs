//! A tiny instruction set, for tests of whole programs.
#![allow(dead_code, reason = "each program uses some of it")]

use emu_core::exec::{Access, Exception, FetchCode, HostRequest, Isa, Mode, Stop, Translation, Vcpu};
use emu_core::ir::{
    Block, BlockBuilder, BlockKey, Cc, Class, Hint, MemAttr, Op, SlotInfo, Terminal, Ty, Val, View,
};
use emu_core::mem::Ram;
use emu_core::testing::{flat, flat_mode};

/// An instruction set of one-word instructions: operation, a, b, immediate, a byte each. Addresses are physical.
pub struct Tiny;

/// a = imm
pub const MOVI: u8 = 1;
/// a += imm
pub const ADDI: u8 = 2;
/// byte at a + imm = b
pub const STB: u8 = 3;
/// Makes stores to code visible.
pub const SYNC: u8 = 4;
/// Goes to a; register 7 = the next address.
pub const CALL: u8 = 5;
/// Goes to register 7.
pub const RET: u8 = 6;
/// Goes imm instructions on from here unless a = b.
pub const JNE: u8 = 7;
/// Ends the run.
pub const HALT: u8 = 8;
/// a += b
pub const ADD: u8 = 9;
/// a = 64 bits at b + imm
pub const LD: u8 = 10;
/// 64 bits at a + imm = b
pub const SD: u8 = 11;
/// a ^= b
pub const XOR: u8 = 12;

/// The immediate of a jump backward.
pub const fn back(count: u8) -> u8 {
    count.wrapping_neg()
}

/// Bytes of memory, from address zero.
pub const MEMORY: u64 = 0x4_0000;

const fn slot(name: &'static str, index: u16) -> SlotInfo {
    SlotInfo { name, class: Class::Int, index }
}

impl Isa for Tiny {
    const SLOTS: &'static [SlotInfo] = &[
        slot("r0", 0),
        slot("r1", 1),
        slot("r2", 2),
        slot("r3", 3),
        slot("r4", 4),
        slot("r5", 5),
        slot("r6", 6),
        slot("r7", 7),
    ];
    const HOT_SLOTS: &'static [u16] = &[1, 2, 3, 4, 7];

    fn lift(
        &self,
        builder: &mut BlockBuilder,
        key: BlockKey,
        start: u32,
        code: &mut dyn FetchCode,
        limit: usize,
    ) -> Result<Block, Exception> {
        let mut at = start;
        loop {
            let count = builder.marks();
            if count > 0 && (at >= 4096 || count >= limit) {
                return Ok(builder.finish(key, Terminal::Jump { target: at as i32, call: None }));
            }
            let [op, a] = code.half(at)?.to_le_bytes();
            let [b, imm] = code.half(at + 2)?.to_le_bytes();
            let (next, imm) = (at as i32 + 4, i32::from(imm as i8));
            let (a, b) = (Val::slot(u16::from(a % 8)), Val::slot(u16::from(b % 8)));
            builder.mark(at as i32, 4);
            let terminal = match op {
                MOVI => {
                    let value = builder.imm(imm as u64);
                    builder.un_to(a, Op::Mov, Ty::I64, value);
                    None
                }
                ADDI => {
                    let value = builder.imm(imm as u64);
                    builder.bin_to(a, Op::Add, Ty::I64, a, value);
                    None
                }
                ADD => {
                    builder.bin_to(a, Op::Add, Ty::I64, a, b);
                    None
                }
                XOR => {
                    builder.bin_to(a, Op::Xor, Ty::I64, a, b);
                    None
                }
                LD => {
                    builder.load_to(a, Ty::I64, MemAttr::PLAIN, b, imm);
                    None
                }
                SD => {
                    builder.store(Ty::I64, MemAttr::PLAIN, a, imm, b);
                    None
                }
                STB => {
                    builder.store(Ty::I8, MemAttr::PLAIN, a, imm, b);
                    None
                }
                SYNC | HALT => {
                    builder.call_to(Val::NONE, op.into(), &[]);
                    Some(Terminal::Lookup { next })
                }
                CALL => {
                    builder.pc_to(Val::slot(7), next);
                    Some(Terminal::Indirect { target: a, hint: Hint::Call(next) })
                }
                RET => Some(Terminal::Indirect { target: Val::slot(7), hint: Hint::Return }),
                JNE => {
                    let taken = at as i32 + 4 * imm;
                    Some(Terminal::Branch { cc: Cc::Ne, ty: Ty::I64, a, b, taken, fall: next })
                }
                _ => {
                    let value = builder.imm(0);
                    Some(Terminal::Exception { cause: 2, value })
                }
            };
            at += 4;
            if let Some(terminal) = terminal {
                return Ok(builder.finish(key, terminal));
            }
        }
    }

    fn mode(&self) -> Mode {
        flat_mode()
    }

    fn translate(
        _: &mut Vcpu<Self>,
        va: u64,
        _: usize,
        _: Access,
        _: View,
    ) -> Result<Translation, Exception> {
        if va >= MEMORY {
            return Err(Exception::new(5, va));
        }
        Ok(flat(va))
    }

    fn access_fault(&self, va: u64, _: Access) -> Exception {
        Exception::new(5, va)
    }

    fn misaligned(&self, va: u64, _: Access) -> Exception {
        Exception::new(6, va)
    }

    fn raise(vcpu: &mut Vcpu<Self>, exception: Exception) {
        panic!("{exception:?} at {:#x}", vcpu.state.pc);
    }

    fn pending_interrupt(_: &mut Vcpu<Self>) -> Option<Exception> {
        None
    }

    fn call(vcpu: &mut Vcpu<Self>, id: u16, _: [u64; 3]) -> Result<u64, Stop> {
        if id == u16::from(HALT) {
            return Err(Stop::Host(HostRequest::Firmware));
        }
        vcpu.sync_code();
        Ok(0)
    }
}

/// Writes a program.
pub fn put(ram: &Ram, at: u64, code: &[[u8; 4]]) {
    for (i, word) in code.iter().enumerate() {
        ram.store(at as usize + 4 * i, u32::from_le_bytes(*word));
    }
}
