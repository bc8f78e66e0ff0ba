//! TCP: the guest's half of a connection ends in a smoltcp socket, the host's in a socket of the host.
//!
//! A connection of the guest is first made on the host, and only then accepted, so the guest sees refusals as
//! they are. Each connection has a smoltcp socket set of its own: a packet is shown to the one socket that it
//! is for, and many connections cost no more per packet than one.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Token};
use smoltcp::iface::{self, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{self, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpCidr, TcpPacket};

use super::datagram::unreachable;
use super::link::LinkDevice;
use super::stack::{Context, Packet, token};
use super::table::Table;
use crate::backend::net::Config;

/// How much of the guest's data may wait for the host, per connection. The memory is touched only when used.
const FROM_GUEST: usize = 256 << 10;
/// How much of the host's data may wait for the guest's acknowledgement, per connection.
const TO_GUEST: usize = 512 << 10;
/// How long the guest may take to answer while a connection is made.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the guest may be silent on a connection (RFC 5382 REQ-5), and how often it is asked to say
/// something.
const IDLE_TIMEOUT: Duration = Duration::from_secs(124 * 60);
const KEEP_ALIVE: Duration = Duration::from_secs(10 * 60);
/// How long the host may take nothing of what a guest has sent that is done with the connection.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(120);
/// The shortest time between two looks at a connection that wants attention at once but can do nothing.
const MIN_WAIT: Duration = Duration::from_millis(1);
/// How many connections of a listener are accepted before others have their turn.
const ACCEPTS: usize = 16;
/// Where the ports begin that stand for a client's port when that is taken (RFC 6335 section 6).
const DYNAMIC_PORTS: u16 = 49_152;

/// A connection as the guest sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Key {
    guest: (Ipv4Addr, u16),
    peer: (Ipv4Addr, u16),
}

/// What can still come from the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum FromHost {
    Data,
    /// It has sent all of its data.
    Ended,
    /// The connection is broken.
    Reset,
}

/// The guest's half.
enum Guest {
    /// The host connects. The guest's SYN is answered after that.
    Waiting { syn: Vec<u8> },
    /// There is a connection, or one is being made.
    Open(Box<Open>),
    /// The guest is done. The host has not yet taken all of its data.
    Done { data: Vec<u8>, sent: usize, until: Instant },
}

struct Open {
    /// Holds one socket.
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    established: bool,
}

struct Connection {
    guest: Guest,
    host: TcpStream,
    readable: bool,
    writable: bool,
    from_host: FromHost,
    /// The host takes nothing any more; what the guest still sends is thrown away.
    host_deaf: bool,
    /// The guest has sent all of its data and the host knows.
    ended_to_host: bool,
    /// In the list of connections to look at.
    queued: bool,
}

struct Listener {
    socket: TcpListener,
    guest: (Ipv4Addr, u16),
    /// There may be a connection to accept.
    ready: bool,
    /// The host could not accept; wait for the next sweep.
    stuck: bool,
}

pub(super) struct TcpProxy {
    interface: Interface,
    connections: Table<Key, Connection>,
    /// When each connection wants to be looked at again, by its number.
    deadlines: Vec<Option<Instant>>,
    /// Connections to look at.
    queue: VecDeque<usize>,
    listeners: Vec<Listener>,
    /// No socket: what smoltcp is given with it, it refuses.
    nothing: SocketSet<'static>,
}

