//! From a tree to a blob.

use std::collections::{HashMap, HashSet};

use emu_core::device::PropValue;

use super::{Cell, FdtError, MAX_BLOB, MAX_DEPTH, MAX_NAME, Node, Tree, Value};

pub(super) const MAGIC: u32 = 0xd00d_feed;
pub(super) const VERSION: u32 = 17;
pub(super) const COMPATIBLE_VERSION: u32 = 16;
pub(super) const HEADER: usize = 40;

pub(super) const BEGIN_NODE: u32 = 1;
pub(super) const END_NODE: u32 = 2;
pub(super) const PROP: u32 = 3;
pub(super) const NOP: u32 = 4;
pub(super) const END: u32 = 9;

impl Tree {
    /// The flattened tree, packed: version 17, no free space. Nodes that are referred to get a `phandle` as
    /// their last property, numbered from 1 in tree order, or after the largest that the tree has already.
    pub fn to_blob(&self) -> Result<Vec<u8>, FdtError> {
        let mut writer = Writer { phandles: phandles(&self.root)?, ..Writer::default() };
        writer.node(&self.root, 1)?;
        writer.word(END);

        let reservations = 16 * (self.reservations.len() + 1);
        let total = HEADER + reservations + writer.structure.len() + writer.strings.len();
        if total > MAX_BLOB {
            return Err(FdtError::TooLarge);
        }
        // All below MAX_BLOB, so the conversions keep every bit.
        let (structure, strings) = (HEADER + reservations, HEADER + reservations + writer.structure.len());
        let header = [
            MAGIC,
            total as u32,
            structure as u32,
            strings as u32,
            HEADER as u32,
            VERSION,
            COMPATIBLE_VERSION,
            self.boot_cpu,
            writer.strings.len() as u32,
            writer.structure.len() as u32,
        ];
        let mut blob = Vec::with_capacity(total);
        blob.extend(header.iter().flat_map(|word| word.to_be_bytes()));
        for (address, size) in self.reservations.iter().chain([&(0, 0)]) {
            blob.extend(address.to_be_bytes());
            blob.extend(size.to_be_bytes());
        }
        blob.append(&mut writer.structure);
        blob.append(&mut writer.strings);
        Ok(blob)
    }
}

/// The phandle of each label that is referred to.
fn phandles(root: &Node) -> Result<HashMap<String, u32>, FdtError> {
    let mut scan = Scan::default();
    scan.node(root, 1)?;
    let mut next = scan.largest;
    let mut phandles = HashMap::new();
    for label in &scan.labels {
        if scan.referenced.contains(label) {
            next = next.checked_add(1).ok_or(FdtError::TooLarge)?;
            phandles.insert((*label).to_owned(), next);
        }
    }
    Ok(phandles)
}

#[derive(Default)]
struct Scan<'a> {
    /// In tree order.
    labels: Vec<&'a str>,
    seen: HashSet<&'a str>,
    referenced: HashSet<&'a str>,
    /// The largest phandle that is written out as a property.
    largest: u32,
}

impl<'a> Scan<'a> {
    fn node(&mut self, node: &'a Node, depth: usize) -> Result<(), FdtError> {
        if depth > MAX_DEPTH {
            return Err(FdtError::TooDeep);
        }
        if let Some(label) = node.label.as_deref() {
            if !self.seen.insert(label) {
                return Err(FdtError::DuplicateLabel(label.to_owned()));
            }
            self.labels.push(label);
        }
        for (name, value) in &node.props {
            match value {
                Value::Plain(PropValue::Phandle(label)) => {
                    self.referenced.insert(label);
                }
                Value::Cells(cells) => self.referenced.extend(cells.iter().filter_map(|cell| match cell {
                    Cell::Phandle(label) => Some(label.as_str()),
                    Cell::Value(_) => None,
                })),
                Value::Plain(PropValue::Bytes(bytes)) if name == "phandle" || name == "linux,phandle" => {
                    let bytes = bytes.as_slice().try_into().unwrap_or_default();
                    // All ones is "no phandle".
                    self.largest =
                        self.largest.max(u32::from_be_bytes(bytes).wrapping_add(1).saturating_sub(1));
                }
                Value::Plain(_) => {}
            }
        }
        node.children.iter().try_for_each(|child| self.node(child, depth + 1))
    }
}

