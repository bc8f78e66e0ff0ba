//! Decides in which order bits are looked at.

use crate::parse::Line;

/// A step of decoding.
#[derive(Debug)]
pub(crate) enum Node {
    /// Looks at the bits of `mask`; each value that occurs leads on.
    Switch { mask: u32, arms: Vec<(u32, Node)> },
    /// The first of these lines that matches.
    Try(Vec<usize>),
}

/// The tree that tells `lines` apart: at each step it looks at all bits that every line left has fixed.
pub(crate) fn build(lines: &[Line]) -> Node {
    split(lines, (0..lines.len()).collect(), 0)
}

fn split(lines: &[Line], candidates: Vec<usize>, seen: u32) -> Node {
    let common = candidates.iter().fold(!seen, |mask, &line| mask & lines[line].mask);
    if common == 0 || candidates.len() == 1 {
        return Node::Try(candidates);
    }
    let mut arms: Vec<(u32, Vec<usize>)> = Vec::new();
    for line in candidates {
        let value = lines[line].value & common;
        match arms.iter_mut().find(|(found, _)| *found == value) {
            Some((_, members)) => members.push(line),
            None => arms.push((value, vec![line])),
        }
    }
    arms.sort_by_key(|(value, _)| *value);
    let arms = arms.into_iter().map(|(value, members)| (value, split(lines, members, seen | common)));
    Node::Switch { mask: common, arms: arms.collect() }
}
