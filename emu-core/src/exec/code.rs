//! The guest's code as lifters read it.

use super::exit::Exception;
use super::isa::FetchCode;
use crate::mem::{PAGE_SIZE, Ram};

/// Units of 16 bits in a page.
const HALVES: usize = PAGE_SIZE as usize / 2;

/// What a lifter has read of its page. Lifters are functions of what they read, of the block's key and offset, and of how the
/// instruction set is configured: where all that is found again, so is the block.
pub struct CodeRead {
    halves: Box<[u16; HALVES]>,
    /// Which of them have been read, a bit each.
    read: [u64; HALVES / 64],
    /// Not all that has been read is there: it was beyond the page, or has changed in between.
    incomplete: bool,
}

impl Default for CodeRead {
    fn default() -> Self {
        Self { halves: Box::new([0; HALVES]), read: [0; HALVES / 64], incomplete: false }
    }
}

impl CodeRead {
    pub(super) fn clear(&mut self) {
        self.read.fill(0);
        self.incomplete = false;
    }

    fn note(&mut self, half: usize, value: u16) {
        let (word, bit) = (&mut self.read[half / 64], 1 << (half % 64));
        // Another vCPU, or a device, may write it while it is read.
        self.incomplete |= *word & bit != 0 && self.halves[half] != value;
        *word |= bit;
        self.halves[half] = value;
    }

    fn is_read(&self, half: usize) -> bool {
        self.read.get(half / 64).is_some_and(|word| word >> (half % 64) & 1 != 0)
    }

    /// What was read at `offset` bytes from the start of the page.
    pub fn half(&self, offset: usize) -> Option<u16> {
        self.is_read(offset / 2).then(|| self.halves[offset / 2])
    }

    /// All that was read: offsets in bytes from the start of the page, and what lies from there on in one piece. None if that
    /// is not all.
    pub fn runs(&self) -> Option<Vec<(usize, &[u16])>> {
        if self.incomplete {
            return None;
        }
        let mut runs = Vec::new();
        let mut at = 0;
        while at < HALVES {
            let left = self.read[at / 64] >> (at % 64);
            if left == 0 {
                at = (at / 64 + 1) * 64;
                continue;
            }
            at += left.trailing_zeros() as usize;
            let start = at;
            while self.is_read(at) {
                at += 1;
            }
            runs.push((2 * start, &self.halves[start..at]));
        }
        Some(runs)
    }
}

/// Reads the code of a page for the lifter; see [`FetchCode`].
pub struct CodeReader<'a> {
    pub(super) ram: &'a Ram,
    pub(super) page: usize,
    pub(super) next: Option<usize>,
    pub(super) wants_next: bool,
    pub(super) read: &'a mut CodeRead,
}

impl FetchCode for CodeReader<'_> {
    fn half(&mut self, offset: u32) -> Result<u16, Exception> {
        let offset = offset as usize;
        let page = PAGE_SIZE as usize;
        if offset < page {
            let value = self.ram.load(self.page + offset);
            self.read.note(offset / 2, value);
            return Ok(value);
        }
        self.read.incomplete = true;
        match self.next {
            Some(next) => Ok(self.ram.load(next + offset % page)),
            None => {
                // The run loop translates the next page and tries again, or raises its fault.
                self.wants_next = true;
                Err(Exception::new(0, 0))
            }
        }
    }
}

/// The code in a page that is protected: who writes it from now on is noticed.
pub struct CodePage<'a> {
    pub(super) ram: &'a Ram,
    pub(super) page: usize,
}

impl CodePage<'_> {
    /// The 16 bits at `offset` bytes (even); none beyond the page.
    pub fn half(&self, offset: usize) -> Option<u16> {
        (offset < PAGE_SIZE as usize).then(|| self.ram.load(self.page + offset))
    }

    /// Whether these bytes, an even number, are what lies at `offset` (even).
    pub fn is(&self, offset: usize, bytes: &[u8]) -> bool {
        let inside = offset.checked_add(bytes.len()).is_some_and(|end| end <= PAGE_SIZE as usize);
        let (words, rest) = bytes.as_chunks();
        let (halves, odd) = rest.as_chunks();
        let is_word = |(n, word): (usize, &[u8; 8])| {
            self.ram.load::<u64>(self.page + offset + 8 * n) == u64::from_le_bytes(*word)
        };
        let behind = offset + 8 * words.len();
        let is_half =
            |(n, half): (usize, &[u8; 2])| self.half(behind + 2 * n) == Some(u16::from_le_bytes(*half));
        inside
            && odd.is_empty()
            && words.iter().enumerate().all(is_word)
            && halves.iter().enumerate().all(is_half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_told_in_runs() {
        let mut read = CodeRead::default();
        for (half, value) in [(3, 30), (4, 40), (64, 1), (63, 2), (3, 30), (HALVES - 1, 5)] {
            read.note(half, value);
        }
        let runs: Vec<(usize, &[u16])> = vec![(6, &[30, 40]), (126, &[2, 1]), (PAGE_SIZE as usize - 2, &[5])];
        assert_eq!(read.runs(), Some(runs));
        assert_eq!([6, 8, 10].map(|at| read.half(at)), [Some(30), Some(40), None]);
        read.note(4, 41);
        assert_eq!(read.runs(), None);
        read.clear();
        assert_eq!(read.runs(), Some(vec![]));
    }
}
