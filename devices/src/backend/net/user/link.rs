//! The cable to the guest's card: puts Ethernet and IPv4 headers on, and keeps what the card cannot take yet.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;

use smoltcp::phy::{self, Checksum, ChecksumCapabilities, DeviceCapabilities, Medium};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, IPV4_HEADER_LEN,
    Icmpv4DstUnreachable, Icmpv4Message, Icmpv4Packet, IpProtocol, Ipv4Packet, UDP_HEADER_LEN, UdpPacket,
};

use super::Shared;
use crate::backend::net::{Config, MAX_FRAME, Subnet};

const ETHERNET_HEADER_LEN: usize = 14;
const ICMP_HEADER_LEN: usize = 8;
/// How much of a packet an ICMP error quotes after the IPv4 header (RFC 792).
const QUOTED: usize = 8;

/// How many frames wait for a card that has no buffers. Only answers to the guest's own frames get here: TCP
/// data and host datagrams are not fetched while any frame waits.
const MAX_HELD: usize = 256;
/// How many packets wait for the Ethernet address of a guest.
const MAX_UNRESOLVED: usize = 16;
/// How often we ask for a guest's Ethernet address.
const ARP_INTERVAL: Duration = Duration::from_secs(1);
/// The time to live of our packets (RFC 1700).
const TTL: u8 = 64;

pub(super) struct Link {
    shared: Arc<Shared>,
    subnet: Subnet,
    mtu: u16,
    now: Instant,
    /// The Ethernet address of each guest address, by its last byte.
    neighbors: Box<[Option<EthernetAddress>; 256]>,
    next_arp: Instant,
    /// Packets for guest addresses that are asked for.
    unresolved: Vec<(Ipv4Addr, Box<[u8]>)>,
    /// Where frames are composed.
    frame: Box<[u8]>,
    held: VecDeque<Box<[u8]>>,
    /// The identification of the next packet that needs fragments.
    ident: u16,
}

impl Link {
    pub(super) fn new(config: &Config, shared: Arc<Shared>) -> Self {
        Self {
            shared,
            subnet: config.subnet,
            mtu: config.mtu,
            now: Instant::ZERO,
            neighbors: Box::new([None; 256]),
            next_arp: Instant::ZERO,
            unresolved: Vec::new(),
            frame: vec![0; MAX_FRAME].into(),
            held: VecDeque::new(),
            ident: 0,
        }
    }

    pub(super) fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// Our Ethernet address as the holder of `address`.
    pub(super) fn own_mac(address: Ipv4Addr) -> EthernetAddress {
        let [a, b, c, d] = address.octets();
        EthernetAddress([0x52, 0x55, a, b, c, d])
    }

    /// Whether frames to `mac` are for us.
    pub(super) fn is_own_mac(&self, mac: EthernetAddress) -> bool {
        mac == Self::own_mac(self.subnet.host()) || mac == Self::own_mac(self.subnet.dns())
    }

    /// Remembers which card has a guest address.
    pub(super) fn learn(&mut self, address: Ipv4Addr, mac: EthernetAddress) {
        if let Some(last) = self.subnet.guest_byte(address)
            && let Some(entry) = self.neighbors.get_mut(usize::from(last))
        {
            *entry = Some(mac);
            for (_, packet) in
                self.unresolved.extract_if(.., |(waits_for, _)| *waits_for == address).collect::<Vec<_>>()
            {
                self.transmit_ip(packet.len(), |bytes| bytes.copy_from_slice(&packet));
            }
        }
    }

    /// Whether the card has refused a frame and not asked for it again.
    pub(super) fn is_blocked(&self) -> bool {
        !self.held.is_empty()
    }

    /// Offers the card what it has refused.
    pub(super) fn retry(&mut self) {
        while let Some(frame) = self.held.front() {
            if !self.shared.offer(frame) {
                return;
            }
            self.held.pop_front();
        }
    }

    /// Sends what is composed in the first `len` bytes of `frame`.
    fn transmit(&mut self, len: usize) {
        let Some(frame) = self.frame.get(..len) else { return };
        if self.held.is_empty() && self.shared.offer(frame) {
            return;
        }
        if self.held.len() < MAX_HELD {
            self.held.push_back(frame.into());
        }
    }

