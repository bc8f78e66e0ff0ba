//! The cross-vCPU protocol: how one vCPU makes others drop what they have cached, or stand still.
//!
//! Each vCPU publishes whether it is *in guest* (it may use its cached translations and code at any moment) or *in host*.
//! A requester leaves its request in the target's mailbox, raises the target's attention flag, and waits until the target
//! has served it or is in host: a vCPU serves its mailbox before it enters the guest again, so in both cases no access
//! through the old state can follow. Either side of that handshake stores, fences, and loads what the other stored: either
//! the target sees the flag, or the requester sees that the target is in guest.
//!
//! A vCPU that waits is itself in host, so nobody waits for it, and it holds no lock: there is no cycle. The same
//! handshake, with a flag for all instead of a mailbox, stops the world.

use super::shim::{
    AtomicBool, AtomicU32, AtomicU64, Condvar, Mutex, MutexGuard,
    Ordering::{Relaxed, SeqCst},
    fence,
};
use crate::mem::Flush;
use std::sync::Arc;

/// Something that a vCPU must do to its own caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Drop translations.
    Flush(Flush),
    /// Make writes to the page at this RAM offset slow.
    Protect(usize),
    /// Let the front end synchronise its instruction stream (a remote `fence.i`).
    SyncCode,
}

/// Attention: there are requests in the mailbox.
const REQUESTS: u32 = 1;
/// Attention: an interrupt pin, or something else that interrupts depend on, has changed.
const INTERRUPT: u32 = 2;
/// Attention: the vCPU's thread must leave its run loop.
const STOP: u32 = 4;
/// Attention: another vCPU wants to be alone.
const PAUSE: u32 = 8;

const IN_HOST: u32 = 0;
const IN_GUEST: u32 = 1;

#[derive(Default)]
struct Mailbox {
    requests: Vec<Request>,
    posted: u64,
}

/// One vCPU as the others see it.
pub struct Port {
    attention: AtomicU32,
    place: AtomicU32,
    served: AtomicU64,
    pins: AtomicU64,
    mailbox: Mutex<Mailbox>,
    /// Guards nothing but the sleep itself: attention is checked under it before sleeping.
    sleep: Mutex<()>,
    woken: Condvar,
}

/// What a vCPU finds when it looks at its attention flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention(u32);

impl Attention {
    /// Requests are waiting in the mailbox.
    pub fn requests(self) -> bool {
        self.0 & REQUESTS != 0
    }

    /// Interrupts must be looked at.
    pub fn interrupt(self) -> bool {
        self.0 & INTERRUPT != 0
    }

    /// The run loop must be left.
    pub fn stop(self) -> bool {
        self.0 & STOP != 0
    }

    /// Another vCPU wants to be alone.
    pub fn pause(self) -> bool {
        self.0 & PAUSE != 0
    }
}

impl Port {
    fn new() -> Self {
        Self {
            attention: AtomicU32::new(0),
            place: AtomicU32::new(IN_HOST),
            served: AtomicU64::new(0),
            pins: AtomicU64::new(0),
            mailbox: Mutex::new(Mailbox::default()),
            sleep: Mutex::new(()),
            woken: Condvar::new(),
        }
    }

    /// Whether anything wants the vCPU's attention: the poll of the run loop.
    #[inline]
    pub fn wants_attention(&self) -> bool {
        self.attention.load(Relaxed) != 0
    }

    /// The address of the attention flags, for translated code: zero means none.
    #[cfg(not(loom))]
    pub fn attention_flags(&self) -> &std::sync::atomic::AtomicU32 {
        &self.attention
    }

    /// What wants attention.
    pub fn attention(&self) -> Attention {
        Attention(self.attention.load(SeqCst))
    }

    /// Marks interrupts as looked at; call it before looking at them.
    pub fn clear_interrupt(&self) {
        self.attention.fetch_and(!INTERRUPT, SeqCst);
    }

    /// Marks a wish to be alone as seen: entering the guest waits for its end.
    pub fn clear_pause(&self) {
        self.attention.fetch_and(!PAUSE, SeqCst);
    }

    /// Marks a stop as seen.
    pub fn clear_stop(&self) {
        self.attention.fetch_and(!STOP, SeqCst);
    }

    /// Drives the interrupt pins in `mask` to the bits of `level`; what each pin means is the front end's business.
    pub fn set_pins(&self, mask: u64, level: u64) {
        let old = if level & mask == mask {
            self.pins.fetch_or(mask, SeqCst)
        } else {
            // Pins of one mask are driven by one owner, so that the two steps need not be one.
            self.pins.fetch_or(level & mask, SeqCst);
            self.pins.fetch_and(!(mask & !level), SeqCst)
        };
        if (old ^ level) & mask != 0 {
            self.interrupt();
        }
    }

    /// The levels of the interrupt pins.
    pub fn pins(&self) -> u64 {
        self.pins.load(SeqCst)
    }

    /// Makes the vCPU look at its interrupts, waking it if it sleeps.
    pub fn interrupt(&self) {
        self.raise(INTERRUPT);
    }

