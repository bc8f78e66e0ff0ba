//! One virtual CPU.

use std::sync::Arc;

use super::blocks::BlockMap;
use super::code::CodeRead;
use super::isa::{Isa, Mode};
use super::probe::Probe;
use crate::ir::BlockBuilder;
use crate::mem::{Bus, Mmu, Tables};
use crate::sync::{Group, Port};
use crate::time::Clock;

/// How many 64-bit register slots there are.
pub const SLOTS: usize = 256;

/// The part of a vCPU that every instruction touches, laid out for translated code.
#[repr(C)]
pub struct CpuState {
    // What translated code names most often comes first: instructions that name it are short.
    /// The virtual program counter: exact between blocks, and wherever front-end code runs.
    pub pc: u64,
    /// Virtual address of the page in which the running block starts.
    pub page_base: u64,
    /// Instructions retired. Exact between blocks, and in a helper called by the first instruction of a block.
    pub retired: u64,
    /// Accrued floating-point exception flags, in the layout of [`crate::fp::Flags`].
    pub fp_flags: u64,
    /// Where the current mode's cached translations are; [`Vcpu::mode_changed`] keeps it up to date.
    pub tables: Tables,
    /// The guest's registers, as the front end numbers them.
    pub slots: [u64; SLOTS],
    /// The vector file of instruction sets whose vectors have a length of their own; empty for the others.
    pub vectors: Vec<u8>,
    /// Where the current mode's cached translations for fetches are.
    pub fetch_table: u64,
    /// While a compiled region runs: host address of the flags that say that something wants attention.
    pub attention: u64,
    /// What compiled regions have done, each in a place that it may share with others.
    pub regions: [RegionCount; REGION_COUNTS],
    /// Times that a region was left in the middle of a block, for statistics.
    pub bail_outs: u64,
}

/// How many places there are to count what compiled regions do.
pub const REGION_COUNTS: usize = 64;

/// What a compiled region has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct RegionCount {
    /// Times that it was entered.
    pub entries: u64,
    /// Instructions retired in it.
    pub instructions: u64,
}

/// What a vCPU is connected to.
pub struct VcpuParts {
    /// Its number, from zero.
    pub index: usize,
    /// The physical address space.
    pub bus: Arc<Bus>,
    /// All vCPUs of the machine.
    pub group: Arc<Group>,
    /// The machine's lifted blocks.
    pub blocks: Arc<BlockMap>,
    /// The machine's clock.
    pub clock: Clock,
}

/// A virtual CPU of instruction set `I`. One host thread owns it.
pub struct Vcpu<I: Isa> {
    /// Registers and counters.
    pub state: CpuState,
    /// Architectural state beyond that.
    pub isa: I,
    /// Cached translations.
    pub mmu: Mmu,
    /// The physical address space.
    pub bus: Arc<Bus>,
    /// The machine's clock.
    pub clock: Clock,
    /// What sees it run, if anything does.
    pub probe: Option<Box<dyn Probe<I>>>,
    /// Times that it has stopped the other vCPUs, for statistics.
    pub exclusive_stops: u64,
    pub(super) index: usize,
    pub(super) group: Arc<Group>,
    pub(super) port: Arc<Port>,
    pub(super) blocks: Arc<BlockMap>,
    pub(super) builder: BlockBuilder,
    /// What the last block was lifted from.
    pub(super) code_read: CodeRead,
    /// The epoch of the blocks that this vCPU may run: it changes when it must look up all of them again.
    pub(crate) epoch: u64,
    pub(super) mode: Mode,
    pub(super) exclusive: Option<Exclusive>,
}

/// A load-reserve whose store-conditional must see every store in between: the other vCPUs stand still.
pub(super) struct Exclusive {
    /// Instructions after which it ends without a store-conditional.
    pub(super) ends_at: u64,
}

impl<I: Isa> Vcpu<I> {
    /// How many instructions a load-reserve may keep the other vCPUs stopped.
    const EXCLUSIVE_LIMIT: u64 = 64;

    /// A vCPU with all registers zero.
    pub fn new(isa: I, parts: VcpuParts) -> Self {
        let VcpuParts { index, bus, group, blocks, clock } = parts;
        let mode = isa.mode();
        let mut mmu = Mmu::new(bus.ram().host_base());
        mmu.allow_windows(bus.ram().windows().cloned());
        let tables = mmu.switch(&mode);
        let port = Arc::clone(group.port(index));
        let state = CpuState {
            slots: [0; SLOTS],
            pc: 0,
            page_base: 0,
            retired: 0,
            vectors: Vec::new(),
            fp_flags: 0,
            tables,
            fetch_table: mmu.fetch_table(),
            attention: 0,
            regions: [RegionCount::default(); REGION_COUNTS],
            bail_outs: 0,
        };
        let builder = BlockBuilder::new();
        Self {
            state,
            isa,
            mmu,
            bus,
            clock,
            probe: None,
            exclusive_stops: 0,
            index,
            group,
            port,
            blocks,
            builder,
            code_read: CodeRead::default(),
            epoch: 0,
            mode,
            exclusive: None,
        }
    }

    /// The vCPU's number in its machine.
    pub fn index(&self) -> usize {
        self.index
    }

    /// All vCPUs of the machine.
    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }

    /// This vCPU as others see it: interrupt pins and requests.
    pub fn port(&self) -> &Arc<Port> {
        &self.port
    }

    /// The machine's lifted blocks.
    pub fn blocks(&self) -> &Arc<BlockMap> {
        &self.blocks
    }

    /// Takes over a change of what [`Isa::mode`] returns. The front end calls it after each such change; blocks that
    /// cause one end with [`crate::ir::Hint::Switch`] or [`crate::ir::Terminal::Lookup`].
    pub fn mode_changed(&mut self) {
        self.mode = self.isa.mode();
        self.state.tables = self.mmu.switch(&self.mode);
        self.mode.ctx |= self.mmu.context();
        self.state.fetch_table = self.mmu.fetch_table();
    }

    /// What blocks and translations depend on now.
    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// Whether this is the only vCPU of the machine.
    pub fn is_alone(&self) -> bool {
        self.group.len() == 1
    }

    /// Stops the other vCPUs until [`Vcpu::end_exclusive`], or until some tens of instructions have run.
    pub fn begin_exclusive(&mut self) {
        if self.is_alone() || self.exclusive.is_some() {
            return;
        }
        self.exclusive_stops += 1;
        self.group.begin_exclusive(self.index);
        // What the others asked for before they stopped; nothing can come after that.
        self.serve_requests();
        self.exclusive = Some(Exclusive { ends_at: self.state.retired + Self::EXCLUSIVE_LIMIT });
    }

    /// Lets the other vCPUs go on; does nothing if they are not stopped.
    pub fn end_exclusive(&mut self) {
        if self.exclusive.take().is_some() {
            self.group.end_exclusive(self.index);
            self.enter_guest();
        }
    }

    /// Whether the other vCPUs are stopped (always true for a machine with one).
    pub fn is_exclusive(&self) -> bool {
        self.exclusive.is_some() || self.is_alone()
    }
}
