//! The user-mode network against a guest that means harm. In a process of its own, so that its memory can be
//! measured.
//!
//! Nothing here may reach a service of the machine that runs the tests: frames that would go to the outside,
//! or to a port of the host that is not the test's own, are not sent.

#[allow(dead_code, reason = "a part of what the guest can do is enough here")]
#[path = "../user_net/guest.rs"]
mod guest;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use devices::backend::net::{Config, Limits, NetBackend};
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, TcpPacket, TcpSeqNumber, UdpPacket,
};

use guest::{DNS, GUEST, Guest, HOST, MAC, ROUTER_MAC, Random, ip_packet};

const FRAMES: usize = 100_000;
/// How many connections the attack is to get into at least.
const CONNECTIONS: usize = 50;
/// How much more memory the process may have after the attack.
const MEMORY: usize = 200 << 20;
/// How long the attack may take; it is a few seconds' work.
const TIME: Duration = Duration::from_secs(120);

/// The resident memory of this process, in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn below(random: &mut Random, limit: u64) -> u64 {
    random.bits() % limit
}

/// A guest, with servers of its own to talk to.
struct Attack {
    guest: Guest,
    random: Random,
    /// The ports of the host that may be sent to.
    ports: Vec<u16>,
    /// What the router expects next from a port of the guest, and what it has sent, by the two ports.
    flows: HashMap<(u16, u16), (TcpSeqNumber, TcpSeqNumber)>,
    /// How many connections the router has accepted.
    opened: usize,
}