#[derive(Default)]
struct Writer {
    phandles: HashMap<String, u32>,
    structure: Vec<u8>,
    strings: Vec<u8>,
    string_offsets: HashMap<String, u32>,
}

impl Writer {
    fn word(&mut self, word: u32) {
        self.structure.extend(word.to_be_bytes());
    }

    fn pad(&mut self) {
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
    }

    /// The depth has been checked by [`phandles`].
    fn node(&mut self, node: &Node, depth: usize) -> Result<(), FdtError> {
        let Node { name, label, props, children } = node;
        if depth > 1 {
            check_name(name)?;
        } else if !name.is_empty() {
            return Err(FdtError::InvalidString(name.clone()));
        }
        self.word(BEGIN_NODE);
        self.structure.extend(name.as_bytes());
        self.structure.push(0);
        self.pad();
        for (name, value) in props {
            let value = self.value(name, value)?;
            self.property(name, &value)?;
        }
        if let Some(&phandle) = label.as_ref().and_then(|label| self.phandles.get(label)) {
            self.property("phandle", &phandle.to_be_bytes())?;
        }
        for child in children {
            self.node(child, depth + 1)?;
        }
        self.word(END_NODE);
        Ok(())
    }

    fn property(&mut self, name: &str, value: &[u8]) -> Result<(), FdtError> {
        check_name(name)?;
        if self.structure.len() + self.strings.len() + value.len() > MAX_BLOB {
            return Err(FdtError::TooLarge);
        }
        let at = match self.string_offsets.get(name) {
            Some(&at) => at,
            None => {
                let at = self.strings.len() as u32; // at most MAX_BLOB
                self.strings.extend(name.as_bytes());
                self.strings.push(0);
                self.string_offsets.insert(name.to_owned(), at);
                at
            }
        };
        self.word(PROP);
        self.word(value.len() as u32); // at most MAX_BLOB
        self.word(at);
        self.structure.extend(value);
        self.pad();
        Ok(())
    }

    fn value(&self, property: &str, value: &Value) -> Result<Vec<u8>, FdtError> {
        Ok(match value {
            Value::Plain(PropValue::Empty) => Vec::new(),
            Value::Plain(PropValue::Cells(cells)) => cells.iter().flat_map(|c| c.to_be_bytes()).collect(),
            Value::Plain(PropValue::U64(value)) => value.to_be_bytes().to_vec(),
            Value::Plain(PropValue::Str(s)) => strings(std::slice::from_ref(s))?,
            Value::Plain(PropValue::Strs(list)) => strings(list)?,
            Value::Plain(PropValue::Bytes(bytes)) => bytes.clone(),
            Value::Plain(PropValue::Phandle(label)) => self.phandle(property, label)?.to_be_bytes().to_vec(),
            Value::Cells(cells) => {
                let mut bytes = Vec::with_capacity(4 * cells.len());
                for cell in cells {
                    let word = match cell {
                        Cell::Value(value) => *value,
                        Cell::Phandle(label) => self.phandle(property, label)?,
                    };
                    bytes.extend(word.to_be_bytes());
                }
                bytes
            }
        })
    }

    fn phandle(&self, property: &str, label: &str) -> Result<u32, FdtError> {
        let unknown = || FdtError::UnknownLabel { property: property.into(), label: label.into() };
        self.phandles.get(label).copied().ok_or_else(unknown)
    }
}

fn check_name(name: &str) -> Result<(), FdtError> {
    if name.is_empty() || name.len() > MAX_NAME || name.contains(['\0', '/']) {
        return Err(FdtError::InvalidString(name.to_owned()));
    }
    Ok(())
}

fn strings(list: &[String]) -> Result<Vec<u8>, FdtError> {
    let mut bytes = Vec::new();
    for string in list {
        if string.contains('\0') {
            return Err(FdtError::InvalidString(string.clone()));
        }
        bytes.extend(string.as_bytes());
        bytes.push(0);
    }
    Ok(bytes)
}
