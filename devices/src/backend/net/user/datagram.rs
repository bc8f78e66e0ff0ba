//! Translation of what has no connections: UDP, DNS over UDP, and pings.
//!
//! Each source port (or ping identifier) of the guest has one host socket. A UDP socket is not connected, so
//! the guest can reach any peer from one port, and any peer it.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::net::UdpSocket;
use mio::{Interest, Token};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{Icmpv4DstUnreachable, Icmpv4Message, Icmpv4Packet, UDP_HEADER_LEN, UdpPacket};

use super::link::Link;
use super::stack::{Context, Packet, Place, token};
use super::table::Table;
use crate::backend::net::Config;

/// How long sockets for DNS and pings stay open without traffic.
const DNS_IDLE: Duration = Duration::from_secs(20);
const PING_IDLE: Duration = Duration::from_secs(30);
/// How many clients of forwarded UDP ports are told apart. One more displaces the longest idle.
const MAX_CLIENTS: usize = 256;
/// How many datagrams are taken from one socket before the next has its turn.
const BURST: usize = 64;
/// How much of a DNS question is kept for an error message: the longest IPv4 header and 8 bytes (RFC 792).
const QUESTION: usize = 60 + 8;
/// How many ports are tried to tell clients of a forward apart that look the same to the guest.
const PORT_TRIES: u16 = 64;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Kind {
    Udp,
    Dns,
    Ping,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Key {
    kind: Kind,
    guest: Ipv4Addr,
    /// The UDP port or the ping's identifier.
    id: u16,
}

struct Flow {
    socket: UdpSocket,
    used: Instant,
    queued: bool,
    /// DNS only: the server that the socket is connected to.
    server: Option<SocketAddr>,
    /// DNS only: the start of the guest's last packet, for an error message.
    question: Vec<u8>,
}

struct Forward {
    socket: UdpSocket,
    guest: (Ipv4Addr, u16),
    queued: bool,
}

/// Somebody who has sent to a forwarded port.
struct Client {
    forward: usize,
    address: SocketAddr,
    guest: (Ipv4Addr, u16),
    /// The client as the guest knows it.
    seen: (Ipv4Addr, u16),
    used: Instant,
}

#[derive(Clone, Copy)]
enum Readable {
    Flow(usize),
    Forward(usize),
}

pub(super) struct Datagrams {
    flows: Table<Key, Flow>,
    udp_idle: Duration,
    forwards: Vec<Forward>,
    clients: Vec<Client>,
    /// The sockets that may have something to read, each once.
    readable: VecDeque<Readable>,
    /// Space for a UDP header and the longest datagram.
    buffer: Box<[u8]>,
}

impl Datagrams {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            flows: Table::new(config.limits.datagram_flows),
            udp_idle: config.limits.udp_idle.into(),
            forwards: Vec::new(),
            clients: Vec::new(),
            readable: VecDeque::new(),
            buffer: vec![0; UDP_HEADER_LEN + usize::from(u16::MAX)].into(),
        }
    }

    /// Opens a port for clients of the guest.
    pub(super) fn listen(
        &mut self,
        context: &Context,
        host: SocketAddr,
        guest: (Ipv4Addr, u16),
    ) -> io::Result<SocketAddr> {
        let mut socket = UdpSocket::bind(host)?;
        let number = self.forwards.len();
        context.registry.register(&mut socket, Token(token::UDP_FORWARD | number), Interest::READABLE)?;
        let address = socket.local_addr()?;
        self.forwards.push(Forward { socket, guest, queued: false });
        Ok(address)
    }

    pub(super) fn on_event(&mut self, number: usize) {
        if let Some((_, flow)) = self.flows.get_mut(number)
            && !std::mem::replace(&mut flow.queued, true)
        {
            self.readable.push_back(Readable::Flow(number));
        }
    }

    pub(super) fn on_forward_event(&mut self, number: usize) {
        if let Some(forward) = self.forwards.get_mut(number)
            && !std::mem::replace(&mut forward.queued, true)
        {
            self.readable.push_back(Readable::Forward(number));
        }
    }

    pub(super) fn has_work(&self, link: &Link) -> bool {
        !self.readable.is_empty() && !link.is_blocked()
    }

    pub(super) fn needs_sweep(&self) -> bool {
        !self.flows.is_empty() || !self.clients.is_empty()
    }

    /// Closes what has been idle for too long.
    pub(super) fn sweep(&mut self, context: &Context) {
        let now = context.now;
        let idle = |kind| match kind {
            Kind::Udp => self.udp_idle,
            Kind::Dns => DNS_IDLE,
            Kind::Ping => PING_IDLE,
        };
        let old: Vec<usize> = self
            .flows
            .iter()
            .filter(|(_, key, flow)| now >= flow.used + idle(key.kind))
            .map(|(number, ..)| number)
            .collect();
        for number in old {
            self.close(context, number);
        }
        self.clients.retain(|client| now < client.used + self.udp_idle);
    }

    fn close(&mut self, context: &Context, number: usize) {
        if let Some(mut flow) = self.flows.remove(number) {
            // Closing the socket deregisters it as well.
            let _ = context.registry.deregister(&mut flow.socket);
        }
    }

    /// Sends a UDP packet of the guest.
    pub(super) fn udp(&mut self, context: &mut Context, packet: &Packet<'_>) {
        let Ok(udp) = UdpPacket::new_checked(packet.payload) else { return };
        let (guest, peer) = ((packet.src, udp.src_port()), (packet.dst, udp.dst_port()));
        if guest.1 == 0 || peer.1 == 0 {
            return;
        }
        if self.answer_client(context.now, guest, peer, udp.payload()) {
            return;
        }
        let Some(target) = context.target(peer.0, peer.1) else {
            context.link.send_unreachable(peer.0, Icmpv4DstUnreachable::PortUnreachable, packet.whole);
            return;
        };
        let is_dns = context.place(peer.0) == Place::Dns;
        let kind = if is_dns { Kind::Dns } else { Kind::Udp };
        let key = Key { kind, guest: guest.0, id: guest.1 };
        let sent = self.flow(context, key, is_dns.then_some(target)).and_then(|flow| {
            if is_dns {
                context.resolvers.asked(context.now);
                flow.question.clear();
                flow.question.extend_from_slice(&packet.whole[..packet.whole.len().min(QUESTION)]);
                flow.socket.send(udp.payload())
            } else {
                flow.socket.send_to(udp.payload(), target)
            }
        });
        if let Err(error) = sent {
            if is_dns {
                context.resolvers.failed();
            }
            report(context, packet, &error);
        }
    }

    /// Sends a ping of the guest.
    pub(super) fn ping(&mut self, context: &mut Context, packet: &Packet<'_>, ident: u16) {
        let key = Key { kind: Kind::Ping, guest: packet.src, id: ident };
        let target = SocketAddr::new(packet.dst.into(), 0);
        // The host's socket puts its own identifier and checksum in.
        let sent = self.flow(context, key, None).and_then(|flow| flow.socket.send_to(packet.payload, target));
        if let Err(error) = sent {
            report(context, packet, &error);
        }
    }

    /// The flow for `key` with a socket connected to `server` (if any), opened if need be.
    fn flow(&mut self, context: &Context, key: Key, server: Option<SocketAddr>) -> io::Result<&mut Flow> {
        let known = self
            .flows
            .find(&key)
            .filter(|number| self.flows.get(*number).is_some_and(|flow| flow.server == server));
        let number = match known {
            Some(number) => number,
            None => self.open(context, key, server)?,
        };
        let (_, flow) = self.flows.get_mut(number).ok_or(io::ErrorKind::NotFound)?;
        flow.used = context.now;
        Ok(flow)
    }

    fn open(&mut self, context: &Context, key: Key, server: Option<SocketAddr>) -> io::Result<usize> {
        // A socket for the same key but another server, or else room for one more.
        let oldest = || self.flows.iter().min_by_key(|(.., flow)| flow.used).map(|(number, ..)| number);
        let displaced = self.flows.find(&key).or_else(|| self.flows.is_full().then(oldest).flatten());
        if let Some(number) = displaced {
            self.close(context, number);
        }
        let any = match server {
            Some(SocketAddr::V6(_)) => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
            _ => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        };
        let mut socket = match key.kind {
            Kind::Udp | Kind::Dns => UdpSocket::bind(any)?,
            Kind::Ping => ping_socket()?,
        };
        if let Some(server) = server {
            socket.connect(server)?;
        }
        let token = Token(token::DATAGRAM | self.flows.next_number());
        context.registry.register(&mut socket, token, Interest::READABLE)?;
        let flow = Flow { socket, used: context.now, queued: false, server, question: Vec::new() };
        // It fails only if the configuration allows no flows at all.
        self.flows.insert(key, flow).ok_or_else(|| io::ErrorKind::QuotaExceeded.into())
    }

    /// Sends the guest's packet to a client of a forwarded port; false if it is not for one.
    fn answer_client(
        &mut self,
        now: Instant,
        guest: (Ipv4Addr, u16),
        peer: (Ipv4Addr, u16),
        payload: &[u8],
    ) -> bool {
        let found = self.clients.iter_mut().find(|client| client.guest == guest && client.seen == peer);
        let Some(client) = found else { return false };
        client.used = now;
        if let Some(forward) = self.forwards.get(client.forward) {
            // A datagram that cannot be sent is lost, as anywhere.
            let _ = forward.socket.send_to(payload, client.address);
        }
        true
    }

    /// How the guest sees a client of a forwarded port; the same for all of its datagrams.
    fn client(&mut self, context: &Context, forward: usize, address: SocketAddr) -> Option<Client> {
        let guest = self.forwards.get(forward)?.guest;
        let known =
            self.clients.iter().position(|known| known.forward == forward && known.address == address);
        if let Some(index) = known {
            return Some(self.clients.swap_remove(index));
        }
        let ip = context.seen_as(address.ip());
        let port = (0..PORT_TRIES).map(|step| address.port().wrapping_add(step)).find(|port| {
            *port != 0 && !self.clients.iter().any(|c| c.guest == guest && c.seen == (ip, *port))
        })?;
        if self.clients.len() >= MAX_CLIENTS
            && let Some(oldest) = (0..self.clients.len()).min_by_key(|index| self.clients[*index].used)
        {
            self.clients.swap_remove(oldest);
        }
        Some(Client { forward, address, guest, seen: (ip, port), used: context.now })
    }

    /// Passes on what the host's sockets have received, as long as the guest's card takes it.
    pub(super) fn run(&mut self, context: &mut Context) {
        for _ in 0..self.readable.len() {
            let Some(readable) = self.readable.pop_front() else { return };
            let mut empty = false;
            for _ in 0..BURST {
                if context.link.is_blocked() {
                    break;
                }
                let received = match readable {
                    Readable::Flow(number) => self.receive(context, number),
                    Readable::Forward(number) => self.receive_forward(context, number),
                };
                if !received {
                    empty = true;
                    break;
                }
            }
            if !empty {
                self.readable.push_back(readable);
                continue;
            }
            match readable {
                Readable::Flow(number) => {
                    if let Some((_, flow)) = self.flows.get_mut(number) {
                        flow.queued = false;
                    }
                }
                Readable::Forward(number) => {
                    if let Some(forward) = self.forwards.get_mut(number) {
                        forward.queued = false;
                    }
                }
            }
        }
    }

    /// Passes one datagram on; false if there is none.
    fn receive(&mut self, context: &mut Context, number: usize) -> bool {
        let Some((key, flow)) = self.flows.get_mut(number) else { return false };
        let guest = (key.guest, key.id);
        let (length, from) = match flow.socket.recv_from(&mut self.buffer[UDP_HEADER_LEN..]) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) if key.kind == Kind::Dns && error.kind() == io::ErrorKind::ConnectionRefused => {
                context.resolvers.failed();
                let from = context.subnet.dns();
                context.link.send_unreachable(from, Icmpv4DstUnreachable::PortUnreachable, &flow.question);
                return true;
            }
            Err(error) => return is_passing(&error),
        };
        flow.used = context.now;
        let datagram = &mut self.buffer[..UDP_HEADER_LEN + length];
        match key.kind {
            Kind::Udp => {
                let peer = (context.seen_as(from.ip()), from.port());
                context.link.send_udp(peer, guest, datagram);
            }
            Kind::Dns => {
                context.resolvers.answered();
                let server = (context.subnet.dns(), super::resolver::DNS_PORT);
                context.link.send_udp(server, guest, datagram);
            }
            Kind::Ping => {
                let message = &mut datagram[UDP_HEADER_LEN..];
                let is_reply = Icmpv4Packet::new_checked(&*message)
                    .is_ok_and(|icmp| icmp.msg_type() == Icmpv4Message::EchoReply);
                if is_reply {
                    context.link.send_echo_reply(context.seen_as(from.ip()), guest.0, guest.1, message);
                }
            }
        }
        true
    }

    fn receive_forward(&mut self, context: &mut Context, number: usize) -> bool {
        let Some(forward) = self.forwards.get(number) else { return false };
        match forward.socket.recv_from(&mut self.buffer[UDP_HEADER_LEN..]) {
            Ok((length, from)) => {
                if let Some(mut client) = self.client(context, number, from) {
                    client.used = context.now;
                    let datagram = &mut self.buffer[..UDP_HEADER_LEN + length];
                    context.link.send_udp(client.seen, client.guest, datagram);
                    self.clients.push(client);
                }
                true
            }
            Err(error) => is_passing(&error),
        }
    }
}