    /// Makes the vCPU's thread leave its run loop.
    pub fn stop(&self) {
        self.raise(STOP);
    }

    fn raise(&self, flag: u32) {
        self.attention.fetch_or(flag, SeqCst);
        drop(lock(&self.sleep));
        self.woken.notify_all();
    }

    /// Sleeps, in host, until something wants attention or `timeout` is over.
    pub fn sleep(&self, timeout: Option<std::time::Duration>) {
        let guard = lock(&self.sleep);
        if self.attention.load(SeqCst) != 0 {
            return;
        }
        // Whether it was woken, timed out or neither makes no difference: the caller looks at everything again.
        match timeout {
            #[cfg(not(loom))]
            Some(timeout) => drop(self.woken.wait_timeout(guard, timeout)),
            _ => drop(self.woken.wait(guard)),
        }
    }

    fn post(&self, request: Request) -> u64 {
        let mut mailbox = lock(&self.mailbox);
        // A flood of flushes is one flush.
        if mailbox.requests.len() >= 64 && matches!(request, Request::Flush(_)) {
            mailbox.requests.retain(|r| !matches!(r, Request::Flush(_)));
            mailbox.requests.push(Request::Flush(Flush::ALL));
        } else {
            mailbox.requests.push(request);
        }
        mailbox.posted += 1;
        mailbox.posted
    }
}

/// All vCPUs of one machine.
pub struct Group {
    ports: Vec<Arc<Port>>,
    /// Somebody has stopped the world.
    stopped: AtomicBool,
    /// Held by whoever has stopped the world, as a flag; see `changed`.
    alone: Mutex<bool>,
    /// Threads that wait for a change of any vCPU's place or of `alone`.
    waiters: AtomicU32,
    changed: Condvar,
}

impl Group {
    /// `count` vCPUs, all in host.
    pub fn new(count: usize) -> Self {
        Self {
            ports: (0..count).map(|_| Arc::new(Port::new())).collect(),
            stopped: AtomicBool::new(false),
            alone: Mutex::new(false),
            waiters: AtomicU32::new(0),
            changed: Condvar::new(),
        }
    }

    /// How many vCPUs there are.
    #[allow(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.ports.len()
    }

    /// vCPU `index` as others see it.
    ///
    /// # Panics
    /// If there is no such vCPU.
    pub fn port(&self, index: usize) -> &Arc<Port> {
        &self.ports[index]
    }

    /// All vCPUs.
    pub fn ports(&self) -> &[Arc<Port>] {
        &self.ports
    }

    /// vCPU `me` enters the guest. False if it must serve requests first (it is then still in host); it waits while
    /// another vCPU is alone.
    #[must_use]
    pub fn enter(&self, me: usize) -> bool {
        let port = &self.ports[me];
        loop {
            port.place.store(IN_GUEST, SeqCst);
            fence(SeqCst);
            if port.attention.load(SeqCst) & REQUESTS != 0 {
                self.leave(me);
                return false;
            }
            if !self.stopped.load(SeqCst) {
                return true;
            }
            self.leave(me);
            let mut alone = lock(&self.alone);
            while *alone {
                alone = self.wait(alone);
            }
        }
    }

    /// vCPU `me` leaves the guest.
    pub fn leave(&self, me: usize) {
        self.ports[me].place.store(IN_HOST, SeqCst);
        self.notify();
    }

    /// Takes the requests of vCPU `me`, for it to serve; it calls [`Group::served`] when it has.
    pub fn take_requests(&self, me: usize) -> (Vec<Request>, u64) {
        let port = &self.ports[me];
        port.attention.fetch_and(!REQUESTS, SeqCst);
        let mut mailbox = lock(&port.mailbox);
        (std::mem::take(&mut mailbox.requests), mailbox.posted)
    }

    /// vCPU `me` has served the requests up to `ticket`.
    pub fn served(&self, me: usize, ticket: u64) {
        self.ports[me].served.store(ticket, SeqCst);
        self.notify();
    }

    /// Makes every vCPU in `targets` but `me` serve `request`, and waits until no access through the old state can
    /// follow. The caller must be in host, and serves itself.
    pub fn request(&self, me: Option<usize>, targets: impl Iterator<Item = usize> + Clone, request: Request) {
        let mut tickets = Vec::new();
        for target in targets.filter(|&target| Some(target) != me) {
            let port = &self.ports[target];
            let ticket = port.post(request);
            port.attention.fetch_or(REQUESTS, SeqCst);
            tickets.push((port, ticket));
        }
        fence(SeqCst);
        let pending = |(port, ticket): &(&Arc<Port>, u64)| {
            port.place.load(SeqCst) == IN_GUEST && port.served.load(SeqCst) < *ticket
        };
        self.wait_until(|| !tickets.iter().any(pending));
    }

    /// vCPU `me`, in guest, stops all others. It leaves the guest state to do so and serves no requests until it ends:
    /// those who could send any stand still, in host.
    pub fn begin_exclusive(&self, me: usize) {
        self.leave(me);
        let mut alone = lock(&self.alone);
        while *alone {
            alone = self.wait(alone);
        }
        *alone = true;
        drop(alone);
        self.stopped.store(true, SeqCst);
        let others = || self.ports.iter().enumerate().filter(|(i, _)| *i != me).map(|(_, port)| port);
        for port in others() {
            port.attention.fetch_or(PAUSE, SeqCst);
        }
        fence(SeqCst);
        self.wait_until(|| others().all(|port| port.place.load(SeqCst) == IN_HOST));
    }

    /// vCPU `me` lets the others go on. It is in host then: it must enter the guest again.
    pub fn end_exclusive(&self, _me: usize) {
        self.stopped.store(false, SeqCst);
        *lock(&self.alone) = false;
        self.changed.notify_all();
    }

    fn notify(&self) {
        fence(SeqCst);
        if self.waiters.load(SeqCst) != 0 {
            drop(lock(&self.alone));
            self.changed.notify_all();
        }
    }

    fn wait_until(&self, done: impl Fn() -> bool) {
        if done() {
            return;
        }
        let mut guard = lock(&self.alone);
        self.waiters.fetch_add(1, SeqCst);
        fence(SeqCst);
        while !done() {
            guard = match self.changed.wait(guard) {
                Ok(guard) => guard,
                Err(poisoned) => poisoned.into_inner(),
            };
        }
        self.waiters.fetch_sub(1, SeqCst);
    }

    fn wait<'a>(&self, guard: MutexGuard<'a, bool>) -> MutexGuard<'a, bool> {
        self.waiters.fetch_add(1, SeqCst);
        let guard = match self.changed.wait(guard) {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        };
        self.waiters.fetch_sub(1, SeqCst);
        guard
    }
}

