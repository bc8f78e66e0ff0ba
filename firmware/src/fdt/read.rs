//! From a blob to a tree. The blob is a user's file: nothing in it is believed before it is checked.

use emu_core::device::PropValue;

use super::write::{BEGIN_NODE, COMPATIBLE_VERSION, END, END_NODE, HEADER, MAGIC, NOP, PROP, VERSION};
use super::{FdtError, MAX_BLOB, MAX_DEPTH, MAX_NAME, Node, Tree};

/// How many bytes of `blob` belong to the tree.
pub(super) fn total_size(blob: &[u8]) -> Result<usize, FdtError> {
    if word(blob, 0) != Some(MAGIC) {
        return Err(FdtError::Header("the magic number is missing"));
    }
    let total = offset(blob, 4).ok_or(FdtError::Header("truncated header"))?;
    if total > MAX_BLOB {
        return Err(FdtError::TooLarge);
    }
    if total < HEADER || total > blob.len() {
        return Err(FdtError::Header("the file is shorter than its header says"));
    }
    Ok(total)
}

impl Tree {
    /// Reads a blob of version 16 or later. All property values are [`PropValue::Bytes`]; bytes after the
    /// size that the header gives are ignored.
    pub fn parse(blob: &[u8]) -> Result<Self, FdtError> {
        let total = total_size(blob)?;
        let blob = blob.get(..total).unwrap_or_default();
        let field = |at| offset(blob, at).ok_or(FdtError::Header("truncated header"));
        let (version, compatible) = (field(20)?, field(24)?);
        if version < COMPATIBLE_VERSION as usize || compatible > VERSION as usize {
            return Err(FdtError::Header("a version other than 16 or 17"));
        }
        let outside = FdtError::Header("a block lies outside the file");
        let strings_at = field(12)?;
        let strings_end = strings_at.checked_add(field(32)?).filter(|&end| end <= total);
        let strings = strings_end.and_then(|end| blob.get(strings_at..end)).ok_or(outside)?;
        let mut reader = Reader { blob, at: field(8)?, end: total, strings };
        if version >= 17 {
            let end = reader.at.checked_add(field(36)?).filter(|&end| end <= total);
            reader.end = end.ok_or(FdtError::Header("a block lies outside the file"))?;
        }
        Ok(Self {
            root: reader.tree()?,
            reservations: reservations(blob, field(16)?)?,
            boot_cpu: field(28)? as u32,
        })
    }
}

fn reservations(blob: &[u8], mut at: usize) -> Result<Vec<(u64, u64)>, FdtError> {
    let mut list = Vec::new();
    loop {
        let (Some(address), Some(size)) = (double(blob, at), double(blob, at.saturating_add(8))) else {
            return Err(FdtError::Corrupt { at, what: "the memory reservations have no end" });
        };
        if (address, size) == (0, 0) {
            return Ok(list);
        }
        list.push((address, size));
        at += 16;
    }
}

struct Reader<'a> {
    blob: &'a [u8],
    /// The next token of the structure block.
    at: usize,
    /// Where the structure block ends.
    end: usize,
    strings: &'a [u8],
}

impl<'a> Reader<'a> {
    fn tree(&mut self) -> Result<Node, FdtError> {
        // The nodes that are open, outermost first.
        let mut open: Vec<Node> = Vec::new();
        let mut root = None;
        loop {
            let at = self.at;
            let corrupt = |what| Err(FdtError::Corrupt { at, what });
            match self.word()? {
                NOP => {}
                BEGIN_NODE => {
                    if open.len() == MAX_DEPTH {
                        return Err(FdtError::TooDeep);
                    }
                    let name = self.string_at(self.blob, self.at, self.end)?;
                    if root.is_some() || open.is_empty() != name.is_empty() {
                        return corrupt("the root is not the one node without a name");
                    }
                    self.advance(name.len() + 1)?;
                    open.push(Node::new(name));
                }
                END_NODE => match (open.pop(), open.last_mut()) {
                    (Some(node), Some(parent)) => parent.push(node),
                    (Some(node), None) => root = Some(node),
                    (None, _) => return corrupt("a node ends that has not begun"),
                },
                PROP => {
                    let (len, name) = (self.word()? as usize, self.word()? as usize);
                    let value = self.at.checked_add(len).and_then(|end| self.blob.get(self.at..end));
                    let Some(value) = value.filter(|_| self.at + len <= self.end) else {
                        return corrupt("a property's value lies outside the structure block");
                    };
                    self.advance(len)?;
                    let name = self.string_at(self.strings, name, self.strings.len())?;
                    let Some(node) = open.last_mut().filter(|_| !name.is_empty()) else {
                        return corrupt("a property without a name or a node");
                    };
                    // Appended unseen: looking for an earlier one of the same name would make reading
                    // quadratic.
                    node.props.push((name.to_owned(), PropValue::Bytes(value.to_vec()).into()));
                }
                END => match root {
                    Some(root) if open.is_empty() => return Ok(root),
                    _ => return corrupt("the tree ends inside a node"),
                },
                _ => return corrupt("an unknown token"),
            }
        }
    }

    fn word(&mut self) -> Result<u32, FdtError> {
        let word = word(self.blob, self.at).filter(|_| self.end - self.at >= 4);
        let word = word.ok_or(FdtError::Corrupt { at: self.at, what: "the structure block has no end" })?;
        self.at += 4;
        Ok(word)
    }

    /// Skips `len` bytes, which have been seen to be inside the structure block, and the padding after them.
    fn advance(&mut self, len: usize) -> Result<(), FdtError> {
        let next = (self.at + len).next_multiple_of(4);
        if next > self.end {
            return Err(FdtError::Corrupt { at: self.at, what: "the structure block has no end" });
        }
        self.at = next;
        Ok(())
    }

    fn string_at(&self, block: &'a [u8], at: usize, end: usize) -> Result<&'a str, FdtError> {
        let corrupt = |what| FdtError::Corrupt { at: self.at, what };
        let bytes = block.get(at..end).ok_or(corrupt("a name lies outside its block"))?;
        let len = bytes.iter().take(MAX_NAME + 1).position(|&byte| byte == 0);
        let len = len.ok_or(corrupt("a name does not end or is too long"))?;
        let name = std::str::from_utf8(bytes.get(..len).unwrap_or_default()).ok();
        name.filter(|name| !name.contains('/')).ok_or(corrupt("a name is not valid"))
    }
}

fn word(blob: &[u8], at: usize) -> Option<u32> {
    let bytes = blob.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

fn double(blob: &[u8], at: usize) -> Option<u64> {
    let bytes = blob.get(at..at.checked_add(8)?)?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

fn offset(blob: &[u8], at: usize) -> Option<usize> {
    usize::try_from(word(blob, at)?).ok()
}
