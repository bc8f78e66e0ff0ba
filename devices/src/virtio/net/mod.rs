//! The virtio network card (§5.1): one pair of queues on a [`NetBackend`].
//!
//! Frames from the guest go to the backend, frames to the guest into its buffers, both on the event queue's
//! thread. Frames from the backend wait in a bounded queue; when it is full the backend is told to wait. What
//! the backend takes over of the guest's work (checksums, segmentation) is offered, and needs no work here.
//!
//! Not modelled: the control queue (so the card hears everything: there is no address filter to set), several
//! queue pairs, segmentation offloads towards the guest, hash reports.

pub mod spec;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use emu_core::sync::{EventHandle, weakly};
use parking_lot::Mutex;

use super::spec::{device_id, feature as common};
use super::{Activation, BufferError, Chain, Deferred, VirtQueue, VirtioDevice, copy_config};
use crate::backend::net::{FrameSink, MAX_FRAME, NetBackend};
use spec::{config, feature, header};

const QUEUE_SIZES: [u16; 2] = [256, 256];
/// Frames for the guest that wait to be put into its buffers.
const INBOX_LIMIT: usize = 256;
/// Frames moved in one direction before other events have their turn.
const BATCH: usize = 64;
/// Bytes of an Ethernet header, the shortest thing that is sent.
const MIN_FRAME: usize = 14;

/// A network card. Dropping it takes it off the network.
pub struct Net {
    // Configuration.
    mac: [u8; 6],
    // Glue.
    this: Weak<Self>,
    backend: Arc<dyn NetBackend>,
    inbox: Arc<Inbox>,
    transmitting: Deferred,
    // State.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    receive: Option<Arc<VirtQueue>>,
    transmit: Option<Arc<VirtQueue>>,
    header_len: usize,
    mergeable: bool,
    /// Frames to the guest are marked as checked.
    checked: bool,
}

/// Frames on their way to the guest: the backend's side of the card. It does not own the card, so that the
/// backend can be left from the card's end.
struct Inbox {
    net: Weak<Net>,
    receiving: Deferred,
    state: Mutex<InboxState>,
}

#[derive(Default)]
struct InboxState {
    frames: VecDeque<Box<[u8]>>,
    /// The backend has been told to wait.
    refused: bool,
    /// A driver is there; otherwise frames are lost, as with a cable to a computer that is off.
    open: bool,
}

impl Net {
    /// A card with the address `mac`, plugged into `backend`.
    pub fn new(events: &EventHandle, backend: Arc<dyn NetBackend>, mac: [u8; 6]) -> Arc<Self> {
        let net = Arc::new_cyclic(|this: &Weak<Self>| Self {
            mac,
            this: this.clone(),
            backend,
            inbox: Arc::new(Inbox {
                net: this.clone(),
                receiving: Deferred::new(events),
                state: Mutex::default(),
            }),
            transmitting: Deferred::new(events),
            state: Mutex::default(),
        });
        net.backend.attach(Arc::clone(&net.inbox) as Arc<dyn FrameSink>);
        net
    }

    fn transmit_later(&self) {
        self.transmitting.run(weakly(&self.this, Self::transmit));
    }

    fn transmit(&self) {
        let (queue, header_len) = {
            let state = self.state.lock();
            (state.transmit.clone(), state.header_len)
        };
        let Some(queue) = queue else { return };
        let mut frame = Vec::new();
        for _ in 0..BATCH {
            match queue.pop() {
                Some(chain) => {
                    if read_frame(&queue, &chain, header_len, &mut frame) {
                        self.backend.send(&frame);
                    }
                    queue.complete(chain, 0);
                }
                None if queue.rearm() => {}
                None => return,
            }
        }
        self.transmit_later();
    }

    /// Moves frames from the inbox into the guest's buffers, until one or the other is empty.
    fn receive(&self) {
        let (queue, format) = {
            let state = self.state.lock();
            (state.receive.clone(), (state.header_len, state.mergeable, state.checked))
        };
        let Some(queue) = queue else { return };
        for _ in 0..BATCH {
            let Some(frame) = self.inbox.state.lock().frames.pop_front() else { return };
            if let Some(frame) = put_frame(&queue, format, frame) {
                self.inbox.put_back(frame);
                return;
            }
            if self.inbox.has_room_again() {
                self.backend.rx_ready();
            }
        }
        self.inbox.receive_later();
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.backend.detach();
    }
}

/// Reads the frame that `chain` holds; false if it is none, and is lost.
fn read_frame(queue: &VirtQueue, chain: &Chain, header_len: usize, frame: &mut Vec<u8>) -> bool {
    let len = chain.readable_len().checked_sub(header_len as u64).and_then(|len| usize::try_from(len).ok());
    let Some(len) = len.filter(|len| (MIN_FRAME..=MAX_FRAME).contains(len)) else { return false };
    frame.resize(len, 0);
    let mut reader = chain.reader();
    let read = queue.with_memory(|mem| reader.skip(header_len as u64).and_then(|()| reader.read(mem, frame)));
    matches!(read, Some(Ok(())))
}