impl Attack {
    fn new(seed: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let tcp_port = listener.local_addr().unwrap().port();
        thread::spawn(move || serve(&listener, seed));
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let udp_port = socket.local_addr().unwrap().port();
        thread::spawn(move || echo(&socket));
        // A port that nobody has.
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();

        let limits = Limits { tcp_connections: 100, datagram_flows: 50, ..Limits::default() };
        let dns = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, udp_port)));
        let guest = Guest::new(Config { limits, dns, ..Config::default() });
        guest.sync();
        let ports = vec![tcp_port, udp_port, closed, 53, 67];
        Self { guest, random: Random(seed), ports, flows: HashMap::new(), opened: 0 }
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[below(&mut self.random, choices.len() as u64) as usize]
    }

    fn chance(&mut self, one_in: u64) -> bool {
        below(&mut self.random, one_in) == 0
    }

    fn bytes(&mut self, limit: u64) -> Vec<u8> {
        let length = below(&mut self.random, limit) as usize;
        (0..length).map(|_| self.random.bits() as u8).collect()
    }

    fn address(&mut self) -> Ipv4Addr {
        let others = [
            GUEST,
            Ipv4Addr::BROADCAST,
            Ipv4Addr::LOCALHOST,
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::new(224, 0, 0, 1),
        ];
        match below(&mut self.random, 8) {
            0 => DNS,
            1 => self.one_of(&others),
            _ => HOST,
        }
    }

    /// A TCP segment that fits a connection more or less, or opens one.
    fn segment(&mut self) -> Vec<u8> {
        let known: Vec<_> = self.flows.keys().copied().collect();
        let opens = known.is_empty() || self.chance(4);
        let ports = if opens {
            (1 + below(&mut self.random, 500) as u16, self.one_of(&self.ports.clone()))
        } else {
            self.one_of(&known)
        };
        let near = |random: &mut Random, at: TcpSeqNumber| match below(random, 8) {
            0 => TcpSeqNumber(random.bits() as i32),
            1 => TcpSeqNumber(at.0.wrapping_add(below(random, 70_000) as i32 - 35_000)),
            2 => TcpSeqNumber(at.0.wrapping_add(below(random, 5) as i32 - 2)),
            _ => at,
        };
        let (next, theirs) = self.flows.get(&ports).copied().unwrap_or_default();
        let mut options = if self.chance(3) { self.bytes(40) } else { Vec::new() };
        options.resize(options.len().next_multiple_of(4), 0);
        let payload = if opens || self.chance(2) { Vec::new() } else { self.bytes(1400) };

        let mut bytes = vec![0; 20 + options.len() + payload.len()];
        let mut segment = TcpPacket::new_unchecked(&mut bytes);
        segment.set_src_port(ports.0);
        segment.set_dst_port(ports.1);
        segment.set_seq_number(near(&mut self.random, next));
        segment.set_ack_number(near(&mut self.random, theirs));
        segment.set_header_len(20 + options.len() as u8);
        segment.clear_flags();
        segment.set_ack(!opens);
        segment.set_syn(opens);
        if self.chance(10) {
            segment.set_fin(below(&mut self.random, 2) == 0);
            segment.set_rst(below(&mut self.random, 8) == 0);
            segment.set_syn(below(&mut self.random, 4) == 0);
            segment.set_ack(below(&mut self.random, 4) != 0);
            segment.set_psh(below(&mut self.random, 2) == 0);
            segment.set_urg(below(&mut self.random, 2) == 0);
        }
        let window = match below(&mut self.random, 3) {
            0 => 0,
            1 => u16::MAX,
            _ => self.random.bits() as u16,
        };
        segment.set_window_len(window);
        segment.options_mut().copy_from_slice(&options);
        segment.payload_mut().copy_from_slice(&payload);
        if !opens {
            self.flows.insert(ports, (next + payload.len(), theirs));
        }
        bytes
    }

    fn datagram(&mut self) -> Vec<u8> {
        let payload = self.bytes(1400);
        let mut bytes = vec![0; 8 + payload.len()];
        let mut datagram = UdpPacket::new_unchecked(&mut bytes);
        datagram.set_src_port(self.random.bits() as u16);
        datagram.set_dst_port(self.one_of(&self.ports.clone()));
        datagram.set_len(if self.chance(20) { self.random.bits() as u16 } else { 8 + payload.len() as u16 });
        bytes[8..].copy_from_slice(&payload);
        bytes
    }

    /// A frame of one of many kinds.
    fn frame(&mut self) -> Vec<u8> {
        if self.chance(10) {
            return self.bytes(2000);
        }
        let address = self.address();
        let (protocol, payload) = match below(&mut self.random, 10) {
            0..5 => (IpProtocol::Tcp, self.segment()),
            5..8 => (IpProtocol::Udp, self.datagram()),
            8 => (IpProtocol::Icmp, [&[8, 0, 0, 0][..], &self.bytes(1400)].concat()),
            _ => (IpProtocol::from(self.random.bits() as u8), self.bytes(1400)),
        };
        let (offset, more) = match below(&mut self.random, 20) {
            0 => (0, true),
            1 => (below(&mut self.random, 65_536) as u16 & !7, below(&mut self.random, 2) == 0),
            2 => (below(&mut self.random, 10) as u16 * 8, below(&mut self.random, 2) == 0),
            _ => (0, false),
        };
        let packet = ip_packet(address, protocol, &payload, offset, more);
        let kind =
            self.one_of(&[[8, 0], [8, 0], [8, 0], [8, 0], [8, 0], [8, 0], [8, 0], [8, 6], [0x86, 0xdd]]);
        let mut frame = [&ROUTER_MAC.0[..], &MAC.0, &kind, &packet].concat();
        if self.chance(4) {
            for _ in 0..=below(&mut self.random, 4) {
                let at = below(&mut self.random, frame.len().min(80) as u64) as usize;
                frame[at] = self.random.bits() as u8;
            }
            if self.chance(2) && frame[14] >> 4 == 4 && usize::from(frame[14] & 15) * 4 <= frame.len() - 14 {
                Ipv4Packet::new_unchecked(&mut frame[14..]).fill_checksum();
            }
        }
        if self.chance(10) {
            frame.truncate(below(&mut self.random, frame.len() as u64 + 1) as usize);
        }
        frame
    }

    /// Whether a frame stays within the test.
    fn is_safe(&self, frame: &[u8]) -> bool {
        let Ok(ethernet) = EthernetFrame::new_checked(frame) else { return true };
        let Ok(packet) = Ipv4Packet::new_checked(ethernet.payload()) else { return true };
        let dst = packet.dst_addr();
        let inside = dst.octets()[..3] == HOST.octets()[..3];
        let nowhere = dst.is_broadcast() || dst.is_loopback() || dst.is_unspecified() || dst.is_multicast();
        if ethernet.ethertype() != EthernetProtocol::Ipv4 || nowhere {
            return true;
        }
        let has_ports = matches!(packet.next_header(), IpProtocol::Tcp | IpProtocol::Udp);
        let port = packet.payload().get(2..4).map(|port| u16::from_be_bytes([port[0], port[1]]));
        inside
            && (!has_ports || packet.frag_offset() != 0 || port.is_none_or(|port| self.ports.contains(&port)))
    }

    /// Takes what has come for the guest, and learns from it how to continue its connections.
    fn listen(&mut self) {
        while let Some(frame) = self.guest.port.take() {
            let ethernet = EthernetFrame::new_checked(&frame[..]).unwrap();
            if ethernet.ethertype() != EthernetProtocol::Ipv4 {
                continue;
            }
            let packet = Ipv4Packet::new_checked(ethernet.payload()).unwrap();
            if packet.next_header() != IpProtocol::Tcp {
                continue;
            }
            let segment = TcpPacket::new_checked(packet.payload()).unwrap();
            let ports = (segment.dst_port(), segment.src_port());
            if segment.rst() {
                self.flows.remove(&ports);
            } else {
                self.opened += usize::from(segment.syn());
                let end = segment.seq_number() + segment.segment_len();
                self.flows.insert(ports, (segment.ack_number(), end));
            }
        }
    }
}

