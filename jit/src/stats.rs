//! What the engine has done, for `--stats`.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// Counters that all vCPUs add to.
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub $name: AtomicU64,)* }

        /// What the JIT of one machine has done so far.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct JitStats { $($(#[doc = $doc])+ pub $name: u64,)* }

        impl Counters {
            pub(crate) fn read(&self) -> JitStats {
                JitStats { $($name: self.$name.load(Relaxed),)* }
            }
        }

        impl fmt::Display for JitStats {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(writeln!(f, "{:<24} {}", stringify!($name), self.$name)?;)*
                Ok(())
            }
        }
    };
}

counters! {
    /// Blocks translated.
    blocks,
    /// Guest instructions in them.
    instructions,
    /// Bytes of host code made of them.
    code_bytes,
    /// Time that took, lifting included, in nanoseconds.
    translate_ns,
    /// Blocks whose translation an earlier run has kept, or this one has made elsewhere before.
    kept_blocks,
    /// Guest instructions in them.
    kept_instructions,
    /// Time that took, in nanoseconds.
    kept_ns,
    /// Pages whose kept translations were taken over as a whole.
    kept_pages,
    /// Blocks that were looked for among those that are kept, and not found.
    kept_misses,
    /// Regions whose code an earlier run has kept, or this one has made before.
    kept_regions,
    /// Translations that have been loaded.
    kept_loaded,
    /// Bytes of them.
    kept_bytes,
    /// Translations that have been saved.
    kept_saved,
    /// Blocks that could not be translated, and are interpreted.
    refused,
    /// Blocks and single instructions interpreted for other reasons.
    interpreted,
    /// Instructions in those.
    interpreted_instructions,
    /// Memory accesses that missed the inline path.
    misses,
    /// Front-end helpers called.
    calls,
    /// Exits to the dispatcher because a helper stopped the code: exceptions, requests to the host.
    stops,
    /// Exits of blocks whose jump was not linked.
    unlinked,
    /// Exits because the next block was in no cache of the vCPU.
    lookups,
    /// Exits because something wanted attention.
    attentions,
    /// Jumps that missed the jump cache.
    finds,
    /// Blocks looked up in the shared map.
    searches,
    /// Jumps linked.
    links,
    /// Segments of code memory emptied for reuse.
    evictions,
    /// Regions of tier 2 compiled.
    regions,
    /// Blocks in them.
    region_blocks,
    /// Time that took the worker, in nanoseconds.
    region_ns,
    /// Time that the vCPUs took to plan them, in nanoseconds.
    plan_ns,
    /// Instructions retired in regions.
    region_instructions,
    /// Times that a region was left for tier 1 to do an instruction: a page to be mapped, a rare operand, an exception.
    region_bail_outs,
    /// Places that were hot, but are no loop that tier 2 has a form for.
    regions_unfit,
    /// Regions taken out of use because tier 1 is as fast.
    regions_retired,
    /// Regions that were planned but not published: the code had changed, or there was no room.
    regions_refused,
}
