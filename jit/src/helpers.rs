//! What translated code calls: everything that is rare, or is the front end's.
#![allow(
    unsafe_code,
    reason = "the one module that translated code calls into, with raw pointers to its vCPU"
)]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering, fence};

use emu_core::exec::{Access, Exception, Isa, Stop, Vcpu};
use emu_core::fp::Flags;
use emu_core::interp;
use emu_core::ir::{AmoOp, BulkAttr, Inst, MemAttr, Op, Ty, Val};

use crate::engine::Finder;
use crate::frame::{self, Entry, Frame, Site, accrued};
use crate::shared::Variant;
use crate::stubs::{Left, Stubs};

/// The helpers, by their place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Helper {
    /// Performs one operation of the IR.
    Operation = 0,
    /// Runs a helper of the front end.
    Call = 1,
    /// Finds the code at the program counter.
    Find = 2,
    /// Translates the address of an access whose check others share.
    Reach = 3,
}

type Function = unsafe extern "sysv64" fn(*mut Frame) -> u64;

/// The helpers for vCPUs of one instruction set.
pub(crate) type Table = [Function; 4];

/// The helpers for vCPUs of instruction set `I`.
pub(crate) const fn table<I: Isa>() -> Table {
    [operation::<I>, call::<I>, find::<I>, reach::<I>]
}

/// What one vCPU's translated code and its helpers share with the engine.
#[repr(C)]
pub(crate) struct Context {
    /// The exit that was taken last, if it can be linked: block and number. First, for the stub that writes it.
    pub link: [u32; 2],
    /// The floating-point status that it left with. Second, for the same reason.
    pub mxcsr: u64,
    /// How a helper has stopped the code.
    pub stop: Option<Stop>,
    /// The panic that has stopped it, to go on in the engine: it cannot unwind through translated code.
    pub panic: Option<Box<dyn Any + Send>>,
    /// Finds blocks.
    pub finder: Finder,
    /// Accesses that missed the inline path.
    pub misses: u64,
    /// Helpers of the front end that have been called.
    pub calls: u64,
    /// Jumps that missed the jump cache.
    pub finds: u64,
}

/// Runs the translated code at `code`. It leaves at its first poll if it is to run briefly.
///
/// # Safety
/// `code` must be the entry of translated code for `I` in the memory that `stubs` lie in, and nobody may reuse its place
/// until it comes back. `table` must be that of `I`.
pub(crate) unsafe fn enter<I: Isa>(
    stubs: &Stubs,
    table: &Table,
    context: &mut Context,
    vcpu: &mut Vcpu<I>,
    code: usize,
    briefly: bool,
) -> Left {
    let vcpu: *mut Vcpu<I> = vcpu;
    let context: *mut Context = context;
    // SAFETY: both pointers were references just now, and nothing else uses what they point to until the code comes
    // back; `table` outlives the call; `code` is as the caller promises.
    unsafe {
        let flags = if briefly { &BRIEFLY } else { (*vcpu).port().attention_flags() };
        let attention = std::ptr::from_ref(flags);
        let entry = Entry {
            vcpu: vcpu as u64,
            context: context as u64,
            attention: attention as u64,
            helpers: std::ptr::from_ref(table) as u64,
        };
        let left = stubs.enter(code, &raw mut (*vcpu).state, &entry);
        (*vcpu).state.fp_flags |= accrued((*context).mxcsr as u32);
        left
    }
}

/// Attention flags that are always raised: code that sees these leaves at its next poll.
static LEAVE: AtomicU32 = AtomicU32::new(1);
/// The same, but at the next poll behind something that has been done.
static BRIEFLY: AtomicU32 = AtomicU32::new(frame::BRIEFLY);

/// Runs a helper's body. Its result goes to translated code: zero, or one if it must stop.
///
/// # Safety
/// `frame` must be that of translated code running on behalf of a `Vcpu<I>` and a [`Context`], which nothing else uses.
unsafe fn run<I: Isa>(
    frame: *mut Frame,
    body: impl FnOnce(&mut Frame, &mut Vcpu<I>, &mut Context) -> Result<(), Stop>,
) -> u64 {
    // SAFETY: the caller's promise; the frame lies on the stack below us, the others are named by whoever entered the
    // code, who keeps no reference in use until it returns.
    let (frame, vcpu, context) = unsafe {
        let frame = &mut *frame;
        let Entry { vcpu, context, .. } = frame.entry;
        (frame, &mut *(vcpu as *mut Vcpu<I>), &mut *(context as *mut Context))
    };
    vcpu.state.fp_flags |= accrued(std::mem::replace(&mut frame.mxcsr[0], 0));
    let outcome = catch_unwind(AssertUnwindSafe(|| body(frame, vcpu, context)));
    match outcome {
        Ok(Ok(())) => 0,
        Ok(Err(stop)) => {
            let (offset, retired) = match stop {
                Stop::Exception(_) => (frame.mark.offset(), frame.mark.number()),
                Stop::Host(_) => (frame.mark.offset() + i64::from(frame.len), frame.mark.number() + 1),
            };
            vcpu.state.pc = vcpu.state.page_base.wrapping_add_signed(offset);
            vcpu.state.retired += retired;
            context.stop = Some(stop);
            1
        }
        Err(panic) => {
            context.panic = Some(panic);
            1
        }
    }
}