/// A server that treats its clients badly.
fn serve(listener: &TcpListener, seed: u64) {
    let mut random = Random(seed);
    let mut kept = Vec::new();
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        stream.set_nonblocking(true).ok();
        match below(&mut random, 4) {
            0 => drop(stream),
            1 => {
                let _ = stream.write(&[7; 100_000]);
                stream.shutdown(std::net::Shutdown::Write).ok();
                kept.push(stream);
            }
            _ => {
                let _ = stream.write(&[7; 10_000]);
                kept.push(stream);
            }
        }
        if kept.len() > 60 {
            let index = below(&mut random, kept.len() as u64) as usize;
            let mut stream = kept.swap_remove(index);
            let _ = stream.read(&mut [0; 1000]);
        }
    }
}

fn echo(socket: &UdpSocket) {
    let mut buffer = [0; 2000];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        socket.send_to(&buffer[..length], from).ok();
    }
}

/// Sends at least `frames` frames, and as many as it takes to get into connections: how soon the router
/// answers is the host's affair.
fn attack(seed: u64, frames: usize) {
    let mut attack = Attack::new(seed);
    let start = Instant::now();
    let mut sent = 0;
    while sent < frames || attack.opened < CONNECTIONS {
        assert!(start.elapsed() < TIME, "{} connections after {sent} frames", attack.opened);
        for _ in 0..64 {
            let frame = attack.frame();
            if attack.is_safe(&frame) {
                attack.guest.port.net.send(&frame);
            }
        }
        sent += 64;
        // The card has no buffers now and then; and the router gets the time to answer.
        let buffers = attack.one_of(&[0, 1, 20, 256]);
        attack.guest.port.card.set_buffers(buffers);
        thread::sleep(Duration::from_micros(500));
        attack.listen();
    }
    attack.guest.port.card.set_buffers(10_000);
    attack.guest.port.net.rx_ready();
    // It is still there.
    attack.guest.sync();
}

#[test]
fn hostile_frames_do_no_harm() {
    let before = resident();
    attack(1, FRAMES);
    let after = resident();
    assert!(after < before + MEMORY, "{} MiB more", (after - before) >> 20);
}

#[test]
fn a_flood_of_connections_does_no_harm() {
    let attack = Attack::new(2);
    let start = Instant::now();
    let port = attack.ports[0];
    for number in 0..20_000u32 {
        let mut bytes = vec![0; 20];
        let mut segment = TcpPacket::new_unchecked(&mut bytes);
        segment.set_src_port(1 + number as u16);
        segment.set_dst_port(port);
        segment.set_header_len(20);
        segment.set_syn(true);
        segment.set_window_len(1000);
        attack.guest.send_ip(HOST, IpProtocol::Tcp, &bytes);
        if number % 256 == 0 {
            attack.guest.sync();
        }
    }
    assert!(start.elapsed() < TIME);
    attack.guest.sync();
}
