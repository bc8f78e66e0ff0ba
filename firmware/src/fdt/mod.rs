//! Device trees: a small tree model, its flattened form (the *blob*), and its text form.
//!
//! Boards build a [`Tree`] and call [`Tree::to_blob`]; a user's file goes through [`Tree::parse`], which
//! treats every byte as hostile. References between nodes are by label and become phandles when the blob is
//! written. Devicetree Specification v0.4, chapters 2 (tree) and 5 (blob).

mod dump;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::ops::Range;

use emu_core::device::{NodeDesc, PropValue};
use thiserror::Error;

pub use dump::dump;

/// The deepest nesting of nodes that is read or written; Linux has the same limit.
pub const MAX_DEPTH: usize = 64;
/// The largest blob that is read or written, in bytes. Real ones are below 1 MiB; Linux takes at most 2 MiB.
pub const MAX_BLOB: usize = 4 << 20;
/// The longest node or property name, in bytes. The specification says 31; blobs with symbol tables exceed
/// that.
pub const MAX_NAME: usize = 255;

/// Why a device tree could not be read or written.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FdtError {
    /// The bytes do not begin with a device tree header that this version understands.
    #[error("not a flattened device tree: {0}")]
    Header(&'static str),
    /// The structure block is broken.
    #[error("corrupt device tree at byte {at:#x}: {what}")]
    Corrupt {
        /// Offset from the beginning of the blob.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// A reference to a label that no node has.
    #[error("device tree property {property} refers to {label}, which no node is labelled")]
    UnknownLabel {
        /// The property with the reference.
        property: String,
        /// The missing label.
        label: String,
    },
    /// Two nodes with one label.
    #[error("two device tree nodes are labelled {0}")]
    DuplicateLabel(String),
    /// A name or a string value with a NUL byte in it, or a name that is empty or too long.
    #[error("{0:?} cannot be a device tree name or string")]
    InvalidString(String),
    /// Nodes nested deeper than [`MAX_DEPTH`].
    #[error("device tree nodes are nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A blob of more than [`MAX_BLOB`] bytes.
    #[error("the device tree is larger than {MAX_BLOB} bytes")]
    TooLarge,
}

/// One 32-bit cell of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// A number.
    Value(u32),
    /// The phandle of the node with this label.
    Phandle(String),
}

impl From<u32> for Cell {
    fn from(value: u32) -> Self {
        Self::Value(value)
    }
}

impl From<&str> for Cell {
    fn from(label: &str) -> Self {
        Self::Phandle(label.into())
    }
}

/// The value of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A value as devices describe it.
    Plain(PropValue),
    /// Cells of which some are references, as in `interrupts-extended`.
    Cells(Vec<Cell>),
}

impl From<PropValue> for Value {
    fn from(value: PropValue) -> Self {
        Self::Plain(value)
    }
}

impl From<Vec<Cell>> for Value {
    fn from(cells: Vec<Cell>) -> Self {
        Self::Cells(cells)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Plain(PropValue::Cells(vec![value]))
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Plain(PropValue::U64(value))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Plain(PropValue::Str(value.into()))
    }
}

/// A node: properties, then children, each in the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    name: String,
    label: Option<String>,
    props: Vec<(String, Value)>,
    children: Vec<Node>,
}

impl Node {
    /// An empty node. `name` includes the unit address (`serial@10000000`); the root's name is empty.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The node of a device at `address`, with the device's own properties; the caller adds `reg` and
    /// interrupts.
    pub fn of_device(desc: &NodeDesc, address: u64) -> Self {
        let compatible = desc.compatible.iter().map(|&s| s.to_owned()).collect();
        let node = Self::new(format!("{}@{address:x}", desc.name));
        let node = node.prop("compatible", PropValue::Strs(compatible));
        desc.props.iter().fold(node, |node, (name, value)| node.prop(*name, value.clone()))
    }

    /// Gives the node the label by which [`Cell::Phandle`] and [`PropValue::Phandle`] refer to it.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Sets a property; a new one goes to the end.
    pub fn prop(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.set(name, value);
        self
    }

    /// Adds a child at the end.
    pub fn child(mut self, child: Node) -> Self {
        self.children.push(child);
        self
    }

    /// As [`Node::prop`], in place.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        let name = name.into();
        let value = value.into();
        match self.props.iter_mut().find(|(n, _)| *n == name) {
            Some((_, old)) => *old = value,
            None => self.props.push((name, value)),
        }
    }

    /// As [`Node::child`], in place.
    pub fn push(&mut self, child: Node) {
        self.children.push(child);
    }

    /// The node's name with its unit address.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value of a property.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.props.iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    /// The children.
    pub fn children(&self) -> &[Node] {
        &self.children
    }

    /// The descendant at `path`, relative to this node: `soc/serial@10000000`.
    pub fn find(&self, path: &str) -> Option<&Node> {
        let mut names = path.split('/').filter(|name| !name.is_empty());
        names.try_fold(self, |node, name| node.children.iter().find(|child| child.name == name))
    }

    /// As [`Node::find`], for changing it.
    pub fn find_mut(&mut self, path: &str) -> Option<&mut Node> {
        let mut names = path.split('/').filter(|name| !name.is_empty());
        names.try_fold(self, |node, name| node.children.iter_mut().find(|child| child.name == name))
    }
}

/// A whole device tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// The root node.
    pub root: Node,
    /// Memory that the guest must not use: address and size in bytes.
    pub reservations: Vec<(u64, u64)>,
    /// The hart or CPU that boots (`boot_cpuid_phys`).
    pub boot_cpu: u32,
}

impl Tree {
    /// A tree without reservations that boots on CPU 0.
    pub fn new(root: Node) -> Self {
        Self { root, ..Self::default() }
    }
}

/// Makes a blob `size` bytes long, for software that adds to it; one that is longer stays as it is.
pub fn make_room(blob: &mut Vec<u8>, size: usize) {
    // The second word of the header is the blob's whole size.
    if let (true, Ok(total)) = (blob.len() < size && blob.len() >= 8, u32::try_from(size)) {
        blob.resize(size, 0);
        blob[4..8].copy_from_slice(&total.to_be_bytes());
    }
}

/// What the loader tells the kernel through `/chosen`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// The kernel command line.
    pub bootargs: Option<String>,
    /// Where the initrd lies in guest-physical memory.
    pub initrd: Option<Range<u64>>,
}

impl Chosen {
    /// Writes what is given into `/chosen`, which is created if the tree has none, and leaves the rest of it
    /// alone.
    pub fn apply(&self, tree: &mut Tree) {
        if *self == Self::default() {
            return;
        }
        // Linux takes `/chosen@0` as well.
        let name = if tree.root.find("chosen@0").is_some() { "chosen@0" } else { "chosen" };
        if tree.root.find(name).is_none() {
            tree.root.push(Node::new(name));
        }
        let Some(chosen) = tree.root.find_mut(name) else { return };
        if let Some(bootargs) = &self.bootargs {
            chosen.set("bootargs", bootargs.as_str());
        }
        if let Some(initrd) = &self.initrd {
            chosen.set("linux,initrd-start", initrd.start);
            chosen.set("linux,initrd-end", initrd.end);
        }
    }

    /// A user's blob with this written into it. With nothing to write, it is checked and used as it is.
    pub fn patch(&self, blob: &[u8]) -> Result<Vec<u8>, FdtError> {
        let mut tree = Tree::parse(blob)?;
        if *self == Self::default() {
            return Ok(blob.get(..read::total_size(blob)?).unwrap_or(blob).to_vec());
        }
        self.apply(&mut tree);
        tree.to_blob()
    }
}
