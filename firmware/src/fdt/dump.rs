//! The text form of a blob, for people and for golden tests.

use std::fmt::Write;

use emu_core::device::PropValue;

use super::{FdtError, Node, Tree, Value};

/// A blob as device tree source. A blob has no types, so they are guessed: text if a value is printable and
/// ends in NUL, else cells if its length is a multiple of four, else bytes. References are shown as numbers.
pub fn dump(blob: &[u8]) -> Result<String, FdtError> {
    let tree = Tree::parse(blob)?;
    let mut text = String::from("/dts-v1/;\n\n");
    for (address, size) in &tree.reservations {
        let _ = writeln!(text, "/memreserve/\t{address:#018x} {size:#018x};");
    }
    node(&mut text, &tree.root, 0);
    Ok(text)
}

fn node(text: &mut String, node_: &Node, depth: usize) {
    let indent = "\t".repeat(depth);
    let name = if depth == 0 { "/" } else { &node_.name };
    // Writing to a string does not fail.
    let _ = writeln!(text, "{indent}{name} {{");
    for (name, value) in &node_.props {
        let Value::Plain(PropValue::Bytes(bytes)) = value else { continue };
        let _ = match show(bytes) {
            Some(value) => writeln!(text, "{indent}\t{name} = {value};"),
            None => writeln!(text, "{indent}\t{name};"),
        };
    }
    for (i, child) in node_.children.iter().enumerate() {
        if i > 0 || !node_.props.is_empty() {
            text.push('\n');
        }
        node(text, child, depth + 1);
    }
    let _ = writeln!(text, "{indent}}};");
}

fn show(bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() {
        return None;
    }
    if let Some(strings) = strings(bytes) {
        let quoted = strings.iter().map(|s| format!("\"{}\"", s.replace('\\', "\\\\").replace('"', "\\\"")));
        return Some(quoted.collect::<Vec<_>>().join(", "));
    }
    let (words, rest) = bytes.as_chunks::<4>();
    if rest.is_empty() {
        let cells = words.iter().map(|&word| format!("{:#04x}", u32::from_be_bytes(word)));
        return Some(format!("<{}>", cells.collect::<Vec<_>>().join(" ")));
    }
    let hex = bytes.iter().map(|byte| format!("{byte:02x}"));
    Some(format!("[{}]", hex.collect::<Vec<_>>().join(" ")))
}

/// The strings that `bytes` consist of, none of them empty.
fn strings(bytes: &[u8]) -> Option<Vec<&str>> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\0')?;
    let printable = |s: &str| !s.is_empty() && s.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    let strings: Vec<_> = text.split('\0').collect();
    strings.iter().all(|s| printable(s)).then_some(strings)
}