impl TcpProxy {
    pub(super) fn new(config: &Config, context: &mut Context) -> Self {
        let mut settings = iface::Config::new(HardwareAddress::Ip);
        // Sequence numbers that cannot be told beforehand (RFC 6528).
        settings.random_seed = RandomState::new().build_hasher().finish();
        let mut device = LinkDevice { link: &mut context.link, packet: None };
        let mut interface = Interface::new(settings, &mut device, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // There is room for more than one.
            let _ = addresses.push(IpCidr::new(config.subnet.host().into(), 24));
        });
        // Every address outside the guest is answered by one of our sockets.
        interface.set_any_ip(true);
        Self {
            interface,
            connections: Table::new(config.limits.tcp_connections),
            deadlines: Vec::new(),
            queue: VecDeque::new(),
            listeners: Vec::new(),
            nothing: SocketSet::new(Vec::new()),
        }
    }

    /// Opens a port whose connections lead to the guest.
    pub(super) fn listen(
        &mut self,
        context: &Context,
        host: SocketAddr,
        guest: (Ipv4Addr, u16),
    ) -> io::Result<SocketAddr> {
        let mut socket = TcpListener::bind(host)?;
        let number = self.listeners.len();
        context.registry.register(&mut socket, Token(token::TCP_LISTENER | number), Interest::READABLE)?;
        let address = socket.local_addr()?;
        self.listeners.push(Listener { socket, guest, ready: false, stuck: false });
        Ok(address)
    }

    pub(super) fn on_event(&mut self, number: usize, event: &Event) {
        let Some((_, connection)) = self.connections.get_mut(number) else { return };
        let broken = event.is_error();
        connection.readable |= broken || event.is_readable() || event.is_read_closed();
        connection.writable |= broken || event.is_writable() || event.is_write_closed();
        self.enqueue(number);
    }

    pub(super) fn on_listener_event(&mut self, number: usize) {
        if let Some(listener) = self.listeners.get_mut(number) {
            listener.ready = true;
        }
    }

    /// Whether [`run`](Self::run) has something to do now.
    pub(super) fn has_work(&self) -> bool {
        !self.queue.is_empty() || self.listeners.iter().any(|listener| listener.ready && !listener.stuck)
    }

    /// Whether [`sweep`](Self::sweep) is wanted.
    pub(super) fn needs_sweep(&self) -> bool {
        self.listeners.iter().any(|listener| listener.stuck)
    }

    /// Lets listeners try again that could not accept.
    pub(super) fn sweep(&mut self) {
        for listener in &mut self.listeners {
            listener.stuck = false;
        }
    }

    /// When [`run_timers`](Self::run_timers) is to be called next.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.iter().flatten().min().copied()
    }

    pub(super) fn run_timers(&mut self, context: &Context) {
        for number in 0..self.deadlines.len() {
            if self.deadlines[number].is_some_and(|deadline| deadline <= context.now) {
                self.deadlines[number] = None;
                self.enqueue(number);
            }
        }
    }

    /// Looks at every connection again: the guest's card takes frames again.
    pub(super) fn unblock(&mut self, context: &Context) {
        if context.link.is_blocked() {
            return;
        }
        let numbers: Vec<usize> = self.connections.numbers().collect();
        for number in numbers {
            self.enqueue(number);
        }
    }

    fn enqueue(&mut self, number: usize) {
        if let Some((_, connection)) = self.connections.get_mut(number)
            && !std::mem::replace(&mut connection.queued, true)
        {
            self.queue.push_back(number);
        }
    }

    /// Takes a TCP packet of the guest.
    pub(super) fn ingress(&mut self, context: &mut Context, packet: &Packet<'_>) {
        let Ok(segment) = TcpPacket::new_checked(packet.payload) else { return };
        let key = Key { guest: (packet.src, segment.src_port()), peer: (packet.dst, segment.dst_port()) };
        if key.guest.1 == 0 || key.peer.1 == 0 {
            return;
        }
        let opens = segment.syn() && !segment.ack() && !segment.rst() && !segment.fin();
        let Some(number) = self.connections.find(&key) else {
            if opens {
                self.connect(context, key, packet);
            } else {
                self.refuse(context, packet.whole);
            }
            return;
        };
        let Some((_, connection)) = self.connections.get_mut(number) else { return };
        match &mut connection.guest {
            Guest::Open(open) => {
                show(&mut self.interface, context, &mut open.sockets, packet.whole);
                self.enqueue(number);
            }
            // A repeated SYN waits like the first one.
            Guest::Waiting { .. } if segment.rst() => self.close(context, number, true),
            Guest::Waiting { .. } => {}
            Guest::Done { .. } => self.refuse(context, packet.whole),
        }
    }

    /// Answers a packet that no connection wants, by the rules: with a reset unless it is one.
    fn refuse(&mut self, context: &mut Context, packet: &[u8]) {
        show(&mut self.interface, context, &mut self.nothing, packet);
    }

    /// Starts to connect on the host for a guest's SYN.
    fn connect(&mut self, context: &mut Context, key: Key, packet: &Packet<'_>) {
        let Some(target) = context.target(key.peer.0, key.peer.1) else {
            self.refuse(context, packet.whole);
            return;
        };
        // Lost for now. The guest will try again, and there may be room then.
        if self.connections.is_full() {
            return;
        }
        match TcpStream::connect(target) {
            Ok(host) => {
                let syn = packet.whole.to_vec();
                if let Err(error) = self.add(context, key, host, Guest::Waiting { syn }) {
                    tracing::warn!("cannot watch a connection to {target}: {error}");
                }
            }
            Err(error) => self.fail(context, packet.whole, &error),
        }
    }

    /// Tells the guest why there is no connection for its SYN.
    fn fail(&mut self, context: &mut Context, syn: &[u8], error: &io::Error) {
        match unreachable(error) {
            Some(why) if error.kind() != io::ErrorKind::ConnectionRefused => {
                let from = context.subnet.host();
                context.link.send_unreachable(from, why, syn);
            }
            _ => self.refuse(context, syn),
        }
    }

    fn add(
        &mut self,
        context: &Context,
        key: Key,
        mut host: TcpStream,
        guest: Guest,
    ) -> io::Result<Option<usize>> {
        let token = Token(token::TCP | self.connections.next_number());
        context.registry.register(&mut host, token, Interest::READABLE | Interest::WRITABLE)?;
        let number = self.connections.insert(
            key,
            Connection {
                guest,
                host,
                readable: false,
                writable: false,
                from_host: FromHost::Data,
                host_deaf: false,
                ended_to_host: false,
                queued: false,
            },
        );
        if let Some(number) = number
            && self.deadlines.len() <= number
        {
            self.deadlines.resize(number + 1, None);
        }
        Ok(number)
    }

    /// Forgets a connection. The host's side sees a reset if `reset`, else the end of data.
    fn close(&mut self, context: &Context, number: usize, reset: bool) {
        if let Some(mut connection) = self.connections.remove(number) {
            if reset {
                reset_on_close(&connection.host);
            }
            // Closing the socket deregisters it as well.
            let _ = context.registry.deregister(&mut connection.host);
        }
        if let Some(deadline) = self.deadlines.get_mut(number) {
            *deadline = None;
        }
    }

    /// Does what can be done for the connections that something has happened to.
    pub(super) fn run(&mut self, context: &mut Context) {
        for number in 0..self.listeners.len() {
            self.accept(context, number);
        }
        for _ in 0..self.queue.len() {
            let Some(number) = self.queue.pop_front() else { return };
            if let Some((_, connection)) = self.connections.get_mut(number) {
                connection.queued = false;
                self.serve(context, number);
            }
        }
    }

    fn accept(&mut self, context: &mut Context, number: usize) {
        for _ in 0..ACCEPTS {
            let Some(listener) = self.listeners.get_mut(number) else { return };
            if !listener.ready || listener.stuck {
                return;
            }
            let guest = listener.guest;
            match listener.socket.accept() {
                Ok((host, client)) => {
                    if let Err(error) = self.accepted(context, guest, host, client) {
                        tracing::warn!("cannot pass on a connection from {client}: {error}");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => listener.ready = false,
                // The client has given up, or the host is out of something.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!("cannot accept a connection for the guest: {error}");
                    listener.stuck = true;
                }
            }
        }
    }

    /// Connects to the guest for a client of the host.
    fn accepted(
        &mut self,
        context: &mut Context,
        guest: (Ipv4Addr, u16),
        host: TcpStream,
        client: SocketAddr,
    ) -> io::Result<()> {
        let ip = context.seen_as(client.ip());
        // Clients that look the same to the guest get other ports.
        let free = std::iter::once(client.port())
            .chain(DYNAMIC_PORTS..=u16::MAX)
            .map(|port| Key { guest, peer: (ip, port) })
            .find(|key| self.connections.find(key).is_none());
        let Some(key) = free.filter(|_| !self.connections.is_full()) else {
            reset_on_close(&host);
            return Ok(());
        };
        let mut socket = new_socket();
        socket.connect(self.interface.context(), key.guest, key.peer).map_err(io::Error::other)?;
        let number = self.add(context, key, host, Guest::Open(Box::new(Open::new(socket))))?;
        if let Some(number) = number {
            self.enqueue(number);
        }
        Ok(())
    }

    /// Does what can be done for one connection.
    fn serve(&mut self, context: &mut Context, number: usize) {
        let Some((key, connection)) = self.connections.get_mut(number) else { return };
        if let Guest::Waiting { syn } = &mut connection.guest {
            if !connection.writable {
                return;
            }
            match connected(&connection.host) {
                Ok(false) => connection.writable = false,
                Ok(true) => {
                    let syn = std::mem::take(syn);
                    let mut socket = new_socket();
                    // It fails only for port 0, for which there are no connections.
                    let _ = socket.listen(key.peer);
                    let mut open = Box::new(Open::new(socket));
                    show(&mut self.interface, context, &mut open.sockets, &syn);
                    connection.guest = Guest::Open(open);
                }
                Err(error) => {
                    let syn = std::mem::take(syn);
                    self.close(context, number, false);
                    self.fail(context, &syn, &error);
                    return;
                }
            }
        }

        let Some((_, connection)) = self.connections.get_mut(number) else { return };
        let next = connection.progress(&mut self.interface, context);
        match next {
            Next::Wait(deadline) => {
                if let Some(slot) = self.deadlines.get_mut(number) {
                    *slot = deadline;
                }
            }
            Next::Close { reset } => self.close(context, number, reset),
        }
    }
}