    fn ethernet_header(&mut self, src: EthernetAddress, dst: EthernetAddress, protocol: EthernetProtocol) {
        let mut ethernet = EthernetFrame::new_unchecked(&mut self.frame[..ETHERNET_HEADER_LEN]);
        ethernet.set_src_addr(src);
        ethernet.set_dst_addr(dst);
        ethernet.set_ethertype(protocol);
    }

    /// Sends an IPv4 packet of `len` bytes, headers included, which `compose` writes.
    fn transmit_ip<R>(&mut self, len: usize, compose: impl FnOnce(&mut [u8]) -> R) -> R {
        let result = compose(&mut self.frame[ETHERNET_HEADER_LEN..ETHERNET_HEADER_LEN + len]);
        let packet = Ipv4Packet::new_unchecked(&self.frame[ETHERNET_HEADER_LEN..ETHERNET_HEADER_LEN + len]);
        let (src, dst) = (packet.src_addr(), packet.dst_addr());
        let src_mac =
            if src == self.subnet.dns() { Self::own_mac(src) } else { Self::own_mac(self.subnet.host()) };
        if dst.is_broadcast() {
            self.ethernet_header(src_mac, EthernetAddress::BROADCAST, EthernetProtocol::Ipv4);
            self.transmit(ETHERNET_HEADER_LEN + len);
        } else if let Some(last) = self.subnet.guest_byte(dst) {
            match self.neighbors[usize::from(last)] {
                Some(mac) => {
                    self.ethernet_header(src_mac, mac, EthernetProtocol::Ipv4);
                    self.transmit(ETHERNET_HEADER_LEN + len);
                }
                None => {
                    if self.unresolved.len() >= MAX_UNRESOLVED {
                        self.unresolved.remove(0);
                    }
                    self.unresolved.push((dst, packet.into_inner().into()));
                    self.ask_for(dst);
                }
            }
        }
        result
    }

    /// Sends an ARP request for a guest's address.
    fn ask_for(&mut self, address: Ipv4Addr) {
        if self.now < self.next_arp {
            return;
        }
        self.next_arp = self.now + ARP_INTERVAL;
        self.send_arp(ArpOperation::Request, self.subnet.host(), address, EthernetAddress::BROADCAST);
    }

