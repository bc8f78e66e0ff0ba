//! Puts fragmented IPv4 packets of the guest together (RFC 791 section 3.2), within bounds.

use std::net::Ipv4Addr;

use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{IPV4_HEADER_LEN, Ipv4Packet};

/// How many packets may be incomplete at a time. One more displaces the oldest.
const MAX_PACKETS: usize = 16;
/// How long the fragments of a packet may take; they all come over the same memory.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest payload of an IPv4 packet with the header that we give it.
const MAX_PAYLOAD: usize = 65_535 - IPV4_HEADER_LEN;
/// Offsets of fragments count in units of 8 bytes.
const UNITS: usize = MAX_PAYLOAD.div_ceil(8);

type Key = (Ipv4Addr, Ipv4Addr, u8, u16);

struct Partial {
    key: Key,
    since: Instant,
    /// Space for the header, then the payload as far as it is known.
    packet: Vec<u8>,
    /// Which units of the payload have arrived.
    arrived: Box<[u64; UNITS.div_ceil(64)]>,
    units: usize,
    /// How long the payload is, once the last fragment has told.
    length: Option<usize>,
}

#[derive(Default)]
pub(super) struct Reassembler {
    partial: Vec<Partial>,
}

impl Reassembler {
    pub(super) fn is_empty(&self) -> bool {
        self.partial.is_empty()
    }

    /// Drops what has waited too long.
    pub(super) fn expire(&mut self, now: Instant) {
        self.partial.retain(|partial| now < partial.since + TIMEOUT);
    }

    /// Takes one fragment; returns the whole packet, without options, when it was the last one missing.
    pub(super) fn add(&mut self, fragment: &Ipv4Packet<&[u8]>, now: Instant) -> Option<Vec<u8>> {
        let start = usize::from(fragment.frag_offset());
        let payload = fragment.payload();
        let end = start + payload.len();
        let last = !fragment.more_frags();
        // Only the last fragment may end inside a unit. A packet beyond 65 535 bytes is an attack.
        if payload.is_empty() || end > MAX_PAYLOAD || (!last && !payload.len().is_multiple_of(8)) {
            return None;
        }
        let key = (fragment.src_addr(), fragment.dst_addr(), fragment.next_header().into(), fragment.ident());
        let index = self.find(key, now);
        let partial = self.partial.get_mut(index)?;

        if last {
            partial.length = Some(end);
        }
        if IPV4_HEADER_LEN + end > partial.packet.len() {
            partial.packet.resize(IPV4_HEADER_LEN + end, 0);
        }
        partial.packet.get_mut(IPV4_HEADER_LEN + start..IPV4_HEADER_LEN + end)?.copy_from_slice(payload);
        if start == 0 {
            let header = fragment.as_ref().get(..IPV4_HEADER_LEN)?;
            partial.packet.get_mut(..IPV4_HEADER_LEN)?.copy_from_slice(header);
        }
        for unit in start / 8..end.div_ceil(8) {
            let word = partial.arrived.get_mut(unit / 64)?;
            let bit = 1 << (unit % 64);
            partial.units += usize::from(*word & bit == 0);
            *word |= bit;
        }

        let length = partial.length?;
        if partial.units < length.div_ceil(8) {
            return None;
        }
        let mut packet = self.partial.swap_remove(index).packet;
        // Fragments that overlap or contradict each other are not worth keeping apart: the packet is refused.
        if packet.len() != IPV4_HEADER_LEN + length {
            return None;
        }
        let mut header = Ipv4Packet::new_unchecked(packet.as_mut_slice());
        header.set_header_len(IPV4_HEADER_LEN as u8);
        header.set_total_len((IPV4_HEADER_LEN + length) as u16);
        header.clear_flags();
        header.set_frag_offset(0);
        header.fill_checksum();
        Some(packet)
    }

    fn find(&mut self, key: Key, now: Instant) -> usize {
        if let Some(index) = self.partial.iter().position(|partial| partial.key == key) {
            return index;
        }
        if self.partial.len() >= MAX_PACKETS
            && let Some(oldest) = (0..self.partial.len()).min_by_key(|index| self.partial[*index].since)
        {
            self.partial.swap_remove(oldest);
        }
        self.partial.push(Partial {
            key,
            since: now,
            packet: vec![0; IPV4_HEADER_LEN],
            arrived: Box::new([0; UNITS.div_ceil(64)]),
            units: 0,
            length: None,
        });
        self.partial.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(ident: u16, offset: u16, length: usize, more: bool) -> Vec<u8> {
        let mut bytes = vec![ident as u8; IPV4_HEADER_LEN + length];
        let mut packet = Ipv4Packet::new_unchecked(&mut bytes);
        packet.set_version(4);
        packet.set_header_len(IPV4_HEADER_LEN as u8);
        packet.set_total_len((IPV4_HEADER_LEN + length) as u16);
        packet.set_ident(ident);
        packet.clear_flags();
        packet.set_more_frags(more);
        packet.set_frag_offset(offset);
        packet.set_src_addr(Ipv4Addr::new(10, 0, 2, 15));
        bytes
    }

    fn add(reassembler: &mut Reassembler, fragment: &[u8]) -> Option<usize> {
        let packet = Ipv4Packet::new_checked(fragment).unwrap();
        reassembler.add(&packet, Instant::ZERO).map(|packet| packet.len())
    }

    #[test]
    fn fragments_come_in_any_order() {
        let mut reassembler = Reassembler::default();
        assert_eq!(add(&mut reassembler, &fragment(1, 16, 3, false)), None);
        assert_eq!(add(&mut reassembler, &fragment(1, 0, 8, true)), None);
        assert_eq!(add(&mut reassembler, &fragment(2, 8, 8, true)), None);
        assert_eq!(add(&mut reassembler, &fragment(1, 8, 8, true)), Some(IPV4_HEADER_LEN + 19));
        assert!(!reassembler.is_empty());
        reassembler.expire(Instant::ZERO + TIMEOUT);
        assert!(reassembler.is_empty());
    }

    #[test]
    fn impossible_fragments_are_refused() {
        let mut reassembler = Reassembler::default();
        // Past the end of any packet, inside a unit, without content.
        for (offset, length, more) in [(65_528, 8, false), (0, 7, true), (8, 0, false)] {
            assert_eq!(add(&mut reassembler, &fragment(1, offset, length, more)), None);
            assert!(reassembler.is_empty());
        }
        // An end before what is already there.
        assert_eq!(add(&mut reassembler, &fragment(1, 0, 16, true)), None);
        assert_eq!(add(&mut reassembler, &fragment(1, 8, 4, false)), None);
        assert!(reassembler.is_empty());
    }

    #[test]
    fn unfinished_packets_are_bounded() {
        let mut reassembler = Reassembler::default();
        for ident in 0..100 {
            assert_eq!(add(&mut reassembler, &fragment(ident, 65_504, 8, true)), None);
        }
        assert_eq!(reassembler.partial.len(), MAX_PACKETS);
    }
}