/// What the locks here guard is valid at every step, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.lock() {
        Ok(guard) => guard,
        Err(poisoned) => poisoned.into_inner(),
    }
}

#[cfg(all(test, loom))]
mod model {
    //! The protocol under the model checker: `RUSTFLAGS="--cfg loom" cargo test -p emu-core --lib model`.

    use super::*;
    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    /// After a remote flush has returned, nobody uses the old translation.
    #[test]
    fn no_access_through_a_flushed_translation() {
        loom::model(|| {
            let group = Arc::new(Group::new(2));
            let table = Arc::new(AtomicUsize::new(1));
            let reused = Arc::new(AtomicBool::new(false));
            let vcpu = {
                let (group, table, reused) = (group.clone(), table.clone(), reused.clone());
                thread::spawn(move || {
                    let mut cached = None;
                    for _ in 0..2 {
                        while !group.enter(0) {
                            let (requests, ticket) = group.take_requests(0);
                            if !requests.is_empty() {
                                cached = None;
                            }
                            group.served(0, ticket);
                        }
                        let translation = *cached.get_or_insert_with(|| table.load(SeqCst));
                        if translation == 1 {
                            assert!(!reused.load(SeqCst), "an access went to memory that was given away");
                        }
                        group.leave(0);
                    }
                })
            };
            table.store(2, SeqCst);
            group.request(Some(1), 0..2, Request::Flush(Flush::ALL));
            reused.store(true, SeqCst);
            vcpu.join().unwrap();
        });
    }

    /// Two vCPUs that flush each other, both waiting, come to an end.
    #[test]
    fn mutual_requests_do_not_deadlock() {
        loom::model(|| {
            let group = Arc::new(Group::new(2));
            let run = |me: usize| {
                let group = group.clone();
                move || {
                    let enter = || {
                        while !group.enter(me) {
                            let (_, ticket) = group.take_requests(me);
                            group.served(me, ticket);
                        }
                    };
                    enter();
                    group.leave(me);
                    group.request(Some(me), 0..2, Request::SyncCode);
                    enter();
                    group.leave(me);
                }
            };
            let other = thread::spawn(run(1));
            run(0)();
            other.join().unwrap();
        });
    }

    /// While one vCPU is alone, the other is not in guest.
    #[test]
    fn alone_means_alone() {
        loom::model(|| {
            let group = Arc::new(Group::new(2));
            let inside = Arc::new(AtomicUsize::new(0));
            let alone = {
                let (group, inside) = (group.clone(), inside.clone());
                thread::spawn(move || {
                    assert!(group.enter(0), "nobody sends requests here");
                    group.begin_exclusive(0);
                    assert_eq!(inside.load(SeqCst), 0, "the other vCPU runs");
                    assert_eq!(inside.load(SeqCst), 0, "the other vCPU runs");
                    group.end_exclusive(0);
                    assert!(group.enter(0), "nobody sends requests here");
                    group.leave(0);
                })
            };
            assert!(group.enter(1), "nobody sends requests here");
            inside.store(1, SeqCst);
            inside.store(0, SeqCst);
            if group.port(1).attention().pause() {
                group.port(1).clear_pause();
            }
            group.leave(1);
            alone.join().unwrap();
        });
    }
}
