//! The DHCP server (RFC 2131), with the options of RFC 2132 that a guest needs.

use std::net::Ipv4Addr;

use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, UDP_HEADER_LEN};

use crate::backend::net::{Config, Subnet};

pub(super) const SERVER_PORT: u16 = 67;
pub(super) const CLIENT_PORT: u16 = 68;

/// How many cards can have an address at a time. One more displaces the one that asked longest ago.
const MAX_LEASES: usize = 16;
/// How long a lease lasts, in seconds.
const LEASE_SECONDS: u32 = 86_400;
/// Clients may refuse messages shorter than BOOTP's (RFC 1542 section 2.1).
const MIN_MESSAGE: usize = 300;

/// The layout of a message before its options (RFC 2131 section 2).
mod field {
    use std::ops::Range;

    pub(super) const OP: usize = 0;
    pub(super) const HTYPE: usize = 1;
    pub(super) const HLEN: usize = 2;
    pub(super) const XID: Range<usize> = 4..8;
    pub(super) const FLAGS: Range<usize> = 10..12;
    pub(super) const CIADDR: Range<usize> = 12..16;
    pub(super) const YIADDR: Range<usize> = 16..20;
    pub(super) const GIADDR: Range<usize> = 24..28;
    pub(super) const CHADDR: Range<usize> = 28..44;
    pub(super) const COOKIE: Range<usize> = 236..240;
    pub(super) const OPTIONS: usize = 240;
}

const BOOTREQUEST: u8 = 1;
const BOOTREPLY: u8 = 2;
const ETHERNET: u8 = 1;
const MAGIC_COOKIE: [u8; 4] = [99, 130, 83, 99];
const BROADCAST_FLAG: u8 = 0x80;

/// Option numbers (RFC 2132).
mod option {
    pub(super) const PAD: u8 = 0;
    pub(super) const SUBNET_MASK: u8 = 1;
    pub(super) const ROUTER: u8 = 3;
    pub(super) const DNS: u8 = 6;
    pub(super) const MTU: u8 = 26;
    pub(super) const REQUESTED_IP: u8 = 50;
    pub(super) const LEASE_TIME: u8 = 51;
    pub(super) const MESSAGE_TYPE: u8 = 53;
    pub(super) const SERVER_ID: u8 = 54;
    pub(super) const CLIENT_ID: u8 = 61;
    pub(super) const END: u8 = 255;
}

/// Values of the message type option (RFC 2132 section 9.6).
mod message {
    pub(super) const DISCOVER: u8 = 1;
    pub(super) const OFFER: u8 = 2;
    pub(super) const REQUEST: u8 = 3;
    pub(super) const ACK: u8 = 5;
    pub(super) const NAK: u8 = 6;
    pub(super) const INFORM: u8 = 8;
}

#[derive(Clone, Copy)]
struct Lease {
    mac: EthernetAddress,
    asked: Instant,
}

/// An answer for a client.
pub(super) struct Reply {
    /// The UDP datagram, with room for its header before the message.
    pub(super) datagram: Vec<u8>,
    /// The address to send it to: broadcast, or one that the client has from now on.
    pub(super) to: Ipv4Addr,
    /// The client's card.
    pub(super) mac: EthernetAddress,
}

pub(super) struct DhcpServer {
    subnet: Subnet,
    mtu: u16,
    leases: Vec<Lease>,
}

/// The parts of a request that matter.
struct Request<'a> {
    message: &'a [u8],
    kind: u8,
    mac: EthernetAddress,
    client: Ipv4Addr,
    wanted: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    client_id: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    fn parse(message: &'a [u8]) -> Option<Self> {
        let options = message.get(field::OPTIONS..)?;
        let mac = EthernetAddress(message[field::CHADDR].first_chunk().copied()?);
        if message[field::OP] != BOOTREQUEST
            || message[field::HTYPE] != ETHERNET
            || usize::from(message[field::HLEN]) != mac.0.len()
            || message[field::COOKIE] != MAGIC_COOKIE
            || !mac.is_unicast()
        {
            return None;
        }
        let mut request = Self {
            message,
            kind: 0,
            mac,
            client: address(&message[field::CIADDR])?,
            wanted: None,
            server: None,
            client_id: None,
        };
        let mut rest = options;
        while let Some((number, after)) = rest.split_first() {
            match *number {
                option::END => break,
                option::PAD => rest = after,
                number => {
                    let (length, after) = after.split_first()?;
                    let (value, after) = after.split_at_checked(usize::from(*length))?;
                    match number {
                        option::MESSAGE_TYPE => request.kind = *value.first()?,
                        option::REQUESTED_IP => request.wanted = Some(address(value)?),
                        option::SERVER_ID => request.server = Some(address(value)?),
                        option::CLIENT_ID => request.client_id = Some(value),
                        _ => {}
                    }
                    rest = after;
                }
            }
        }
        Some(request)
    }
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    bytes.first_chunk::<4>().copied().map(Ipv4Addr::from)
}

