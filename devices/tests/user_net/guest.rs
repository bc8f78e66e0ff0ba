//! A guest made of a second TCP/IP stack, plugged into the network by frames.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use devices::backend::net::{Config, FrameSink, NetBackend, UserNet};
pub use emu_core::testing::Random;
use parking_lot::{Condvar, Mutex};
use smoltcp::iface::{self, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, HardwareAddress,
    IpCidr, IpProtocol, Ipv4Packet,
};

pub const MAC: EthernetAddress = EthernetAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
pub const ROUTER_MAC: EthernetAddress = EthernetAddress([0x52, 0x55, 10, 0, 2, 2]);
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
pub const DNS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A network card with so many receive buffers.
pub struct Card {
    frames: Mutex<VecDeque<Vec<u8>>>,
    arrived: Condvar,
    buffers: AtomicUsize,
    refused: AtomicBool,
}

impl Card {
    /// Takes a frame out, and says whether the card has refused any since the last time.
    fn take(&self) -> (Option<Vec<u8>>, bool) {
        let mut frames = self.frames.lock();
        let frame = frames.pop_front();
        (frame, self.refused.swap(false, Ordering::SeqCst))
    }

    pub fn set_buffers(&self, buffers: usize) {
        self.buffers.store(buffers, Ordering::SeqCst);
    }

    pub fn refused(&self) -> bool {
        self.refused.load(Ordering::SeqCst)
    }
}

impl FrameSink for Card {
    fn receive(&self, frame: &[u8]) -> bool {
        let mut frames = self.frames.lock();
        if frames.len() >= self.buffers.load(Ordering::SeqCst) {
            self.refused.store(true, Ordering::SeqCst);
            return false;
        }
        frames.push_back(frame.to_vec());
        self.arrived.notify_one();
        true
    }
}

/// The card as the guest's stack sees it.
pub struct Port {
    pub net: Arc<UserNet>,
    pub card: Arc<Card>,
}

pub struct Rx(Vec<u8>);
pub struct Tx<'a>(&'a UserNet);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.send(&frame);
        result
    }
}

impl Port {
    pub fn take(&self) -> Option<Vec<u8>> {
        let (frame, refused) = self.card.take();
        if refused {
            self.net.rx_ready();
        }
        frame
    }
}