/// A socket for echo requests that needs no privilege where the host allows it (`net.ipv4.ping_group_range`).
fn ping_socket() -> io::Result<UdpSocket> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, Some(ipproto::ICMP))?;
    Ok(UdpSocket::from_std(socket.into()))
}

/// Whether an error is one that an earlier datagram has met, so that there may be more to receive after it.
fn is_passing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted || unreachable(error).is_some()
}

/// Tells the guest why the host did not send its packet, if it is a reason that concerns the guest.
fn report(context: &mut Context, packet: &Packet<'_>, error: &io::Error) {
    if let Some(why) = unreachable(error) {
        let from = match why {
            Icmpv4DstUnreachable::PortUnreachable => packet.dst,
            _ => context.subnet.host(),
        };
        context.link.send_unreachable(from, why, packet.whole);
    }
}

/// What a router would say where the host has said `error`.
pub(super) fn unreachable(error: &io::Error) -> Option<Icmpv4DstUnreachable> {
    match Errno::from_io_error(error)? {
        Errno::CONNREFUSED => Some(Icmpv4DstUnreachable::PortUnreachable),
        Errno::NETUNREACH => Some(Icmpv4DstUnreachable::NetUnreachable),
        Errno::HOSTUNREACH | Errno::TIMEDOUT => Some(Icmpv4DstUnreachable::HostUnreachable),
        Errno::ACCESS | Errno::PERM | Errno::PROTONOSUPPORT => Some(Icmpv4DstUnreachable::CommProhibited),
        _ => None,
    }
}
