//! Two vCPUs that write, translate and run code at the same time, in a code cache that is much too small.

use std::sync::Arc;
use std::thread;

use emu_core::exec::{
    Access, BlockMap, Engine, Exception, Exit, FetchCode, HostRequest, Isa, Limits, Mode, Perms, SpaceId,
    Stop, Translation, Vcpu, VcpuParts,
};
use emu_core::ir::{
    Block, BlockBuilder, BlockKey, Cc, Class, Hint, MemAttr, Op, SlotInfo, Terminal, Ty, Val, View,
};
use emu_core::mem::{BusBuilder, Ram, RamBuilder};
use emu_core::sync::Group;
use emu_core::time::Clock;
use jit::{Jit, JitConfig, JitShared, JitStats};

/// An instruction set of one-word instructions: operation, a, b, immediate, a byte each. Addresses are physical.
struct Tiny;

/// a = imm
const MOVI: u8 = 1;
/// a += imm
const ADDI: u8 = 2;
/// byte at a + imm = b
const STB: u8 = 3;
/// Makes stores to code visible.
const SYNC: u8 = 4;
/// Goes to a; register 7 = the next address.
const CALL: u8 = 5;
/// Goes to register 7.
const RET: u8 = 6;
/// Goes imm instructions on from here unless a = b.
const JNE: u8 = 7;
/// Ends the run.
const HALT: u8 = 8;
/// a += b
const ADD: u8 = 9;

/// The immediate of a jump backward.
const fn back(count: u8) -> u8 {
    count.wrapping_neg()
}

const MEMORY: u64 = 0x4_0000;

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
        let space = SpaceId { mode: 0, per_asid: false, asid: 0 };
        Mode { ctx: 0, fetch: space, data: [space; View::ALL.len()] }
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
        let perms = Perms { read: true, write: true, fetch: true };
        Ok(Translation { pa: va, perms, page_bits: 12, global: true, cacheable: true })
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

fn put(ram: &Ram, at: u64, code: &[[u8; 4]]) {
    for (i, word) in code.iter().enumerate() {
        ram.store(at as usize + 4 * i, u32::from_le_bytes(*word));
    }
}

/// Runs a program on each of two vCPUs: it changes a function, synchronises, calls it, and counts in r6 how often the
/// result is not what it wrote. `r5` is where the function is, `r4` how often to do that.
fn stress(functions: [u64; 2], rounds: u64, code_bytes: usize) -> ([Vcpu<Tiny>; 2], JitStats) {
    let ram = RamBuilder::new().region("memory", 0, MEMORY, true).and_then(RamBuilder::build).unwrap();
    for function in functions {
        // r2 = imm; r3 += r2, over some blocks; return
        put(&ram, function, &[[MOVI, 2, 0, 0], [JNE, 2, 2, 1], [ADD, 3, 2, 0], [RET, 0, 0, 0]]);
    }
    let main = [
        [ADDI, 1, 0, 1], // next value
        [STB, 5, 1, 3],  // into the function
        [SYNC, 0, 0, 0],
        [CALL, 5, 0, 0],
        [CALL, 5, 0, 0],
        [JNE, 1, 2, 6],
        [ADDI, 4, 0, back(1)],
        [JNE, 4, 0, 2],
        [HALT, 0, 0, 0],
        [JNE, 1, 3, back(9)], // r3 is always larger
        [HALT, 0, 0, 0],
        [ADDI, 6, 0, 1],
        [JNE, 6, 3, back(6)],
        [HALT, 0, 0, 0],
    ];
    let starts = [0x1000u64, 0x2000];
    starts.into_iter().for_each(|start| put(&ram, start, &main));
    let bus = Arc::new(BusBuilder::new(Arc::new(ram)).build());
    let (group, blocks) = (Arc::new(Group::new(2)), Arc::new(BlockMap::default()));
    let shared = JitShared::new::<Tiny>(JitConfig { code_bytes }, group.clone(), &blocks).unwrap();
    let threads = [0, 1].map(|index| {
        let parts = VcpuParts {
            index,
            bus: bus.clone(),
            group: group.clone(),
            blocks: blocks.clone(),
            clock: Clock::real_time(),
        };
        let shared = shared.clone();
        thread::spawn(move || {
            let mut vcpu = Vcpu::new(Tiny, parts);
            vcpu.state.pc = starts[index];
            vcpu.state.slots[3] = 1 << 40;
            vcpu.state.slots[4] = rounds;
            vcpu.state.slots[5] = functions[index];
            let mut engine = Jit::new(shared);
            let exit = engine.run(&mut vcpu, Limits::NONE);
            assert_eq!(exit, Exit::Request(HostRequest::Firmware));
            (vcpu, engine.stats())
        })
    });
    let [(a, _), (b, stats)] = threads.map(|thread| thread.join().unwrap());
    ([a, b], stats)
}

/// What one vCPU writes, it runs, whatever the other does; retired instructions are exact.
#[test]
fn each_changes_its_own_function() {
    // The immediate is a signed byte, so that rounds up to 127 compare equal.
    for _ in 0..40 {
        let (vcpus, stats) = stress([0x3000, 0x4000], 127, 256 << 10);
        for vcpu in vcpus {
            assert_eq!(vcpu.state.slots[6], 0, "stale code ran");
            assert_eq!(vcpu.state.slots[4], 0);
            assert_eq!(vcpu.state.slots[3], (1 << 40) + 2 * (1..=127).sum::<u64>());
            assert_eq!(vcpu.state.retired, 127 * 17);
        }
        assert!(stats.blocks > 127 && stats.refused == 0, "{stats:?}");
    }
}

/// Both change a function of the same page; what each sees is its own function in some version not older than its own.
#[test]
fn both_change_one_page() {
    for _ in 0..40 {
        let (vcpus, _) = stress([0x3000, 0x3800], 127, 256 << 10);
        for vcpu in vcpus {
            assert_eq!(vcpu.state.slots[6], 0, "stale code ran");
            assert_eq!(vcpu.state.slots[3], (1 << 40) + 2 * (1..=127).sum::<u64>());
        }
    }
}

/// Memory for code is reused while both run.
#[test]
fn code_memory_is_reused() {
    let (vcpus, stats) = stress([0x3000, 0x4000], 20_000, 256 << 10);
    assert!(stats.evictions > 2, "{stats:?}");
    for vcpu in vcpus {
        assert_eq!(vcpu.state.slots[4], 0);
    }
}