/// Puts `frame` into the guest's buffers, behind a header (§5.1.6.4). It is given back if there are too few
/// now.
fn put_frame(
    queue: &VirtQueue,
    (header_len, mergeable, checked): (usize, bool, bool),
    frame: Box<[u8]>,
) -> Option<Box<[u8]>> {
    let wanted = (header_len + frame.len()) as u64;
    let mut chains: Vec<Chain> = Vec::new();
    let mut room = 0;
    while room < wanted {
        let Some(chain) = queue.pop() else {
            if queue.rearm() {
                continue;
            }
            while let Some(chain) = chains.pop() {
                queue.unpop(chain);
            }
            return Some(frame);
        };
        if chain.writable_len() < header_len as u64 {
            queue.fail_unanswerable(&chain);
            return None;
        }
        room += chain.writable_len();
        chains.push(chain);
        if !mergeable && room < wanted {
            // Such a buffer breaks §5.1.6.3.1, which says how long it must be. The frame is lost, not the
            // buffer.
            chains.into_iter().for_each(|chain| queue.unpop(chain));
            return None;
        }
    }
    let mut head = [0; header::LEN];
    head[header::FLAGS] = if checked { header::FLAG_DATA_VALID } else { 0 };
    let count = u16::try_from(chains.len()).unwrap_or(u16::MAX).to_le_bytes();
    head[header::NUM_BUFFERS..header::LEN].copy_from_slice(&count);
    let written = queue.with_memory(|mem| {
        let mut head = &head[..header_len];
        let mut rest = &frame[..];
        let mut lens = Vec::with_capacity(chains.len());
        for chain in &chains {
            let mut writer = chain.writer();
            let room = usize::try_from(chain.writable_len()).unwrap_or(usize::MAX) - head.len();
            let (piece, after) = rest.split_at(rest.len().min(room));
            writer.write(mem, head)?;
            writer.write(mem, piece)?;
            lens.push((head.len() + piece.len()) as u32);
            (head, rest) = (&[], after);
        }
        Ok::<_, BufferError>(lens)
    });
    match written {
        Some(Ok(lens)) => queue.complete_all(chains.into_iter().zip(lens).collect()),
        Some(Err(_)) => chains.iter().take(1).for_each(|chain| queue.fail_unanswerable(chain)),
        None => {}
    }
    None
}

impl Inbox {
    fn receive_later(&self) {
        let net = self.net.clone();
        self.receiving.run(move || {
            if let Some(net) = net.upgrade() {
                net.receive();
            }
        });
    }

    /// Puts a frame back that the guest had no buffer for, unless the driver has gone meanwhile.
    fn put_back(&self, frame: Box<[u8]>) {
        let mut state = self.state.lock();
        if state.open {
            state.frames.push_front(frame);
        }
    }

    /// Whether the backend, having been told to wait, may go on.
    fn has_room_again(&self) -> bool {
        let mut state = self.state.lock();
        state.frames.len() <= INBOX_LIMIT / 2 && std::mem::take(&mut state.refused)
    }

    /// Lets frames in, or shuts them out and forgets those that are there.
    fn set_open(&self, open: bool) {
        let mut state = self.state.lock();
        state.open = open;
        state.frames.clear();
    }
}

impl FrameSink for Inbox {
    fn receive(&self, frame: &[u8]) -> bool {
        let mut state = self.state.lock();
        if !state.open || frame.len() > MAX_FRAME {
            return true;
        }
        if state.frames.len() >= INBOX_LIMIT {
            state.refused = true;
            return false;
        }
        state.frames.push_back(frame.into());
        drop(state);
        self.receive_later();
        true
    }
}

impl VirtioDevice for Net {
    fn id(&self) -> u32 {
        device_id::NET
    }

    fn features(&self) -> u64 {
        let offloads = self.backend.offloads();
        let mut features =
            1 << feature::MTU | 1 << feature::MAC | 1 << feature::MRG_RXBUF | 1 << feature::STATUS;
        if offloads.tx_checksum {
            features |= 1 << feature::CSUM;
            if offloads.tx_tcp_segmentation {
                features |= 1 << feature::HOST_TSO4;
            }
        }
        if offloads.rx_checksum {
            features |= 1 << feature::GUEST_CSUM;
        }
        features
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let mut bytes = [0; config::LEN];
        bytes[config::MAC..config::STATUS].copy_from_slice(&self.mac);
        bytes[config::STATUS..config::STATUS + 2].copy_from_slice(&config::STATUS_LINK_UP.to_le_bytes());
        bytes[config::MTU..config::LEN].copy_from_slice(&self.backend.mtu().to_le_bytes());
        copy_config(&bytes, offset, data);
    }

    fn activate(&self, activation: Activation) {
        let mergeable = activation.has(feature::MRG_RXBUF);
        let modern = mergeable || activation.has(common::VERSION_1);
        *self.state.lock() = State {
            receive: activation.queue(spec::RECEIVE_QUEUE),
            transmit: activation.queue(spec::TRANSMIT_QUEUE),
            header_len: if modern { header::LEN } else { header::LEGACY_LEN },
            mergeable,
            checked: activation.has(feature::GUEST_CSUM),
        };
        self.inbox.set_open(true);
        self.transmit_later();
    }

    fn notify(&self, queue: u16) {
        if usize::from(queue) == spec::TRANSMIT_QUEUE {
            self.transmit_later();
        } else {
            self.inbox.receive_later();
        }
    }

    fn reset(&self) {
        *self.state.lock() = State::default();
        self.inbox.set_open(false);
        if self.inbox.has_room_again() {
            self.backend.rx_ready();
        }
    }
}
