//! What an instruction set provides to the engine.

use super::exit::{Exception, Stop};
use super::vcpu::Vcpu;
use crate::ir::{Block, BlockBuilder, BlockKey, SlotInfo, View};

/// What a memory access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reads data.
    Read,
    /// Writes data, or reads and writes it at once.
    Write,
    /// Fetches an instruction.
    Fetch,
}

/// Which accesses a translation allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Perms {
    /// Reads.
    pub read: bool,
    /// Writes.
    pub write: bool,
    /// Instruction fetches.
    pub fetch: bool,
}

/// The outcome of a page-table walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Guest-physical address of the byte asked for.
    pub pa: u64,
    /// What may be cached for the whole page: never more than the tables, PMP and the A and D bits allow now.
    pub perms: Perms,
    /// log2 of the size of the naturally aligned range around the address to which this applies alike; at least 12
    /// for a cacheable translation.
    pub page_bits: u8,
    /// The mapping is valid in every address space.
    pub global: bool,
    /// False where every access must ask again: protection is finer than a page, or something watches.
    pub cacheable: bool,
    /// Context bits of [`BlockKey::ctx`] that code in this page has besides those of the mode.
    pub context: u32,
}

/// Names a set of translations: entries are cached per space, so that changing mode or address space only switches
/// from one set to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpaceId {
    /// The front end's translation mode (privilege, SUM, MXR, … whatever changes what a page-table entry allows). Below
    /// [`SpaceId::MODES`].
    pub mode: u8,
    /// Whether cached translations in this mode are kept per address space. Where not, entries that are not global are
    /// dropped when the address space changes: right for kernel modes, in which nearly everything is global.
    pub per_asid: bool,
    /// The address space.
    pub asid: u32,
}

impl SpaceId {
    /// How many modes a front end may have.
    pub const MODES: usize = 16;
}

/// Everything that blocks and cached translations depend on at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// The mode's context bits of [`BlockKey::ctx`], which has those of the page as well.
    pub ctx: u32,
    /// Where instruction fetches translate.
    pub fetch: SpaceId,
    /// Where the data accesses of each [`View`] translate.
    pub data: [SpaceId; View::ALL.len()],
    /// Data accesses of [`View::Current`] may go through a window ([`crate::mem::Windows`]).
    pub window: bool,
}

/// Gives a lifter the code of the page that a block starts in.
pub trait FetchCode {
    /// The little-endian 16 bits at `offset` bytes (even) from the start of the page. Offsets from 4096 on lie in the next
    /// virtual page, whose translation may fault; only the last instruction of a block may need them.
    fn half(&mut self, offset: u32) -> Result<u16, Exception>;
}

/// An instruction set: the architectural state of one vCPU beyond its register slots, and its rules.
pub trait Isa: Sized + Send + 'static {
    /// The register slots.
    const SLOTS: &'static [SlotInfo];

    /// Integer slots that code uses most, the hottest first: compilers keep as many of them as they can in host registers.
    const HOT_SLOTS: &'static [u16] = &[];

    /// Bytes that are fetched at once, in which all instructions come.
    const FETCH_UNIT: u8 = 2;

    /// Lifts the instructions from `start` bytes into the page, at most `limit` of them (at least one), into a block with
    /// the given key. Fails only if the first instruction cannot be fetched. An undefined instruction is a block that ends
    /// in its exception. A block does not go beyond the end of its page, but for a single instruction that straddles it.
    fn lift(
        &self,
        builder: &mut BlockBuilder,
        key: BlockKey,
        start: u32,
        code: &mut dyn FetchCode,
        limit: usize,
    ) -> Result<Block, Exception>;

    /// What blocks and translations depend on now.
    fn mode(&self) -> Mode;

    /// Translates an `access` to `bytes` bytes at `va`, all in one 4 KiB page, with the rights of `view`: walks the tables
    /// in memory, checks everything, and sets accessed and dirty bits as the architecture asks.
    fn translate(
        vcpu: &mut Vcpu<Self>,
        va: u64,
        bytes: usize,
        access: Access,
        view: View,
    ) -> Result<Translation, Exception>;

    /// What [`Isa::translate`] would say of `va` with the rights of [`View::Current`], if the tables need no change for that: it
    /// has been accessed, and may be written only if it has been. None also if that is not known, or not worth while.
    fn peek(_vcpu: &Vcpu<Self>, _va: u64) -> Option<Translation> {
        None
    }

    /// The exception for an access to `va` that no memory or device answers.
    fn access_fault(&self, va: u64, access: Access) -> Exception;

    /// The exception for an atomic access to `va` that is not naturally aligned.
    fn misaligned(&self, va: u64, access: Access) -> Exception;

    /// Takes `exception` at the current program counter: updates the state and the program counter.
    fn raise(vcpu: &mut Vcpu<Self>, exception: Exception);

    /// The interrupt that the vCPU must take before its next instruction, if any.
    fn pending_interrupt(vcpu: &mut Vcpu<Self>) -> Option<Exception>;

    /// Runs helper `id`, as [`crate::ir::Op::Call`] asks.
    fn call(vcpu: &mut Vcpu<Self>, id: u16, args: [u64; 3]) -> Result<u64, Stop>;
}
