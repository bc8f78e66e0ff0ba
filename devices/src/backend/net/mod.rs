//! What a network card is plugged into.
//!
//! A card talks to a [`NetBackend`] in whole Ethernet frames and hears from it through a [`FrameSink`]. Both
//! sides may be called from any thread. [`UserNet`] is the backend that needs no privilege: a small router
//! with DHCP, DNS and address translation, which turns the guest's packets into ordinary sockets of this
//! process.

mod config;
mod user;

use std::sync::Arc;

pub use config::{Config, Forward, Limits, ParseForwardError, Protocol, Subnet};
pub use user::{NetError, UserNet};

/// The longest Ethernet frame that a backend takes, in bytes: a 14-byte header and the longest IPv4 packet.
pub const MAX_FRAME: usize = 14 + 65_535;

/// The network, as a card sees it.
///
/// A frame begins with the destination address of the Ethernet header and ends before the frame check
/// sequence; a virtio header is the card's own business.
pub trait NetBackend: Send + Sync {
    /// Sends one frame from the guest.
    ///
    /// Never blocks and never fails: like a cable, it loses frames when there are too many or when they make
    /// no sense. May be called from several threads; the frames of one thread stay in order.
    fn send(&self, frame: &[u8]);

    /// Names the card that frames for the guest go to, in place of any earlier one.
    ///
    /// The backend holds `sink` until [`detach`](Self::detach) or until it is dropped itself, so a sink that
    /// owns the backend (rather than a `Weak` of it) keeps both alive until `detach` is called.
    ///
    /// Waits for a running [`FrameSink::receive`], so it must not be called from there or while holding a
    /// lock that `receive` takes.
    fn attach(&self, sink: Arc<dyn FrameSink>);

    /// Forgets the card. No call of [`FrameSink::receive`] is running when this returns, and none follows.
    ///
    /// Must not be called from inside `receive` or while holding a lock that it takes.
    fn detach(&self);

    /// Says that the guest has given the card new receive buffers after [`FrameSink::receive`] returned
    /// false.
    ///
    /// Costs next to nothing when no frame waits, so a card may call it whenever the guest adds buffers. It
    /// may be called while holding locks that `receive` takes.
    fn rx_ready(&self);

    /// The largest IP packet that the backend sends in one frame, in bytes (the link's MTU).
    fn mtu(&self) -> u16;

    /// The work on packets that the backend can take over from the guest.
    fn offloads(&self) -> Offloads;
}

/// The guest's network card, as a backend sees it.
pub trait FrameSink: Send + Sync {
    /// Takes one frame for the guest, at most [`NetBackend::mtu`] plus 14 bytes long.
    ///
    /// Returns false if the guest has no buffer for it now. The backend then keeps the frame, sends nothing
    /// more, and offers the frame again after [`NetBackend::rx_ready`]. A card that wants a frame lost takes
    /// it and returns true. Called from the backend's thread, so it must not wait for the guest.
    fn receive(&self, frame: &[u8]) -> bool;
}

/// What a card may promise its driver because the backend does it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Frames given to [`NetBackend::send`] need no valid TCP or UDP checksum.
    pub tx_checksum: bool,
    /// Frames given to [`NetBackend::send`] may hold TCP over IPv4 segments longer than the MTU, up to
    /// [`MAX_FRAME`] in all.
    pub tx_tcp_segmentation: bool,
    /// Frames given to [`FrameSink::receive`] have correct checksums that the guest need not verify.
    pub rx_checksum: bool,
}
