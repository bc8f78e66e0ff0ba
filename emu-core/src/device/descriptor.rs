//! What a device tells about itself, so that a board can describe it to the guest (device tree, later ACPI).

/// The value of one property of a device-tree node (Devicetree Specification v0.4, §2.2.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PropValue {
    /// Present, without a value.
    Empty,
    /// 32-bit cells.
    Cells(Vec<u32>),
    /// One 64-bit value in two cells.
    U64(u64),
    /// One string.
    Str(String),
    /// A list of strings.
    Strs(Vec<String>),
    /// Raw bytes.
    Bytes(Vec<u8>),
    /// The phandle of the named device of the board.
    Phandle(String),
}

/// A device's own part of its device-tree node. The board adds what only the board knows: the unit address,
/// `reg`, `interrupts` and `interrupt-parent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeDesc {
    /// The generic node name, without the unit address: `serial`, `rtc`, `virtio_mmio`.
    pub name: &'static str,
    /// The `compatible` list, most specific first.
    pub compatible: &'static [&'static str],
    /// Further properties, in the order in which they are written.
    pub props: Vec<(&'static str, PropValue)>,
}

impl NodeDesc {
    /// A node with no properties but its `compatible` list.
    pub fn new(name: &'static str, compatible: &'static [&'static str]) -> Self {
        Self { name, compatible, props: Vec::new() }
    }

    /// Adds a property.
    pub fn prop(mut self, name: &'static str, value: PropValue) -> Self {
        self.props.push((name, value));
        self
    }
}