impl DhcpServer {
    pub(super) fn new(config: &Config) -> Self {
        Self { subnet: config.subnet, mtu: config.mtu, leases: Vec::new() }
    }

    /// The answer to a message from a client, if it deserves one.
    pub(super) fn handle(&mut self, message: &[u8], now: Instant) -> Option<Reply> {
        let request = Request::parse(message)?;
        match request.kind {
            message::DISCOVER => {
                let lease = self.lease(request.mac, now);
                Some(self.reply(&request, message::OFFER, Some(lease)))
            }
            // A client that has chosen another server.
            message::REQUEST if request.server.is_some_and(|server| server != self.subnet.host()) => None,
            message::REQUEST => {
                let lease = self.lease(request.mac, now);
                let wanted = request.wanted.unwrap_or(request.client);
                let kind = if wanted == lease { message::ACK } else { message::NAK };
                Some(self.reply(&request, kind, (kind == message::ACK).then_some(lease)))
            }
            message::INFORM => Some(self.reply(&request, message::ACK, None)),
            // Nothing is kept for a client that releases or declines its address.
            _ => None,
        }
    }

    /// The address for a card, the same every time it asks.
    fn lease(&mut self, mac: EthernetAddress, now: Instant) -> Ipv4Addr {
        let lease = Lease { mac, asked: now };
        let index = match self.leases.iter().position(|lease| lease.mac == mac) {
            Some(index) => index,
            None if self.leases.len() < MAX_LEASES => {
                self.leases.push(lease);
                self.leases.len() - 1
            }
            None => (0..MAX_LEASES).min_by_key(|index| self.leases[*index].asked).unwrap_or(0),
        };
        self.leases[index] = lease;
        self.subnet.address(Subnet::GUEST + index as u8)
    }

