//! The form in which a block's code is kept: as if it were made for the start of the code memory, under number zero.
//!
//! | bytes | |
//! |---|---|
//! | 4 | the record's size, a multiple of 4; plus 1 if it is the first of its group |
//! | 4 | the context bits |
//! | 2 | offset of the block in its page |
//! | 2 | how many guest instructions it has |
//! | 2 | runs of guest code: how many |
//! | 2 | bytes of code in them |
//! | 2 | bytes of host code |
//! | 2 | displacements in it to outside |
//! | 2 | exits |
//! | 2 | accesses that may fault |
//! | 4 each | runs: offset in the page, bytes |
//! | | guest code |
//! | 2 each | offsets of the displacements |
//! | 6 each | exits: offset of the displacement, where it goes while it is not linked, target (15 bits) and version (1 bit) |
//! | 4 each | accesses: offset, and where to go on |
//! | | host code |
//! | | zeros |
//!
//! All numbers are little-endian.

use emu_core::exec::CodePage;
use emu_core::mem::PAGE_SIZE;

use super::{Damaged, Place};
use crate::shared::LOOKUP;
use crate::template::flow::{COLD_LINK, LINK_ID};
use crate::template::{Code, Exit};

/// Bytes before the runs.
const HEADER: usize = 24;
/// In an exit's target: it goes to the plain version.
const PLAIN: u16 = 1 << 15;

/// In a record's size: it is the first of its group.
const FIRST: u32 = 1;

/// A record that is known to have the right form.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    bytes: &'a [u8],
    is_first: bool,
    place: Place,
    instructions: u16,
    runs: &'a [[u8; 4]],
    guest: &'a [u8],
    outs: &'a [[u8; 2]],
    exits: &'a [[u8; 6]],
    faults: &'a [[u8; 4]],
    host: &'a [u8],
}

/// A record to be written.
pub(super) struct Draft<'a> {
    pub place: Place,
    pub runs: &'a [(usize, &'a [u16])],
    pub instructions: usize,
    pub code: &'a Code,
    /// Where in the code memory it was made for.
    pub start: usize,
}

/// Takes the first of `bytes`.
fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

/// Takes `count` groups of `N` bytes.
fn take_groups<'a, const N: usize>(bytes: &mut &'a [u8], count: u16) -> Option<&'a [[u8; N]]> {
    Some(take(bytes, N * usize::from(count))?.as_chunks().0)
}

fn pair([a, b, c, d]: [u8; 4]) -> [u16; 2] {
    [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])]
}

impl<'a> Record<'a> {
    /// The record at the start of `bytes`.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Damaged> {
        Self::parts(bytes).ok_or(Damaged)
    }

    fn parts(bytes: &'a [u8]) -> Option<Self> {
        let size = u32::from_le_bytes(*bytes.first_chunk()?);
        let is_first = size & FIRST != 0;
        let size = (size & !FIRST) as usize;
        let bytes = bytes.get(..size).filter(|_| size.is_multiple_of(4))?;
        let mut rest = bytes.get(4..)?;
        let ctx = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?);
        let numbers: &[[u8; 2]; 8] = take(&mut rest, HEADER - 8)?.as_chunks().0.try_into().ok()?;
        let [offset, instructions, runs, guest, host, outs, exits, faults] = numbers.map(u16::from_le_bytes);
        Some(Self {
            bytes,
            is_first,
            place: Place { ctx, offset },
            instructions,
            runs: take_groups(&mut rest, runs)?,
            guest: take(&mut rest, guest.into())?,
            outs: take_groups(&mut rest, outs)?,
            exits: take_groups(&mut rest, exits)?,
            faults: take_groups(&mut rest, faults)?,
            host: take(&mut rest, host.into())?,
        })
    }

    /// Sees to it that nothing in it is out of range.
    pub(super) fn check(&self) -> Result<(), Damaged> {
        let page = PAGE_SIZE as usize;
        let len = self.host.len();
        let is_inside = |at: usize, bytes: usize| at + bytes <= len;
        let mut guest = 0;
        let runs = self.runs.iter().map(|&run| pair(run).map(usize::from)).all(|[at, bytes]| {
            guest += bytes;
            at % 2 == 0 && bytes % 2 == 0 && bytes > 0 && at + bytes <= page
        });
        let outs = self.outs.iter().all(|&at| is_inside(u16::from_le_bytes(at).into(), 4));
        let exits = self.exits().all(|exit| {
            let (site, cold) = (exit.site as usize, exit.cold as usize);
            site % 4 == 0
                && is_inside(site, 4)
                && cold >= LOOKUP
                && is_inside(cold, COLD_LINK as usize)
                && (0..page as i32).contains(&exit.target)
        });
        let faults = self.faults().all(|(at, slow)| is_inside(at as usize, 1) && is_inside(slow as usize, 1));
        let place = usize::from(self.place.offset) < page;
        let all =
            runs && guest == self.guest.len() && guest > 0 && outs && exits && faults && place && len > 0;
        if all { Ok(()) } else { Err(Damaged) }
    }

    /// Whether a group begins with it.
    pub(super) fn is_first(&self) -> bool {
        self.is_first
    }

    /// Appends it, as the first of a group or another one.
    pub(super) fn append(&self, to: &mut Vec<u8>, is_first: bool) {
        let size = self.bytes.len() as u32 | if is_first { FIRST } else { 0 };
        to.extend(size.to_le_bytes());
        to.extend_from_slice(&self.bytes[size_of::<u32>()..]);
    }

    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// How many guest instructions it stands for.
    pub(crate) fn instructions(&self) -> u64 {
        self.instructions.into()
    }

    /// Bytes of its code.
    pub(crate) fn len(&self) -> usize {
        self.host.len()
    }

    /// Which block it is of those of its page.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// The number for the store's table.
    pub(super) fn hash(&self) -> u32 {
        let at = usize::from(self.place.offset);
        let (first, len) = super::first(at, |at| self.half(at));
        self.place.hash(&first[..len])
    }

    fn half(&self, at: usize) -> Option<u16> {
        self.pieces().find_map(|(start, bytes)| {
            let from = at.checked_sub(start)?;
            Some(u16::from_le_bytes(*bytes.get(from..)?.first_chunk()?))
        })
    }

    /// The guest code, by its offset in the page.
    fn pieces(&self) -> impl Iterator<Item = (usize, &'a [u8])> {
        let mut guest = self.guest;
        self.runs.iter().map(move |&run| {
            let [at, bytes] = pair(run).map(usize::from);
            (at, take(&mut guest, bytes).unwrap_or_default())
        })
    }

    /// Whether it is made of the code at that place of `page`.
    pub(crate) fn is_of(&self, place: Place, page: &CodePage<'_>) -> bool {
        self.place == place && self.pieces().all(|(at, bytes)| page.is(at, bytes))
    }

    /// Whether both are made of the same.
    pub(super) fn is_like(&self, other: &Record<'_>) -> bool {
        (self.place, self.runs, self.guest) == (other.place, other.runs, other.guest)
    }

    fn exits(&self) -> impl Iterator<Item = Exit> {
        self.exits.iter().map(|&[a, b, c, d, e, f]| {
            let [site, cold] = pair([a, b, c, d]);
            let target = u16::from_le_bytes([e, f]);
            let plain = target & PLAIN != 0;
            Exit { site: site.into(), cold: cold.into(), target: (target & !PLAIN).into(), plain }
        })
    }

    fn faults(&self) -> impl Iterator<Item = (u32, u32)> {
        self.faults.iter().map(|&fault| pair(fault).map(u32::from).into())
    }

    fn outs(&self) -> impl Iterator<Item = u32> {
        self.outs.iter().map(|&at| u16::from_le_bytes(at).into())
    }

    /// Its code, for the place `start` in the code memory; exits name it as `id`. It is kept already: what it takes to do that is
    /// left out.
    pub(crate) fn code(&self, start: usize, id: u32) -> Code {
        let mut bytes = self.host.to_vec();
        let exits: Vec<Exit> = self.exits().collect();
        shift(&mut bytes, self.outs(), start.wrapping_neg() as u32);
        set_id(&mut bytes, &exits, id);
        Code { bytes, exits, outs: Vec::new(), faults: self.faults().collect() }
    }

    /// The same with all that there is.
    #[cfg(debug_assertions)]
    pub(super) fn whole_code(&self, start: usize, id: u32) -> Code {
        Code { outs: self.outs().collect(), ..self.code(start, id) }
    }
}