impl Device for Port {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Rx, Tx<'_>)> {
        let frame = self.take()?;
        Some((Rx(frame), Tx(&self.net)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Tx<'_>> {
        Some(Tx(&self.net))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = usize::from(self.net.mtu()) + 14;
        capabilities
    }
}

pub struct Guest {
    pub port: Port,
    pub interface: Interface,
    pub sockets: SocketSet<'static>,
    epoch: Instant,
    next_port: u16,
}

impl Guest {
    /// A guest with an address of its own, without DHCP.
    pub fn new(config: Config) -> Self {
        let mut guest = Self::without_address(config);
        guest.interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(GUEST.into(), 24)).unwrap();
        });
        guest.interface.routes_mut().add_default_ipv4_route(HOST).unwrap();
        guest
    }

    pub fn without_address(config: Config) -> Self {
        let card = Arc::new(Card {
            frames: Mutex::default(),
            arrived: Condvar::new(),
            buffers: AtomicUsize::new(256),
            refused: AtomicBool::new(false),
        });
        let net = UserNet::start(config).unwrap();
        net.attach(card.clone());
        let mut port = Port { net, card };
        let mut settings = iface::Config::new(HardwareAddress::Ethernet(MAC));
        settings.random_seed = 42;
        let interface = Interface::new(settings, &mut port, smoltcp::time::Instant::ZERO);
        Self {
            port,
            interface,
            sockets: SocketSet::new(Vec::new()),
            epoch: Instant::now(),
            next_port: 50_000,
        }
    }

    fn now(&self) -> smoltcp::time::Instant {
        smoltcp::time::Instant::from_micros(self.epoch.elapsed().as_micros() as i64)
    }

    /// Lets the guest's stack work once, and waits a little if it had nothing to do.
    pub fn poll(&mut self) {
        let now = self.now();
        self.interface.poll(now, &mut self.port, &mut self.sockets);
        let mut frames = self.port.card.frames.lock();
        if frames.is_empty() {
            self.port.card.arrived.wait_for(&mut frames, Duration::from_millis(2));
        }
    }

    /// Lets the guest's stack work until `done`, which may act on the sockets.
    #[track_caller]
    pub fn run<T>(&mut self, what: &str, mut done: impl FnMut(&mut SocketSet<'static>) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(result) = done(&mut self.sockets) {
                // What it has left in the sockets goes out.
                let now = self.now();
                self.interface.poll(now, &mut self.port, &mut self.sockets);
                return result;
            }
            assert!(start.elapsed() < PATIENCE, "timed out: {what}");
            self.poll();
        }
    }

    /// A TCP socket that begins to connect.
    pub fn connect(&mut self, address: Ipv4Addr, port: u16) -> SocketHandle {
        let mut socket = tcp_socket();
        self.next_port += 1;
        socket.connect(self.interface.context(), (address, port), self.next_port).unwrap();
        self.sockets.add(socket)
    }

    /// A TCP socket that is connected.
    #[track_caller]
    pub fn connected(&mut self, address: Ipv4Addr, port: u16) -> SocketHandle {
        let handle = self.connect(address, port);
        self.run("connect", |sockets| sockets.get::<tcp::Socket>(handle).may_send().then_some(()));
        handle
    }

    /// A TCP socket that waits for connections.
    pub fn listen(&mut self, port: u16) -> SocketHandle {
        let mut socket = tcp_socket();
        socket.listen(port).unwrap();
        self.sockets.add(socket)
    }

    /// Sends all of `data` through a socket.
    #[track_caller]
    pub fn send(&mut self, handle: SocketHandle, data: &[u8]) {
        let mut sent = 0;
        self.run("send", |sockets| {
            sent += sockets.get_mut::<tcp::Socket>(handle).send_slice(&data[sent..]).unwrap();
            (sent == data.len()).then_some(())
        });
    }

    /// Receives until the peer has ended, once there is one; panics at a reset.
    #[track_caller]
    pub fn receive_all(&mut self, handle: SocketHandle) -> Vec<u8> {
        let mut data = Vec::new();
        self.run("receive", |sockets| {
            let socket = sockets.get_mut::<tcp::Socket>(handle);
            if matches!(socket.state(), tcp::State::Listen | tcp::State::SynReceived) {
                return None;
            }
            loop {
                match socket.recv(|bytes| (bytes.len(), data.extend_from_slice(bytes))) {
                    Ok(()) if socket.can_recv() => {}
                    Ok(()) => return None,
                    Err(tcp::RecvError::Finished) => return Some(()),
                    Err(error) => panic!("{error:?} after {} bytes", data.len()),
                }
            }
        });
        data
    }

    /// Sends a frame that the guest's stack knows nothing of.
    pub fn send_frame(&self, protocol: EthernetProtocol, payload: &[u8]) {
        let mut frame = vec![0; 14 + payload.len()];
        let mut ethernet = EthernetFrame::new_unchecked(&mut frame);
        ethernet.set_src_addr(MAC);
        ethernet.set_dst_addr(ROUTER_MAC);
        ethernet.set_ethertype(protocol);
        ethernet.payload_mut().copy_from_slice(payload);
        self.port.net.send(&frame);
    }

    /// Sends an IPv4 packet in one frame.
    pub fn send_ip(&self, dst: Ipv4Addr, protocol: IpProtocol, payload: &[u8]) {
        self.send_frame(EthernetProtocol::Ipv4, &ip_packet(dst, protocol, payload, 0, false));
    }

    /// The first frame that `wanted` accepts; the guest's stack does not see any meanwhile.
    pub fn frame<T>(&self, patience: Duration, mut wanted: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
        let start = Instant::now();
        while start.elapsed() < patience {
            match self.port.take() {
                Some(frame) => {
                    if let Some(result) = wanted(&frame) {
                        return Some(result);
                    }
                }
                None => {
                    let mut frames = self.port.card.frames.lock();
                    if frames.is_empty() {
                        self.port.card.arrived.wait_for(&mut frames, Duration::from_millis(5));
                    }
                }
            }
        }
        None
    }

    /// The first IPv4 packet that `wanted` accepts.
    pub fn ip<T>(
        &self,
        patience: Duration,
        mut wanted: impl FnMut(&Ipv4Packet<&[u8]>) -> Option<T>,
    ) -> Option<T> {
        self.frame(patience, |frame| {
            let ethernet = EthernetFrame::new_checked(frame).unwrap();
            if ethernet.ethertype() != EthernetProtocol::Ipv4 {
                return None;
            }
            let packet = Ipv4Packet::new_checked(ethernet.payload()).unwrap();
            assert!(packet.verify_checksum());
            wanted(&packet)
        })
    }

    /// Makes the router know where the guest is, and waits until it has taken everything sent so far.
    pub fn sync(&self) {
        assert_eq!(self.arp(HOST, PATIENCE), Some(ROUTER_MAC));
    }

    /// Asks who has `target`.
    pub fn arp(&self, target: Ipv4Addr, patience: Duration) -> Option<EthernetAddress> {
        let repr = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: MAC,
            source_protocol_addr: GUEST,
            target_hardware_addr: EthernetAddress([0; 6]),
            target_protocol_addr: target,
        };
        let mut payload = vec![0; repr.buffer_len()];
        repr.emit(&mut ArpPacket::new_unchecked(&mut payload));
        self.send_frame(EthernetProtocol::Arp, &payload);
        self.frame(patience, |frame| {
            let ethernet = EthernetFrame::new_checked(frame).unwrap();
            let reply = ArpRepr::parse(&ArpPacket::new_checked(ethernet.payload()).ok()?).ok()?;
            match reply {
                ArpRepr::EthernetIpv4 {
                    operation: ArpOperation::Reply,
                    source_hardware_addr,
                    source_protocol_addr,
                    ..
                } if source_protocol_addr == target => Some(source_hardware_addr),
                _ => None,
            }
        })
    }
}

pub fn tcp_socket() -> tcp::Socket<'static> {
    let buffer = || tcp::SocketBuffer::new(vec![0; 256 << 10]);
    let mut socket = tcp::Socket::new(buffer(), buffer());
    socket.set_ack_delay(None);
    socket
}

/// An IPv4 packet of the guest, or a fragment of one.
pub fn ip_packet(dst: Ipv4Addr, protocol: IpProtocol, payload: &[u8], offset: u16, more: bool) -> Vec<u8> {
    let mut bytes = vec![0; 20 + payload.len()];
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes);
    packet.set_version(4);
    packet.set_header_len(20);
    packet.set_total_len(20 + payload.len() as u16);
    packet.set_ident(77);
    packet.set_more_frags(more);
    packet.set_frag_offset(offset);
    packet.set_hop_limit(64);
    packet.set_next_header(protocol);
    packet.set_src_addr(GUEST);
    packet.set_dst_addr(dst);
    packet.fill_checksum();
    packet.payload_mut().copy_from_slice(payload);
    bytes
}

/// Bytes that look random and are the same every time.
pub fn noise(length: usize) -> Vec<u8> {
    let mut random = Random(length as u64);
    (0..length.div_ceil(8)).flat_map(|_| random.bits().to_le_bytes()).take(length).collect()
}
