//! What instructions are lifted to; the form of the files is described in [`crate::common::golden`]. Where a block starts has
//! BTYPE in its low bits.
//!
//! ```text
//! ctx 0 fp align             exception level; FP on; accesses checked for alignment (`align`), or the stack pointer (`sp`);
//!                            pointer authentication enabled (`pauth`); memory copies enabled (`mops`); the page guarded (`guarded`); FPCR: rounding `up`, `down`
//!                            or to `zero`, `fz`, `fz16`, `dn`, `ahp`
//! ```

use frontends::aarch64::disas::disassemble;
use frontends::aarch64::lift::lift;
use frontends::aarch64::{Context, SLOTS};

use crate::common::golden::Golden;
use crate::support::ALL;

fn context(line: &str) -> Context {
    let mut context = Context::default();
    for word in line.split_whitespace().skip(1) {
        match word {
            "fp" => context.fp_on = true,
            "align" => context.align = true,
            "sp" => context.sp_align = true,
            "pauth" => context.pauth = 15,
            "mops" => context.mops = true,
            "guarded" => context.guarded = true,
            "up" => context.fpcr.round = 1,
            "down" => context.fpcr.round = 2,
            "zero" => context.fpcr.round = 3,
            "fz" => context.fpcr.flush = true,
            "fz16" => context.fpcr.flush16 = true,
            "dn" => context.fpcr.default_nan = true,
            "ahp" => context.fpcr.alternative_half = true,
            el => context.el = el.parse().unwrap_or_else(|_| panic!("`{word}` is no context")),
        }
    }
    context
}

#[test]
fn lifted_blocks_are_as_written() {
    let golden = Golden {
        folder: "aarch64/golden",
        files: 4,
        usual: "ctx 0 fp",
        context: |line| context(line).bits(),
        address: !3,
        length: |_| 4,
        disassemble: |word, pc| disassemble(word, pc, ALL).to_string(),
        lift: |builder, key, start, code, limit| lift(ALL, builder, key, start, code, limit),
        slots: SLOTS,
    };
    golden.check();
}
