//! Regions for people to read: guest code, both intermediate forms, host code.

use std::fmt::Write;

use emu_core::exec::Isa;
use emu_core::mem::Ram;

use super::plan::Plan;

/// What a person has asked to see.
#[derive(Clone, Copy, Debug)]
pub struct Dump {
    /// The regions that have the instruction at this virtual address.
    pub pc: u64,
    /// Takes the text.
    pub write: fn(&str),
}

/// The guest's part: each block, with its code as it was read, and what it was lifted to.
pub(super) fn guest<I: Isa>(plan: &Plan, ram: &Ram) -> String {
    let mut text = String::new();
    for (number, node) in plan.nodes.iter().enumerate() {
        let page = &plan.pages[node.page];
        let entry = if plan.entries.contains(&number) { ", an entry" } else { "" };
        let _ = writeln!(text, "node {number}{entry}, goes to {:?}", node.edges);
        for mark in &node.block.marks {
            let pc = plan.base.wrapping_add_signed(page.delta).wrapping_add_signed(mark.offset.into());
            let place = page.ram.wrapping_add_signed(mark.offset as isize);
            let code: Vec<String> = (0..usize::from(mark.len))
                .rev()
                .map(|n| format!("{:02x}", ram.load::<u8>(place + n)))
                .collect();
            let _ = writeln!(text, "  {pc:#x}: {}", code.concat());
        }
        let _ = writeln!(text, "{}", node.block.display(I::SLOTS));
    }
    text
}