/// # Safety
/// As [`run`].
unsafe extern "sysv64" fn call<I: Isa>(frame: *mut Frame) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        run::<I>(frame, |frame, vcpu, context| {
            context.calls += 1;
            vcpu.state.pc = vcpu.state.page_base.wrapping_add_signed(frame.mark.offset());
            let value = I::call(vcpu, frame.imm as u16, frame.args.map(|arg| arg as u64))?;
            frame.result = value.into();
            if vcpu.is_exclusive() && !vcpu.is_alone() {
                // The interpreter runs what follows: it ends the exclusive stretch in time.
                frame.entry.attention = (&raw const LEAVE) as u64;
            }
            Ok(())
        })
    }
}

/// # Safety
/// As [`run`].
unsafe extern "sysv64" fn find<I: Isa>(frame: *mut Frame) -> u64 {
    let mut code = 0;
    // SAFETY: the caller's promise.
    unsafe {
        run::<I>(frame, |_, vcpu, context| {
            context.finds += 1;
            code = context.finder.find(vcpu, Variant::Merged).unwrap_or(0);
            Ok(())
        });
    }
    code as u64
}

/// # Safety
/// As [`run`].
unsafe extern "sysv64" fn operation<I: Isa>(frame: *mut Frame) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { run::<I>(frame, perform) }
}

/// # Safety
/// As [`run`].
unsafe extern "sysv64" fn reach<I: Isa>(frame: *mut Frame) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        run::<I>(frame, |frame, vcpu, context| {
            context.misses += 1;
            let (va, view) = (frame.args[0] as u64, MemAttr::from_bits(frame.site.attr()).view);
            let access = if frame.site.op() == Op::Load { Access::Read } else { Access::Write };
            // Only what the leader itself does: others may never come to pass.
            vcpu.probe(view, va, access)?;
            vcpu.map_window(view, va, 1, access);
            let access = if frame.imm == 0 { Access::Read } else { Access::Write };
            frame.result = vcpu.mmu.addend(view, va, access).unwrap_or(0).into();
            Ok(())
        })
    }
}

fn perform<I: Isa>(frame: &mut Frame, vcpu: &mut Vcpu<I>, context: &mut Context) -> Result<(), Stop> {
    let site = frame.site;
    let (ty, attr) = (site.ty(), MemAttr::from_bits(site.attr() & 0xff));
    let mut va = frame.args[0] as u64;
    if matches!(site.op(), Op::Load | Op::Store) && site.attr() & Site::HOST != 0 {
        // Its leader has found it in the window, which is not given back while code is in the middle of a block; or elsewhere, and
        // there nothing faults.
        va = vcpu.mmu.guest_address(va).unwrap_or_else(|| unreachable!("a fault where memory is"));
    }
    let [_, b, c] = frame.args;
    match site.op() {
        Op::Load => {
            context.misses += 1;
            frame.result = match ty {
                Ty::V128 => vcpu.load_128(attr.view, va)?,
                _ => vcpu.load(ty, attr, va)?.into(),
            };
            vcpu.map_window(attr.view, va, ty.bytes(), Access::Read);
        }
        Op::Store => {
            context.misses += 1;
            match ty {
                Ty::V128 => {
                    vcpu.store_128(attr.view, va, b)?;
                    if attr.release {
                        fence(Ordering::SeqCst);
                    }
                }
                _ => vcpu.store(ty, attr, va, b as u64)?,
            }
            vcpu.map_window(attr.view, va, ty.bytes(), Access::Write);
        }
        Op::Amo => {
            let op = AmoOp::from_bits(site.attr() >> 8);
            frame.result = vcpu.amo(ty, attr, op, va, b as u64)?.into();
        }
        Op::Cas => frame.result = vcpu.cas(ty, attr, va, b as u64, c as u64)?.into(),
        Op::Zero => vcpu.zero(attr.view, va, b as usize)?,
        Op::Copy | Op::Fill => {
            let attr = BulkAttr::from_bits(site.attr());
            let left = match site.op() {
                Op::Copy => vcpu.copy(attr, va, b as u64, c as u64)?,
                _ => vcpu.fill(attr, va, b as u8, c as u64)?,
            };
            frame.result = left.into();
        }
        Op::Cas128 => frame.result = vcpu.cas_128(attr.view, va, b, c)?,
        // Its condition has held; or it stands for the terminal that raises an exception.
        Op::RaiseIf => return Err(Exception::new(frame.imm & u64::from(u32::MAX), va).into()),
        op => {
            let inst = Inst {
                op,
                ty,
                attr: site.attr(),
                dst: Val::NONE,
                a: Val::NONE,
                b: Val::NONE,
                c: Val::NONE,
                imm: frame.imm as i32,
            };
            if op == Op::Vlen {
                interp::vlen(&mut vcpu.state.vectors, &inst, va, b as u64);
                return Ok(());
            }
            let mut flags = Flags::NONE;
            frame.result = interp::evaluate(&inst, frame.args, &mut flags);
            vcpu.state.fp_flags |= u64::from(flags.bits());
        }
    }
    Ok(())
}
