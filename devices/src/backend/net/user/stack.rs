//! The network's thread: waits, takes the guest's frames apart, and hands their contents on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll, Registry};
use smoltcp::time::Instant;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv4DstUnreachable,
    Icmpv4Message, Icmpv4Packet, IpProtocol, Ipv4Packet, UdpPacket,
};

use super::datagram::Datagrams;
use super::dhcp::{self, DhcpServer};
use super::inbox::{Batch, WAKER};
use super::link::Link;
use super::reassembly::Reassembler;
use super::resolver::{DNS_PORT, Resolvers};
use super::tcp::TcpProxy;
use super::{NetError, Shared};
use crate::backend::net::{Config, Protocol, Subnet, config};

/// How many host events are taken at a time.
const EVENTS: usize = 256;
/// How often idle flows and incomplete packets are looked for while there are any.
const SWEEP_INTERVAL: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(1);

/// What an event token is made of: which table, and the entry's number.
pub(super) mod token {
    use crate::backend::net::user::table::MAX_ENTRIES;

    pub(in super::super) const NUMBER: usize = MAX_ENTRIES - 1;
    pub(in super::super) const TCP: usize = 0;
    pub(in super::super) const TCP_LISTENER: usize = MAX_ENTRIES;
    pub(in super::super) const DATAGRAM: usize = 2 * MAX_ENTRIES;
    pub(in super::super) const UDP_FORWARD: usize = 3 * MAX_ENTRIES;
}

/// What the parts of the network share.
pub(super) struct Context {
    pub(super) now: Instant,
    pub(super) subnet: Subnet,
    pub(super) link: Link,
    pub(super) registry: Registry,
    pub(super) resolvers: Resolvers,
}

/// Where a packet of the guest goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// The router.
    Host,
    /// The name server.
    Dns,
    /// Beyond the router.
    Outside,
    /// Nowhere that a router forwards to.
    Nowhere,
}

impl Context {
    pub(super) fn place(&self, address: Ipv4Addr) -> Place {
        match self.subnet.last_byte(address) {
            Some(Subnet::HOST) => Place::Host,
            Some(Subnet::DNS) => Place::Dns,
            Some(_) => Place::Nowhere,
            None if config::is_forwardable(address) => Place::Outside,
            None => Place::Nowhere,
        }
    }

    /// What the host has to connect to, or send to, for a packet to `address` and `port`. Nothing for
    /// [`Place::Nowhere`] and for closed ports of [`Place::Dns`].
    pub(super) fn target(&mut self, address: Ipv4Addr, port: u16) -> Option<SocketAddr> {
        if port == 0 {
            return None;
        }
        match self.place(address) {
            Place::Host => Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)),
            Place::Dns => (port == DNS_PORT).then(|| self.resolvers.server(self.now)),
            Place::Outside => Some(SocketAddr::new(address.into(), port)),
            Place::Nowhere => None,
        }
    }

    /// How the guest sees a host address: as it is, but as the router if it means nothing (or something else)
    /// to the guest.
    pub(super) fn seen_as(&self, address: IpAddr) -> Ipv4Addr {
        match address.to_canonical() {
            IpAddr::V4(address) if self.place(address) == Place::Outside => address,
            _ => self.subnet.host(),
        }
    }
}

/// An IPv4 packet from the guest.
#[derive(Clone, Copy)]
pub(super) struct Packet<'a> {
    pub(super) src: Ipv4Addr,
    pub(super) dst: Ipv4Addr,
    /// The packet from the first byte of its header to the last of its payload.
    pub(super) whole: &'a [u8],
    pub(super) payload: &'a [u8],
}

pub(super) struct Stack {
    poll: Poll,
    shared: Arc<Shared>,
    epoch: std::time::Instant,
    context: Context,
    dhcp: DhcpServer,
    reassembler: Reassembler,
    tcp: TcpProxy,
    datagrams: Datagrams,
    next_sweep: Instant,
}

