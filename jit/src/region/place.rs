//! Regions to host code: Cranelift's function, between pieces that make it look like blocks of tier 1.
//!
//! An entry has the guest registers where tier 1 has them; the function finds them in the state, and leaves them there. What
//! it returns is the number of an exit.

use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{AbiParam, Function, Signature, types};
use cranelift_codegen::isa::{self, CallConv, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};
use emu_core::ir::SlotInfo;

use super::build::{self, Links, Outside};
use super::plan::Plan;
use crate::frame;
use crate::stubs::Stubs;
use crate::template::asm::{Asm, RAX, x64};
use crate::template::{Code, Exit, Features};

/// Something wants attention; the state has the program counter.
pub(super) const EXIT_LEAVE: u32 = 0;
/// The next block is to be looked up; the state has the program counter.
pub(super) const EXIT_GO: u32 = 1;
/// The first of those that can be linked.
pub(super) const EXIT_LINKS: u32 = 2;

/// log2 of the bytes that an exit takes.
const EXIT_BITS: u8 = 4;

/// Compiles regions; each worker has one.
pub(crate) struct RegionCompiler {
    isa: OwnedTargetIsa,
    context: Context,
    builder: FunctionBuilderContext,
}

/// A compiled region.
pub(crate) struct Compiled {
    function: Vec<u8>,
    align: usize,
    links: Links,
}

/// Its code, placed.
pub(crate) struct Placed {
    pub code: Code,
    /// Where each entry begins.
    pub entries: Vec<usize>,
}

impl RegionCompiler {
    /// None if Cranelift does not know this host.
    pub(crate) fn new(features: Features) -> Option<Self> {
        let mut flags = settings::builder();
        // Optimisation would fold, move and delete what raises floating-point flags.
        for (name, value) in [
            ("opt_level", "none"),
            ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
            ("unwind_info", "false"),
            ("enable_probestack", "false"),
            ("enable_heap_access_spectre_mitigation", "false"),
            ("enable_table_access_spectre_mitigation", "false"),
        ] {
            flags.set(name, value).ok()?;
        }
        let mut isa = isa::lookup_by_name("x86_64-unknown-linux-gnu").ok()?;
        let has = [
            ("has_sse3", true),
            ("has_ssse3", true),
            ("has_sse41", true),
            ("has_sse42", true),
            ("has_popcnt", true),
            ("has_cmpxchg16b", true),
            ("has_avx", features.avx),
            ("has_avx2", features.avx2),
            ("has_fma", features.fma),
            ("has_bmi1", features.bmi1),
            ("has_bmi2", features.bmi2),
            ("has_lzcnt", features.lzcnt),
        ];
        for (name, has) in has {
            if has {
                isa.enable(name).ok()?;
            }
        }
        let isa = isa.finish(settings::Flags::new(flags)).ok()?;
        Some(Self { isa, context: Context::new(), builder: FunctionBuilderContext::new() })
    }

    /// The function of a region; none if Cranelift refuses it.
    pub(crate) fn compile(&mut self, plan: &Plan, slots: &[SlotInfo], host_base: u64) -> Option<Compiled> {
        self.context.clear();
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params.extend([types::I64, types::I64, types::I32].map(AbiParam::new));
        signature.returns.push(AbiParam::new(types::I32));
        self.context.func = Function::with_name_signature(Default::default(), signature);
        let f = FunctionBuilder::new(&mut self.context.func, &mut self.builder);
        let outside = Outside { slots, host_base };
        let links = build::build(f, plan, &outside, self.isa.frontend_config());
        let compiled = self.context.compile(&*self.isa, &mut ControlPlane::default());
        let compiled = match compiled {
            Ok(compiled) => compiled,
            Err(error) if cfg!(debug_assertions) => panic!("{:?}\n{}", error.inner, error.func.display()),
            Err(_) => return None,
        };
        if !compiled.buffer.relocs().is_empty() {
            return None;
        }
        let function = compiled.code_buffer().to_vec();
        Some(Compiled { function, align: compiled.buffer.alignment as usize, links })
    }
}

impl Compiled {
    /// Bytes that suffice for its code.
    pub(crate) fn room(&self, entries: usize) -> usize {
        self.function.len() + self.align + 256 + 16 * entries + 48 * (self.links.len() + 3)
    }

    /// The code with `entries` entries, at host address `base`; its exits name it as `id`.
    pub(crate) fn place(
        &self,
        entries: usize,
        hot: &[u16],
        stubs: &Stubs,
        base: usize,
        id: u32,
    ) -> Option<Placed> {
        let mut asm = Asm::new();
        asm.restart(base);
        let pinned = frame::pinned(hot);
        let (common, function, table) = (asm.label(), asm.label(), asm.label());
        let align = |asm: &mut Asm, to: usize| {
            while !(base + asm.offset()).is_multiple_of(to) {
                asm.ops_push(&[0xcc]);
            }
        };
        let mut starts = Vec::with_capacity(entries);
        for n in 0..entries {
            align(&mut asm, 16);
            starts.push(asm.offset());
            x64!(asm, mov edx, n as i32);
            asm.jmp(common);
        }
        asm.bind(common);
        pinned.iter().for_each(|&(reg, at)| asm.store(at, reg));
        x64!(asm, mov rdi, rbp; mov rsi, rsp; call =>function; shl eax, EXIT_BITS as i8
            ; lea rcx, [=>table]; add rcx, rax);
        pinned.iter().for_each(|&(reg, at)| asm.load(reg, at));
        x64!(asm, jmp rcx);
        let mut exits = Vec::with_capacity(self.links.len());
        align(&mut asm, 1 << EXIT_BITS);
        asm.bind(table);
        let first = asm.offset();
        for exit in 0..EXIT_LINKS + self.links.len() as u32 {
            align(&mut asm, 1 << EXIT_BITS);
            debug_assert_eq!(asm.offset() - first, (exit as usize) << EXIT_BITS, "an exit is too long");
            match exit {
                EXIT_LEAVE => {
                    asm.load(RAX, frame::PC);
                    asm.jmp_out(stubs.leave_at_rax);
                }
                EXIT_GO => {
                    asm.load(RAX, frame::PC);
                    asm.jmp_out(stubs.go);
                }
                link => {
                    asm.align_ahead(1);
                    asm.ops_push(&[0xe9]);
                    let (target, plain) = self.links[(link - EXIT_LINKS) as usize];
                    exits.push(Exit { site: asm.offset() as u32, cold: 0, target, plain });
                    asm.ops_push(&[0; 4]);
                }
            }
        }
        asm.cold_links(&mut exits, stubs, id);
        align(&mut asm, self.align.max(16));
        asm.bind(function);
        asm.ops_push(&self.function);
        debug_assert_eq!(starts.first(), Some(&0), "exits are counted from the first entry");
        let bytes = asm.finish().ok()?;
        Some(Placed { code: Code { bytes, exits }, entries: starts })
    }
}