/// What becomes of a connection after one round.
enum Next {
    /// It waits for an event, or for the time to come.
    Wait(Option<Instant>),
    Close {
        /// The host's side is to see a reset.
        reset: bool,
    },
}

impl Connection {
    /// Moves data both ways as far as it goes.
    fn progress(&mut self, interface: &mut Interface, context: &mut Context) -> Next {
        match &mut self.guest {
            Guest::Waiting { .. } => Next::Wait(None),
            Guest::Open(_) => self.progress_open(interface, context),
            Guest::Done { .. } => self.drain(context),
        }
    }

    fn progress_open(&mut self, interface: &mut Interface, context: &mut Context) -> Next {
        let Guest::Open(open) = &mut self.guest else { return Next::Wait(None) };
        let socket = open.sockets.get_mut::<tcp::Socket<'_>>(open.handle);
        if !open.established && socket.may_send() {
            open.established = true;
            socket.set_timeout(Some(IDLE_TIMEOUT));
            socket.set_keep_alive(Some(KEEP_ALIVE));
            // Whether small segments are gathered is for the guest to decide.
            let _ = self.host.set_nodelay(true);
        }

        // From the guest to the host.
        while self.host_deaf && socket.can_recv() {
            let _ = socket.recv(|data| (data.len(), ()));
        }
        while self.writable && socket.can_recv() {
            let written = socket.recv(|data| match (&self.host).write(data) {
                Ok(length) => (length, Ok(())),
                Err(error) => (0, Err(error)),
            });
            match written {
                Ok(Ok(())) => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                // What the host has sent before may still be read.
                Ok(Err(_)) => {
                    self.host_deaf = true;
                    self.writable = false;
                }
                Err(_) => break,
            }
        }
        let ended =
            matches!(socket.state(), State::CloseWait | State::LastAck | State::Closing | State::TimeWait);
        if ended && !socket.can_recv() && !self.ended_to_host {
            self.ended_to_host = true;
            // A failure shows when reading.
            let _ = self.host.shutdown(Shutdown::Write);
        }

        // From the host to the guest.
        while self.readable && self.from_host == FromHost::Data && socket.can_send() {
            let read = socket.send(|space| match (&self.host).read(space) {
                Ok(length) => (length, Ok(length)),
                Err(error) => (0, Err(error)),
            });
            match read {
                Ok(Ok(0)) => self.from_host = FromHost::Ended,
                Ok(Ok(_)) => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(_)) => self.from_host = FromHost::Reset,
                Err(_) => break,
            }
        }
        match self.from_host {
            FromHost::Data => {}
            FromHost::Ended if !self.host_deaf => socket.close(),
            // A reset overtakes data. What the host has sent before it still goes out first.
            FromHost::Ended | FromHost::Reset => {
                if socket.send_queue() == 0 && socket.remote_endpoint().is_some() {
                    socket.abort();
                }
            }
        }

