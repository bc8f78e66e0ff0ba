//! Regions to host code: Cranelift's function, between pieces that make it look like blocks of tier 1.
//!
//! An entry has the guest registers where tier 1 has them; the function finds them in the state, and leaves them there. What
//! it returns is the number of an exit.

use std::collections::HashSet;

use cranelift_codegen::CompiledCode;
use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{AbiParam, Function, Signature, types};
use cranelift_codegen::isa::{self, CallConv, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};
use emu_core::ir::SlotInfo;

use super::build::{self, Links, Outside, UNMAPPED};
use super::plan::Plan;
use crate::faults::Fault;
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

/// Where the function finds what it needs the host addresses of, from its third parameter on: the functions that copy and fill,
/// and the plan's pages.
pub(super) const COPY_AT: i32 = 0;
pub(super) const FILL_AT: i32 = 8;
pub(super) const PAGES_AT: i32 = 16;

/// Times that a region is compiled, until no access through the window is in the way: mostly one or two.
const MOST_TRIES: usize = 6;

/// Nodes of regions in which something is in the way of some access, mostly: registers are scarce.
const LARGE: usize = 6;

/// log2 of the bytes that an exit takes.
const EXIT_BITS: u8 = 4;

/// Compiles regions; each worker has one.
pub(crate) struct RegionCompiler {
    isa: OwnedTargetIsa,
    context: Context,
    builder: FunctionBuilderContext,
    lists: bool,
}

/// A compiled region, which may be placed anywhere.
pub(crate) struct Compiled {
    pub function: Vec<u8>,
    pub align: usize,
    pub links: Links,
    /// Accesses that may fault, and where to go on then.
    pub faults: Vec<Fault>,
    /// Cranelift's intermediate form, and the host's code, for people.
    pub listing: Option<String>,
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
            ("machine_code_cfg_info", "true"),
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
        Some(Self { isa, context: Context::new(), builder: FunctionBuilderContext::new(), lists: false })
    }

    /// Whether regions get a listing.
    pub(crate) fn lists(&mut self, lists: bool) {
        self.lists = lists;
    }

    /// The function of a region; none if Cranelift refuses it.
    pub(crate) fn compile(&mut self, plan: &Plan, slots: &[SlotInfo]) -> Option<Compiled> {
        let is_large = plan.nodes.len() >= LARGE;
        let mut firm = if is_large { build::accesses(plan).collect() } else { HashSet::new() };
        let mut soft = HashSet::new();
        for _ in 0..MOST_TRIES {
            let outside = Outside { slots, firm: &firm, soft: &soft };
            match self.compile_with(plan, &outside)? {
                Ok(compiled) => return Some(compiled),
                Err(sites) => {
                    for site in sites {
                        if !firm.insert(site) && !soft.insert(site) {
                            return None;
                        }
                    }
                }
            }
        }
        None
    }

    /// The same; fails with the accesses that cannot go through a window.
    fn compile_with(&mut self, plan: &Plan, outside: &Outside<'_>) -> Option<Result<Compiled, Vec<u32>>> {
        self.context.clear();
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params.extend([types::I64, types::I32, types::I64].map(AbiParam::new));
        signature.returns.push(AbiParam::new(types::I32));
        self.context.func = Function::with_name_signature(Default::default(), signature);
        let f = FunctionBuilder::new(&mut self.context.func, &mut self.builder);
        let links = build::build(f, plan, outside, self.isa.frontend_config());
        let clif = self.lists.then(|| self.context.func.display().to_string());
        self.context.set_disasm(self.lists);
        let compiled = self.context.compile(&*self.isa, &mut ControlPlane::default());
        let compiled = match compiled {
            Ok(compiled) => compiled,
            Err(error) if cfg!(debug_assertions) => panic!("{:?}\n{}", error.inner, error.func.display()),
            Err(_) => return None,
        };
        if !compiled.buffer.relocs().is_empty() {
            return None;
        }
        let (faults, failed) = faults(compiled);
        if !failed.is_empty() {
            return Some(Err(failed));
        }
        let mut function = compiled.code_buffer().to_vec();
        faults.iter().for_each(|&(at, _)| without_idle_branch(&mut function, at as usize));
        let listing = clif.map(|clif| format!("{clif}\n{}", compiled.vcode.as_deref().unwrap_or_default()));
        Some(Ok(Compiled { listing, function, align: compiled.buffer.alignment as usize, links, faults }))
    }
}

/// The accesses that may fault, with where to go on: in the branch that was not taken just before, so that the guest is where it
/// was. That holds only if nothing lies between the two; the accesses of which it cannot be said come second.
fn faults(compiled: &CompiledCode) -> (Vec<Fault>, Vec<u32>) {
    const JCC: [u8; 2] = [0x0f, 0x80];
    let code = compiled.code_buffer();
    let starts = |at: u32| compiled.bb_starts.binary_search(&at).is_ok();
    let (mut faults, mut failed) = (Vec::new(), Vec::new());
    for trap in compiled.buffer.traps().iter().filter(|trap| trap.code == UNMAPPED) {
        let at = trap.offset;
        let branch = at.checked_sub(6).and_then(|from| code.get(from as usize..at as usize));
        let target = match branch {
            Some(&[first, second, a, b, c, d]) if [first, second & 0xf0] == JCC => {
                at.checked_add_signed(i32::from_le_bytes([a, b, c, d]))
            }
            _ => None,
        };
        match target {
            Some(target) if starts(at) && starts(target) => faults.push((at, target)),
            _ => {
                let locs = compiled.buffer.get_srclocs_sorted();
                let loc = locs.iter().find(|loc| (loc.start..loc.end).contains(&at));
                failed.push(loc.map_or(0, |loc| loc.loc.bits()));
            }
        }
    }
    (faults, failed)
}