impl Stack {
    /// Sets everything up, and says where the forwards listen.
    pub(super) fn new(
        config: &Config,
        poll: Poll,
        shared: Arc<Shared>,
    ) -> Result<(Self, Vec<SocketAddr>), NetError> {
        let registry = poll.registry().try_clone().map_err(NetError::Start)?;
        let mut context = Context {
            now: Instant::ZERO,
            subnet: config.subnet,
            link: Link::new(config, Arc::clone(&shared)),
            registry,
            resolvers: Resolvers::new(config.dns, Path::new("/etc/resolv.conf")),
        };
        let mut tcp = TcpProxy::new(config, &mut context);
        let mut datagrams = Datagrams::new(config);
        let mut addresses = Vec::new();
        for forward in &config.forwards {
            let guest = forward.guest.unwrap_or(config.subnet.guest());
            if config.subnet.guest_byte(guest).is_none() {
                return Err(NetError::ForwardGuest(*forward));
            }
            let address = match forward.protocol {
                Protocol::Tcp => tcp.listen(&context, forward.host, (guest, forward.guest_port)),
                Protocol::Udp => datagrams.listen(&context, forward.host, (guest, forward.guest_port)),
            }
            .map_err(|source| NetError::Listen { forward: *forward, source })?;
            addresses.push(address);
        }
        let stack = Self {
            poll,
            shared,
            epoch: std::time::Instant::now(),
            context,
            dhcp: DhcpServer::new(config),
            reassembler: Reassembler::default(),
            tcp,
            datagrams,
            next_sweep: Instant::ZERO,
        };
        Ok((stack, addresses))
    }