        let mut device = LinkDevice { link: &mut context.link, packet: None };
        while interface.poll_egress(context.now, &mut device, &mut open.sockets)
            == PollResult::SocketStateChanged
        {}
        self.after_egress(interface, context)
    }

    /// What is left to do when the guest has been told all that can be told now.
    fn after_egress(&mut self, interface: &mut Interface, context: &mut Context) -> Next {
        let Guest::Open(open) = &mut self.guest else { return Next::Wait(None) };
        let blocked = context.link.is_blocked();
        let socket = open.sockets.get_mut::<tcp::Socket<'_>>(open.handle);
        let over = match socket.state() {
            // The packet that says so may still wait for the card.
            State::Closed => socket.remote_endpoint().is_none(),
            // The guest has reset a connection before it was made.
            State::Listen => true,
            // The link neither delays nor reorders packets, so there is nothing to wait for (RFC 9293 section
            // 3.6.1) when the last acknowledgement is out.
            State::TimeWait => !blocked,
            _ => false,
        };
        if over {
            // In good order if both have ended. An end from the host after a reset by the guest does no harm.
            let orderly = self.from_host == FromHost::Ended && !self.host_deaf;
            if !orderly {
                return Next::Close { reset: true };
            }
            let mut data = vec![0; socket.recv_queue()];
            let length = socket.recv_slice(&mut data).unwrap_or(0);
            data.truncate(length);
            self.guest = Guest::Done { data, sent: 0, until: context.now + DRAIN_TIMEOUT };
            return self.drain(context);
        }
        let deadline = interface.poll_at(context.now, &open.sockets);
        if blocked && deadline.is_some_and(|deadline| deadline <= context.now) {
            // What it wants to do is to send.
            return Next::Wait(None);
        }
        Next::Wait(deadline.map(|deadline| deadline.max(context.now + MIN_WAIT)))
    }

    /// Gives the host the last of the guest's data.
    fn drain(&mut self, context: &Context) -> Next {
        let Guest::Done { data, sent, until } = &mut self.guest else { return Next::Wait(None) };
        while let Some(rest) = data.get(*sent..)
            && !rest.is_empty()
        {
            if !self.writable {
                let reset = context.now >= *until;
                return if reset { Next::Close { reset } } else { Next::Wait(Some(*until)) };
            }
            match self.host.write(rest) {
                Ok(length) => {
                    *sent += length;
                    *until = context.now + DRAIN_TIMEOUT;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Next::Close { reset: true },
            }
        }
        Next::Close { reset: false }
    }
}

impl Open {
    fn new(socket: tcp::Socket<'static>) -> Self {
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        Self { sockets, handle, established: false }
    }
}

/// A socket with the settings that all have.
fn new_socket() -> tcp::Socket<'static> {
    let buffer = |size| tcp::SocketBuffer::new(vec![0; size]);
    let mut socket = tcp::Socket::new(buffer(FROM_GUEST), buffer(TO_GUEST));
    // Data is passed on as it comes, and one acknowledgement answers a whole batch of frames anyway.
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(None);
    socket.set_timeout(Some(HANDSHAKE_TIMEOUT));
    socket
}

/// Shows smoltcp one packet of the guest, with the socket that it is for.
fn show(interface: &mut Interface, context: &mut Context, sockets: &mut SocketSet<'_>, packet: &[u8]) {
    let mut device = LinkDevice { link: &mut context.link, packet: Some(packet) };
    interface.poll_ingress_single(context.now, &mut device, sockets);
}

/// Whether a socket that was told to connect has done so.
fn connected(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes the peer see a reset, instead of the end of data, when the socket is closed.
fn reset_on_close(stream: &TcpStream) {
    // If it fails, the peer sees the end of data instead.
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(std::time::Duration::ZERO));
}
