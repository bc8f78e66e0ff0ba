//! The user-mode network: a router for one guest that needs no privilege on the host.
//!
//! The guest sees a /24 network (10.0.2.0 unless configured) with a router and DHCP server at .2, a name
//! server at .3, and itself at .15. What it sends to the outside is turned into ordinary host sockets:
//!
//! | guest sends | becomes |
//! |---|---|
//! | TCP to anywhere | a host connection, made before the guest's is accepted; ends and resets pass on |
//! | UDP to anywhere | one host socket per guest port, whoever the peer is (RFC 4787 REQ-1) |
//! | anything to .2 | the same to 127.0.0.1 |
//! | DNS (UDP and TCP port 53) to .3 | the same to the host's resolver |
//! | ping of .2 and .3 | answered here |
//! | ping of anything else | an unprivileged ping socket; "prohibited" where the host has none |
//!
//! Packets to loopback, link-local, multicast, broadcast and reserved addresses are dropped, and so is IPv6.
//! A router's packets are not what the guest gets: TCP is terminated here (by smoltcp), and UDP is sent
//! afresh.
//!
//! One thread does everything; it waits for the host's sockets, for the guest's frames (`inbox`) and for
//! timers. `stack` takes frames apart, `link` puts them together, `tcp` and `datagram` translate. Each table
//! that a guest can fill has a bound.

mod datagram;
mod dhcp;
mod inbox;
mod link;
mod reassembly;
mod resolver;
mod stack;
mod table;
mod tcp;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use thiserror::Error;

use super::{Config, Forward, FrameSink, NetBackend, Offloads};
use inbox::Inbox;
use stack::Stack;

/// Why a user-mode network could not be started.
#[derive(Debug, Error)]
pub enum NetError {
    /// [`Config::mtu`] is too small for IPv4.
    #[error("network MTU {0} is not in the range from 576 to 65535")]
    Mtu(u16),
    /// A forward leads to an address that a guest cannot have.
    #[error("port forward '{0}' leads to an address that the guest cannot have")]
    ForwardGuest(Forward),
    /// The host does not let us listen.
    #[error("cannot listen for port forward '{forward}'")]
    Listen {
        /// The forward.
        forward: Forward,
        /// The host's reason.
        #[source]
        source: io::Error,
    },
    /// The host gives no event queue or thread.
    #[error("cannot start the user network's thread")]
    Start(#[source] io::Error),
}

/// What the network's thread shares with its callers.
struct Shared {
    inbox: Inbox,
    sink: Mutex<Option<Arc<dyn FrameSink>>>,
    /// The card has refused a frame, which waits for [`NetBackend::rx_ready`].
    refused: AtomicBool,
}

impl Shared {
    /// Gives the card a frame; false if it has no buffer for it. Without a card, the frame is lost.
    fn offer(&self, frame: &[u8]) -> bool {
        let sink = self.sink.lock();
        let Some(sink) = sink.as_ref() else { return true };
        if sink.receive(frame) {
            return true;
        }
        // New buffers may have come before `refused` could tell `rx_ready` that they are waited for. Both
        // sides set what the other looks at before they look themselves.
        self.refused.store(true, Ordering::SeqCst);
        sink.receive(frame)
    }
}

/// A user-mode network. Dropping it closes all its connections and joins its thread.
pub struct UserNet {
    shared: Arc<Shared>,
    mtu: u16,
    forwards: Vec<SocketAddr>,
    thread: Option<JoinHandle<()>>,
}

impl UserNet {
    /// Opens the forwarded ports and starts the network's thread. No frame reaches the guest before
    /// [`NetBackend::attach`].
    pub fn start(config: Config) -> Result<Arc<Self>, NetError> {
        if config.mtu < 576 {
            return Err(NetError::Mtu(config.mtu));
        }
        let poll = mio::Poll::new().map_err(NetError::Start)?;
        let inbox = Inbox::new(poll.registry()).map_err(NetError::Start)?;
        let shared = Arc::new(Shared { inbox, sink: Mutex::default(), refused: AtomicBool::new(false) });
        let (stack, forwards) = Stack::new(&config, poll, Arc::clone(&shared))?;
        let thread = std::thread::Builder::new()
            .name("net".into())
            .spawn(move || stack.run())
            .map_err(NetError::Start)?;
        Ok(Arc::new(Self { shared, mtu: config.mtu, forwards, thread: Some(thread) }))
    }

    /// Where each of [`Config::forwards`] listens, in that order, with the port that the host chose for port
    /// 0.
    pub fn forwards(&self) -> &[SocketAddr] {
        &self.forwards
    }
}

impl NetBackend for UserNet {
    fn send(&self, frame: &[u8]) {
        self.shared.inbox.push(frame);
    }

    fn attach(&self, sink: Arc<dyn FrameSink>) {
        let earlier = self.shared.sink.lock().replace(sink);
        // Dropped without the lock: the sink's destructor may call back.
        drop(earlier);
        self.shared.inbox.rx_ready();
    }

    fn detach(&self) {
        let earlier = self.shared.sink.lock().take();
        drop(earlier);
        self.shared.inbox.rx_ready();
    }

    fn rx_ready(&self) {
        fence(Ordering::SeqCst);
        if self.shared.refused.swap(false, Ordering::SeqCst) {
            self.shared.inbox.rx_ready();
        }
    }

    fn mtu(&self) -> u16 {
        self.mtu
    }

    fn offloads(&self) -> Offloads {
        Offloads { tx_checksum: true, tx_tcp_segmentation: true, rx_checksum: true }
    }
}

impl Drop for UserNet {
    fn drop(&mut self) {
        self.shared.inbox.stop();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic on the network's thread has been reported there already.
            let _ = thread.join();
        }
    }
}