/// Takes the branch before the access at `at` out, if it is one that is never taken: it has only been there for what it leads to.
/// The others, which look whether the address is in a segment, are taken if two numbers differ, or one is not below the other.
fn without_idle_branch(code: &mut [u8], at: usize) {
    const NOP: [u8; 9] = [0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0];
    let Some(own) = at.checked_sub(NOP.len()).and_then(|from| code.get_mut(from..at)) else { return };
    // `test` of a register with itself, and `jz`.
    if let [0x48 | 0x4d, 0x85, regs, 0x0f, 0x84, ..] = *own
        && regs >= 0xc0
        && regs & 7 == regs >> 3 & 7
    {
        own.copy_from_slice(&NOP);
    }
}

impl Compiled {
    /// Bytes that suffice for its code.
    pub(crate) fn room(&self, entries: usize, pages: usize) -> usize {
        let places = PAGES_AT as usize + 8 * pages;
        self.function.len() + self.align + 320 + 24 * entries + 48 * (self.links.len() + 3) + places
    }

    /// The code at host address `base`, with entries for these places in the first page; its exits name it as `id`, which is zero if it is
    /// to run whatever wants attention. The plan's pages are at the host addresses `hosts`.
    pub(crate) fn place(
        &self,
        entries: &[i32],
        hosts: &[u64],
        hot: &[u16],
        stubs: &Stubs,
        base: usize,
        id: u32,
    ) -> Option<Placed> {
        let mut asm = Asm::new();
        asm.restart(base);
        let pinned = frame::pinned(hot);
        let [common, wanted, offsets, function, table, places] = std::array::from_fn(|_| asm.label());
        let align = |asm: &mut Asm, to: usize| {
            while !(base + asm.offset()).is_multiple_of(to) {
                asm.ops_push(&[0xcc]);
            }
        };
        let mut starts = Vec::with_capacity(entries.len());
        for n in 0..entries.len() {
            align(&mut asm, 16);
            starts.push(asm.offset());
            x64!(asm, mov esi, n as i32);
            asm.jmp(common);
        }
        asm.bind(common);
        if id != 0 {
            asm.load(RAX, frame::ATTENTION);
            x64!(asm, test DWORD [rax], !frame::BRIEFLY as i32; jnz =>wanted);
        }
        pinned.iter().for_each(|&(reg, at)| asm.store(at, reg));
        // Counted in are the instructions behind, less those before.
        let (number, instructions) = frame::region_count(id);
        asm.load(RAX, frame::RETIRED);
        x64!(asm, inc QWORD [rbp + number.disp]; sub[rbp + instructions.disp], rax);
        asm.load(RAX, frame::ATTENTION);
        asm.store(frame::REGION_ATTENTION, RAX);
        x64!(asm, mov rdi, rbp; lea rdx, [=>places]; call =>function; shl eax, EXIT_BITS as i8
            ; lea rcx, [=>table]; add rcx, rax);
        asm.load(RAX, frame::RETIRED);
        x64!(asm, add[rbp + instructions.disp], rax);
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
        asm.bind(wanted);
        x64!(asm, lea rcx, [=>offsets]; mov eax, [rcx + rsi * 4]; add rax, [rbp + frame::PAGE_BASE.disp]);
        asm.jmp_out(stubs.leave_at_rax);
        align(&mut asm, 8);
        asm.bind(offsets);
        entries.iter().for_each(|offset| asm.ops_push(&offset.to_le_bytes()));
        align(&mut asm, 8);
        asm.bind(places);
        let functions = stubs.bulk_functions.map(|function| function as u64);
        functions.iter().chain(hosts).for_each(|place| asm.ops_push(&place.to_le_bytes()));
        align(&mut asm, self.align.max(16));
        asm.bind(function);
        let at = asm.offset() as u32;
        let faults = self.faults.iter().map(|&(access, slow)| (at + access, at + slow)).collect();
        asm.ops_push(&self.function);
        debug_assert_eq!(starts.first(), Some(&0), "exits are counted from the first entry");
        let bytes = asm.finish().ok()?;
        Some(Placed { code: Code { bytes, exits, outs: asm.take_outs(), faults }, entries: starts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_branch_that_is_never_taken_is_taken_out() {
        // `test rdi, rdi`, `jz`; then `jnz`; then the `test` of two registers; then `test` of memory.
        let idle = [0x48, 0x85, 0xff, 0x0f, 0x84, 1, 2, 0, 0];
        let cases = [(1, 0x48), (1, 0x40), (2, 0xf7), (2, 0x3f), (4, 0x85)].map(|(at, byte)| {
            let mut code = idle;
            code[at] = byte;
            code
        });
        let patched = |code: [u8; 9]| {
            let mut code = [&code[..], &[0x90]].concat();
            without_idle_branch(&mut code, 9);
            without_idle_branch(&mut code, 3);
            code
        };
        assert_eq!(patched(idle), [0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0, 0x90]);
        for code in cases {
            assert_eq!(patched(code)[..9], code);
        }
    }
}