    /// Runs until the network is dropped.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut batch = Batch::default();
        loop {
            let timeout = self.timeout();
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                tracing::error!("the user network stops, waiting for host sockets failed: {error}");
                return;
            }
            let requests = self.shared.inbox.take(&mut batch);
            if requests.stop {
                return;
            }
            self.set_now();
            for event in &events {
                let number = event.token().0 & token::NUMBER;
                match event.token().0 & !token::NUMBER {
                    _ if event.token() == WAKER => {}
                    token::TCP => self.tcp.on_event(number, event),
                    token::TCP_LISTENER => self.tcp.on_listener_event(number),
                    token::DATAGRAM => self.datagrams.on_event(number),
                    token::UDP_FORWARD => self.datagrams.on_forward_event(number),
                    _ => {}
                }
            }
            if requests.rx_ready {
                self.context.link.retry();
                self.tcp.unblock(&self.context);
            }
            for frame in batch.frames() {
                self.frame(frame);
            }
            batch.clear();
            self.work();
        }
    }

    fn set_now(&mut self) {
        let elapsed = i64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(i64::MAX);
        self.context.now = Instant::from_micros(elapsed);
        self.context.link.set_now(self.context.now);
    }

    /// How long to wait for events: not at all if there is work, forever if there is no timer either.
    fn timeout(&mut self) -> Option<Duration> {
        let link = &self.context.link;
        if self.tcp.has_work() || self.datagrams.has_work(link) || !self.shared.inbox.may_sleep() {
            return Some(Duration::ZERO);
        }
        let sweep = (!self.reassembler.is_empty() || self.datagrams.needs_sweep() || self.tcp.needs_sweep())
            .then_some(self.next_sweep);
        let next = self.tcp.next_deadline().into_iter().chain(sweep).min()?;
        self.set_now();
        let wait =
            if next > self.context.now { next - self.context.now } else { return Some(Duration::ZERO) };
        Some(wait.into())
    }

    /// Moves data for the sockets and flows that can, and looks after timers.
    fn work(&mut self) {
        self.tcp.run_timers(&self.context);
        self.tcp.run(&mut self.context);
        self.datagrams.run(&mut self.context);
        if self.context.now >= self.next_sweep {
            self.next_sweep = self.context.now + SWEEP_INTERVAL;
            self.reassembler.expire(self.context.now);
            self.datagrams.sweep(&self.context);
            self.tcp.sweep();
        }
    }

    /// Takes one frame from the guest.
    pub(super) fn frame(&mut self, frame: &[u8]) {
        let Ok(ethernet) = EthernetFrame::new_checked(frame) else { return };
        let (src, dst) = (ethernet.src_addr(), ethernet.dst_addr());
        if !src.is_unicast() || !(dst.is_broadcast() || self.context.link.is_own_mac(dst)) {
            return;
        }
        match ethernet.ethertype() {
            EthernetProtocol::Arp => self.arp(ethernet.payload()),
            EthernetProtocol::Ipv4 => self.ipv4(src, ethernet.payload()),
            _ => {}
        }
    }

    fn arp(&mut self, payload: &[u8]) {
        let Ok(packet) = ArpPacket::new_checked(payload) else { return };
        let Ok(ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: mac,
            source_protocol_addr: source,
            target_protocol_addr: target,
            ..
        }) = ArpRepr::parse(&packet)
        else {
            return;
        };
        if !mac.is_unicast() {
            return;
        }
        self.context.link.learn(source, mac);
        // Only for our own addresses, so that a guest that probes its own (RFC 5227) finds it free.
        let ours = matches!(self.context.place(target), Place::Host | Place::Dns);
        if operation == ArpOperation::Request && ours && source != target {
            self.context.link.send_arp(ArpOperation::Reply, target, source, mac);
        }
    }

    fn ipv4(&mut self, mac: EthernetAddress, payload: &[u8]) {
        let Ok(header) = Ipv4Packet::new_checked(payload) else { return };
        if header.version() != 4 || !header.verify_checksum() {
            return;
        }
        // The frame may be longer than the packet. `new_checked` has seen that it is not shorter.
        let Some(whole) = payload.get(..usize::from(header.total_len())) else { return };
        if header.more_frags() || header.frag_offset() != 0 {
            if let Some(whole) = self.reassembler.add(&header, self.context.now) {
                self.packet(mac, &whole);
            }
        } else {
            self.packet(mac, whole);
        }
    }

    fn packet(&mut self, mac: EthernetAddress, whole: &[u8]) {
        let Ok(header) = Ipv4Packet::new_checked(whole) else { return };
        let packet =
            Packet { src: header.src_addr(), dst: header.dst_addr(), whole, payload: header.payload() };
        let protocol = header.next_header();
        if protocol == IpProtocol::Udp && self.dhcp(&packet) {
            return;
        }
        if self.context.subnet.guest_byte(packet.src).is_none() {
            return;
        }
        self.context.link.learn(packet.src, mac);
        if self.context.place(packet.dst) == Place::Nowhere {
            return;
        }
        match protocol {
            IpProtocol::Tcp => self.tcp.ingress(&mut self.context, &packet),
            IpProtocol::Udp => self.datagrams.udp(&mut self.context, &packet),
            IpProtocol::Icmp => self.icmp(&packet),
            _ => {
                let from = self.context.subnet.host();
                let why = Icmpv4DstUnreachable::ProtoUnreachable;
                self.context.link.send_unreachable(from, why, whole);
            }
        }
    }

    fn icmp(&mut self, packet: &Packet<'_>) {
        let Ok(icmp) = Icmpv4Packet::new_checked(packet.payload) else { return };
        if icmp.msg_type() != Icmpv4Message::EchoRequest || icmp.msg_code() != 0 {
            return;
        }
        let ident = icmp.echo_ident();
        match self.context.place(packet.dst) {
            Place::Host | Place::Dns => {
                let mut message = packet.payload.to_vec();
                self.context.link.send_echo_reply(packet.dst, packet.src, ident, &mut message);
            }
            Place::Outside => self.datagrams.ping(&mut self.context, packet, ident),
            Place::Nowhere => {}
        }
    }

    /// Serves a DHCP client; true if the packet was for the server.
    fn dhcp(&mut self, packet: &Packet<'_>) -> bool {
        let subnet = self.context.subnet;
        let Ok(udp) = UdpPacket::new_checked(packet.payload) else { return false };
        if udp.dst_port() != dhcp::SERVER_PORT || !(packet.dst.is_broadcast() || packet.dst == subnet.host())
        {
            return false;
        }
        if let Some(mut reply) = self.dhcp.handle(udp.payload(), self.context.now) {
            self.context.link.learn(reply.to, reply.mac);
            let from = (subnet.host(), dhcp::SERVER_PORT);
            self.context.link.send_udp(from, (reply.to, dhcp::CLIENT_PORT), &mut reply.datagram);
        }
        true
    }
}