    /// Sends an ARP packet that says where `source` is.
    pub(super) fn send_arp(
        &mut self,
        operation: ArpOperation,
        source: Ipv4Addr,
        target: Ipv4Addr,
        target_mac: EthernetAddress,
    ) {
        let source_mac = Self::own_mac(source);
        let repr = ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: source_mac,
            source_protocol_addr: source,
            target_hardware_addr: target_mac,
            target_protocol_addr: target,
        };
        let len = ETHERNET_HEADER_LEN + repr.buffer_len();
        self.ethernet_header(source_mac, target_mac, EthernetProtocol::Arp);
        repr.emit(&mut ArpPacket::new_unchecked(&mut self.frame[ETHERNET_HEADER_LEN..len]));
        self.transmit(len);
    }

    /// Sends an IPv4 packet with this payload, in fragments if the MTU wants it.
    pub(super) fn send_ip(&mut self, src: Ipv4Addr, dst: Ipv4Addr, protocol: IpProtocol, payload: &[u8]) {
        if IPV4_HEADER_LEN + payload.len() > usize::from(u16::MAX) {
            return;
        }
        let fits = IPV4_HEADER_LEN + payload.len() <= usize::from(self.mtu);
        let step = (usize::from(self.mtu) - IPV4_HEADER_LEN) & !7;
        if !fits {
            self.ident = self.ident.wrapping_add(1);
        }
        let ident = if fits { 0 } else { self.ident };
        let mut offset = 0;
        loop {
            let rest = &payload[offset..];
            let part = if fits { rest } else { &rest[..rest.len().min(step)] };
            let more = part.len() < rest.len();
            let len = IPV4_HEADER_LEN + part.len();
            self.transmit_ip(len, |bytes| {
                bytes[..IPV4_HEADER_LEN].fill(0);
                let mut packet = Ipv4Packet::new_unchecked(bytes);
                packet.set_version(4);
                packet.set_header_len(IPV4_HEADER_LEN as u8);
                packet.set_total_len(len as u16);
                packet.set_ident(ident);
                packet.set_dont_frag(fits);
                packet.set_more_frags(more);
                packet.set_frag_offset(offset as u16);
                packet.set_hop_limit(TTL);
                packet.set_next_header(protocol);
                packet.set_src_addr(src);
                packet.set_dst_addr(dst);
                packet.fill_checksum();
                packet.payload_mut().copy_from_slice(part);
            });
            offset += part.len();
            if !more {
                return;
            }
        }
    }

    /// Sends the UDP datagram whose payload begins at [`UDP_HEADER_LEN`] in `datagram`; the header is written
    /// here.
    pub(super) fn send_udp(&mut self, src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), datagram: &mut [u8]) {
        let Ok(len) = u16::try_from(datagram.len()) else { return };
        if datagram.len() < UDP_HEADER_LEN {
            return;
        }
        let mut packet = UdpPacket::new_unchecked(&mut *datagram);
        packet.set_src_port(src.1);
        packet.set_dst_port(dst.1);
        packet.set_len(len);
        packet.fill_checksum(&src.0.into(), &dst.0.into());
        self.send_ip(src.0, dst.0, IpProtocol::Udp, datagram);
    }

    /// Sends an ICMP echo reply; `message` is the request or the reply from outside, whole.
    pub(super) fn send_echo_reply(&mut self, src: Ipv4Addr, dst: Ipv4Addr, ident: u16, message: &mut [u8]) {
        if message.len() < ICMP_HEADER_LEN {
            return;
        }
        let mut packet = Icmpv4Packet::new_unchecked(&mut *message);
        packet.set_msg_type(Icmpv4Message::EchoReply);
        packet.set_msg_code(0);
        packet.set_echo_ident(ident);
        packet.fill_checksum();
        self.send_ip(src, dst, IpProtocol::Icmp, message);
    }

    /// Tells the guest that its IPv4 packet, of which `original` is the start, cannot be delivered. `from` is
    /// who says so.
    pub(super) fn send_unreachable(&mut self, from: Ipv4Addr, why: Icmpv4DstUnreachable, original: &[u8]) {
        if original.len() < IPV4_HEADER_LEN {
            return;
        }
        let packet = Ipv4Packet::new_unchecked(original);
        let quoted = original.len().min(usize::from(packet.header_len()) + QUOTED);
        let mut message = [0; ICMP_HEADER_LEN + 60 + QUOTED];
        let message = &mut message[..ICMP_HEADER_LEN + quoted];
        message[ICMP_HEADER_LEN..].copy_from_slice(&original[..quoted]);
        let mut icmp = Icmpv4Packet::new_unchecked(&mut *message);
        icmp.set_msg_type(Icmpv4Message::DstUnreachable);
        icmp.set_msg_code(why.into());
        icmp.fill_checksum();
        self.send_ip(from, packet.src_addr(), IpProtocol::Icmp, message);
    }
}

/// The link as smoltcp sees it, with the one packet that it is to process now.
pub(super) struct LinkDevice<'a> {
    pub(super) link: &'a mut Link,
    pub(super) packet: Option<&'a [u8]>,
}

impl phy::Device for LinkDevice<'_> {
    type RxToken<'a>
        = Received<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Sent<'a>
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Sent<'_>)> {
        let packet = self.packet.take()?;
        Some((Received(packet), Sent(self.link)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sent<'_>> {
        if self.link.is_blocked() { None } else { Some(Sent(self.link)) }
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.link.mtu)
    }
}

/// What smoltcp has to know. The packets come over memory, so it need not verify their checksums: a card may
/// then offer its driver to leave them out.
fn capabilities(mtu: u16) -> DeviceCapabilities {
    let mut checksum = ChecksumCapabilities::default();
    checksum.ipv4 = Checksum::Tx;
    checksum.tcp = Checksum::Tx;
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ip;
    capabilities.max_transmission_unit = usize::from(mtu);
    capabilities.checksum = checksum;
    capabilities
}

pub(super) struct Received<'a>(&'a [u8]);

impl phy::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

pub(super) struct Sent<'a>(&'a mut Link);

impl phy::TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.0.transmit_ip(len, f)
    }
}