    fn reply(&self, request: &Request<'_>, kind: u8, lease: Option<Ipv4Addr>) -> Reply {
        let mut datagram = vec![0; UDP_HEADER_LEN + field::OPTIONS];
        let message = &mut datagram[UDP_HEADER_LEN..];
        message[field::OP] = BOOTREPLY;
        message[field::HTYPE] = ETHERNET;
        message[field::HLEN] = request.mac.0.len() as u8;
        for same in [field::XID, field::FLAGS, field::GIADDR, field::CHADDR] {
            message[same.clone()].copy_from_slice(&request.message[same]);
        }
        if kind != message::NAK {
            message[field::CIADDR].copy_from_slice(&request.client.octets());
        }
        message[field::YIADDR].copy_from_slice(&lease.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
        message[field::COOKIE].copy_from_slice(&MAGIC_COOKIE);

        let mut put = |number: u8, value: &[u8]| {
            datagram.extend_from_slice(&[number, value.len() as u8]);
            datagram.extend_from_slice(value);
        };
        put(option::MESSAGE_TYPE, &[kind]);
        put(option::SERVER_ID, &self.subnet.host().octets());
        // RFC 6842 section 3.
        if let Some(id) = request.client_id {
            put(option::CLIENT_ID, id);
        }
        if lease.is_some() {
            put(option::LEASE_TIME, &LEASE_SECONDS.to_be_bytes());
        }
        if kind != message::NAK {
            put(option::SUBNET_MASK, &[255, 255, 255, 0]);
            put(option::ROUTER, &self.subnet.host().octets());
            put(option::DNS, &self.subnet.dns().octets());
            if self.mtu != 1500 {
                put(option::MTU, &self.mtu.to_be_bytes());
            }
        }
        datagram.push(option::END);
        datagram.resize(datagram.len().max(UDP_HEADER_LEN + MIN_MESSAGE), 0);

        // RFC 2131 section 4.1.
        let wants_broadcast = request.message[field::FLAGS][0] & BROADCAST_FLAG != 0;
        let to = if kind == message::NAK {
            Ipv4Addr::BROADCAST
        } else if self.subnet.guest_byte(request.client).is_some() {
            request.client
        } else if wants_broadcast {
            Ipv4Addr::BROADCAST
        } else {
            lease.unwrap_or(Ipv4Addr::BROADCAST)
        };
        Reply { datagram, to, mac: request.mac }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: u8, mac: u8, options: &[(u8, &[u8])]) -> Vec<u8> {
        let mut message = vec![0; field::OPTIONS];
        message[field::OP] = BOOTREQUEST;
        message[field::HTYPE] = ETHERNET;
        message[field::HLEN] = 6;
        message[field::XID].copy_from_slice(&[1, 2, 3, 4]);
        message[field::CHADDR][..6].copy_from_slice(&[0x52, 0x54, 0, 0, 0, mac]);
        message[field::COOKIE].copy_from_slice(&MAGIC_COOKIE);
        message.extend_from_slice(&[option::MESSAGE_TYPE, 1, kind]);
        for (number, value) in options {
            message.extend_from_slice(&[*number, value.len() as u8]);
            message.extend_from_slice(value);
        }
        message.push(option::END);
        message
    }

    fn kind_and_address(reply: Option<Reply>) -> Option<(u8, Ipv4Addr)> {
        let reply = reply?;
        let message = &reply.datagram[UDP_HEADER_LEN..];
        Some((message[field::OPTIONS + 2], address(&message[field::YIADDR])?))
    }

    fn has_option(datagram: &[u8], number: u8, value: &[u8]) -> bool {
        let wanted: Vec<u8> = [&[number, value.len() as u8], value].concat();
        datagram[UDP_HEADER_LEN + field::OPTIONS..].windows(wanted.len()).any(|bytes| bytes == wanted)
    }

    #[test]
    fn a_client_gets_the_same_address_every_time() {
        let mut server = DhcpServer::new(&Config::default());
        let now = Instant::ZERO;
        let first = Ipv4Addr::new(10, 0, 2, 15);
        let offer =
            server.handle(&request(message::DISCOVER, 1, &[(option::CLIENT_ID, b"\xff12")]), now).unwrap();
        assert!(offer.datagram.len() >= UDP_HEADER_LEN + MIN_MESSAGE);
        assert_eq!(offer.to, first);
        assert!(has_option(&offer.datagram, option::CLIENT_ID, b"\xff12"));
        assert!(has_option(&offer.datagram, option::ROUTER, &[10, 0, 2, 2]));
        assert!(has_option(&offer.datagram, option::DNS, &[10, 0, 2, 3]));
        assert!(!has_option(&offer.datagram, option::MTU, &1500u16.to_be_bytes()));

        let wanted = (option::REQUESTED_IP, &first.octets()[..]);
        let ours = (option::SERVER_ID, &[10, 0, 2, 2][..]);
        let theirs = (option::SERVER_ID, &[10, 0, 2, 9][..]);
        let mut ask = |mac, options: &[_]| {
            kind_and_address(server.handle(&request(message::REQUEST, mac, options), now))
        };
        assert_eq!(ask(1, &[wanted, ours]), Some((message::ACK, first)));
        assert_eq!(ask(1, &[wanted]), Some((message::ACK, first)));
        assert_eq!(ask(1, &[wanted, theirs]), None);
        assert_eq!(ask(2, &[wanted, ours]), Some((message::NAK, Ipv4Addr::UNSPECIFIED)));
        assert_eq!(
            kind_and_address(server.handle(&request(message::DISCOVER, 2, &[]), now)),
            Some((message::OFFER, Ipv4Addr::new(10, 0, 2, 16)))
        );
    }

    #[test]
    fn the_lease_table_is_bounded() {
        let mut server = DhcpServer::new(&Config { mtu: 9000, ..Config::default() });
        for mac in 0..=255 {
            let reply =
                server.handle(&request(message::DISCOVER, mac, &[]), Instant::from_secs(mac)).unwrap();
            assert!(has_option(&reply.datagram, option::MTU, &9000u16.to_be_bytes()));
            assert!((15..31).contains(&reply.to.octets()[3]));
        }
        assert_eq!(server.leases.len(), MAX_LEASES);
    }

    #[test]
    fn broken_messages_are_ignored() {
        let mut server = DhcpServer::new(&Config::default());
        let good = request(message::DISCOVER, 1, &[(option::CLIENT_ID, b"abc")]);
        for length in 0..good.len() - 1 {
            // Cut in front of the end option, what is there is complete.
            let complete = [field::OPTIONS + 3].contains(&length);
            assert_eq!(server.handle(&good[..length], Instant::ZERO).is_some(), complete, "{length}");
        }
    }

    #[test]
    fn hostile_messages_are_harmless() {
        let options = [(option::CLIENT_ID, &b"abc"[..]), (option::REQUESTED_IP, &[10, 0, 2, 20])];
        let (mut answers, mut silences) = (0, 0);
        for seed in crate::testing::seeds(5_000) {
            let mut random = crate::testing::Random(seed);
            let mut server = DhcpServer::new(&Config::default());
            for kind in [message::DISCOVER, message::REQUEST, message::INFORM, 4, 7] {
                let mut bytes = request(kind, random.bits() as u8, &options);
                for _ in 0..random.below(4) {
                    let at = random.below(bytes.len() as u64) as usize;
                    match random.below(4) {
                        0 => bytes.truncate(at.max(1)),
                        1 => bytes.extend_from_within(at..),
                        // Options, and their lengths.
                        2 => {
                            if let Some(byte) = bytes.get_mut(field::OPTIONS + at % 32) {
                                *byte = random.value() as u8;
                            }
                        }
                        _ => bytes[at] = random.value() as u8,
                    }
                }
                match server.handle(&bytes, Instant::from_secs(random.below(1 << 40) as i64)) {
                    Some(reply) => {
                        answers += 1;
                        assert!(reply.datagram.len() >= UDP_HEADER_LEN + MIN_MESSAGE, "seed {seed}");
                    }
                    None => silences += 1,
                }
            }
            assert!(server.leases.len() <= MAX_LEASES);
        }
        assert!(answers > 1000 && silences > 1000, "{answers} answers, {silences} silences");
    }
}