/// Adds to the displacements at `outs`: the code has been moved the other way.
fn shift(bytes: &mut [u8], outs: impl Iterator<Item = u32>, by: u32) {
    for at in outs {
        if let Some(place) = bytes.get_mut(at as usize..).and_then(<[u8]>::first_chunk_mut) {
            *place = u32::from_le_bytes(*place).wrapping_add(by).to_le_bytes();
        }
    }
}

/// Lets the exits name their code as `id`.
fn set_id(bytes: &mut [u8], exits: &[Exit], id: u32) {
    for exit in exits {
        if let Some(place) = bytes.get_mut((exit.cold + LINK_ID) as usize..).and_then(<[u8]>::first_chunk_mut)
        {
            *place = id.to_le_bytes();
        }
    }
}

impl Draft<'_> {
    /// Appends the record; none if a number is too large for its form.
    pub(super) fn write(&self, to: &mut Vec<u8>) -> Option<()> {
        let Code { bytes, exits, outs, faults } = self.code;
        let narrow = |number: usize| u16::try_from(number).ok();
        let narrow32 = |number: u32| u16::try_from(number).ok();
        let begin = to.len();
        to.extend([0; 4]);
        to.extend(self.place.ctx.to_le_bytes());
        let guest: usize = self.runs.iter().map(|(_, halves)| 2 * halves.len()).sum();
        let numbers = [
            usize::from(self.place.offset),
            self.instructions,
            self.runs.len(),
            guest,
            bytes.len(),
            outs.len(),
            exits.len(),
            faults.len(),
        ];
        for number in numbers {
            to.extend(narrow(number)?.to_le_bytes());
        }
        for &(at, halves) in self.runs {
            to.extend(narrow(at)?.to_le_bytes());
            to.extend(narrow(2 * halves.len())?.to_le_bytes());
        }
        to.extend(self.runs.iter().flat_map(|(_, halves)| halves.iter().flat_map(|half| half.to_le_bytes())));
        for &at in outs {
            to.extend(narrow32(at)?.to_le_bytes());
        }
        for exit in exits {
            let target = u16::try_from(exit.target).ok().filter(|target| target & PLAIN == 0)?;
            let target = target | if exit.plain { PLAIN } else { 0 };
            for number in [narrow32(exit.site)?, narrow32(exit.cold)?, target] {
                to.extend(number.to_le_bytes());
            }
        }
        for &(at, slow) in faults {
            to.extend(narrow32(at)?.to_le_bytes());
            to.extend(narrow32(slow)?.to_le_bytes());
        }
        let host = to.len();
        to.extend_from_slice(bytes);
        shift(&mut to[host..], outs.iter().copied(), self.start as u32);
        set_id(&mut to[host..], exits, 0);
        to.resize(to.len().next_multiple_of(4), 0);
        let size = u32::try_from(to.len() - begin).ok()?;
        to[begin..][..4].copy_from_slice(&size.to_le_bytes());
        Some(())
    }
}
