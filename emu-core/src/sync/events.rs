//! One queue through which every asynchronous input enters the machine.
//!
//! I/O completions, network frames, console bytes and timer expiries arrive on host threads of their own. They do
//! not touch devices there: they are posted here and applied, one at a time, by the queue's thread, or by whoever turns a queue that has none. So there is one
//! order of inputs, which a recording can keep and a replay can repeat.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use crate::time::Clock;

type Event = Box<dyn FnOnce() + Send>;
type Callback = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    /// Armed timers, by deadline.
    armed: BTreeSet<(u64, u64)>,
    /// What each timer calls.
    callbacks: HashMap<u64, Callback>,
    next_timer: u64,
    stopping: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    clock: Clock,
}

/// The queue's thread. Dropping it discards what is still queued and joins the thread.
pub struct EventLoop {
    handle: EventHandle,
    thread: Option<JoinHandle<()>>,
}

/// A way to post events and make timers; cheap to clone.
#[derive(Clone)]
pub struct EventHandle {
    shared: Arc<Shared>,
}

/// A one-shot timer that can be armed again and again. Dropping it disarms it.
pub struct Timer {
    shared: Arc<Shared>,
    id: u64,
    /// The deadline it is armed for, so that arming the same deadline again costs nothing.
    deadline: Mutex<Option<u64>>,
}

impl EventLoop {
    /// Starts the queue's thread.
    pub fn start(clock: Clock) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { queue: Mutex::default(), changed: Condvar::new(), clock });
        let on_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("events".into()).spawn(move || on_thread.run())?;
        Ok(Self { handle: EventHandle { shared }, thread: Some(thread) })
    }

    /// A queue without a thread, for a manual clock: everything happens in [`EventLoop::turn`].
    pub fn manual(clock: Clock) -> Self {
        let shared = Arc::new(Shared { queue: Mutex::default(), changed: Condvar::new(), clock });
        Self { handle: EventHandle { shared }, thread: None }
    }

    /// Applies, on this thread, everything that is queued, and lets timers expire that are due. For a queue without a thread.
    pub fn turn(&self) {
        let shared = &self.handle.shared;
        let mut queue = shared.queue.lock();
        while let Some(event) = queue.next(&shared.clock) {
            drop(queue);
            event();
            queue = shared.queue.lock();
        }
    }

    /// The machine time (ns) of the first timer that is armed.
    pub fn next_deadline(&self) -> Option<u64> {
        self.handle.shared.queue.lock().armed.first().map(|(deadline, _)| *deadline)
    }

    /// A handle for a device.
    pub fn handle(&self) -> EventHandle {
        self.handle.clone()
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        self.handle.shared.queue.lock().stopping = true;
        self.handle.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic on the queue's thread has been reported there already.
            let _ = thread.join();
        }
    }
}

/// A callback that does `act` to its owner, as long as that is there.
pub fn weakly<T: Send + Sync + 'static>(
    owner: &Weak<T>,
    act: impl Fn(&T) + Send + Sync + 'static,
) -> impl Fn() + Send + Sync + 'static {
    let owner = Weak::clone(owner);
    move || {
        if let Some(owner) = owner.upgrade() {
            act(&owner);
        }
    }
}

impl EventHandle {
    /// Queues `event`; it runs on the queue's thread after everything queued before it.
    pub fn post(&self, event: impl FnOnce() + Send + 'static) {
        self.shared.queue.lock().events.push_back(Box::new(event));
        self.shared.changed.notify_one();
    }

    /// Makes a disarmed timer that calls `expired` on the queue's thread.
    pub fn timer(&self, expired: impl Fn() + Send + Sync + 'static) -> Timer {
        let mut queue = self.shared.queue.lock();
        let id = queue.next_timer;
        queue.next_timer += 1;
        queue.callbacks.insert(id, Arc::new(expired));
        Timer { shared: Arc::clone(&self.shared), id, deadline: Mutex::new(None) }
    }

    /// The machine's clock.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }
}

impl Timer {
    /// Arms the timer for the machine time `deadline_ns`, in place of any earlier deadline. A deadline in the
    /// past expires at once.
    pub fn arm(&self, deadline_ns: u64) {
        let mut deadline = self.deadline.lock();
        let mut queue = self.shared.queue.lock();
        if let Some(old) = deadline.replace(deadline_ns) {
            queue.armed.remove(&(old, self.id));
        }
        queue.armed.insert((deadline_ns, self.id));
        if queue.armed.first() == Some(&(deadline_ns, self.id)) {
            self.shared.changed.notify_one();
        }
    }

    /// Disarms the timer. An expiry that has already begun may still be delivered.
    pub fn disarm(&self) {
        if let Some(old) = self.deadline.lock().take() {
            self.shared.queue.lock().armed.remove(&(old, self.id));
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.disarm();
        self.shared.queue.lock().callbacks.remove(&self.id);
    }
}

impl Queue {
    /// What is to be done now, if anything is.
    fn next(&mut self, clock: &Clock) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let (deadline, id) = *self.armed.first().filter(|(deadline, _)| *deadline <= clock.now_ns())?;
            self.armed.remove(&(deadline, id));
            if let Some(expired) = self.callbacks.get(&id).cloned() {
                return Some(Box::new(move || expired()));
            }
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut queue = self.queue.lock();
        while !queue.stopping {
            if let Some(event) = queue.next(&self.clock) {
                drop(queue);
                event();
                queue = self.queue.lock();
                continue;
            }
            let deadline = queue.armed.first().and_then(|(deadline, _)| self.clock.instant_at(*deadline));
            match deadline {
                Some(instant) => {
                    self.changed.wait_until(&mut queue, instant);
                }
                None => self.changed.wait(&mut queue),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn events_run_in_order_and_timers_by_deadline() {
        let events = EventLoop::start(Clock::real_time()).unwrap();
        let handle = events.handle();
        let (send, receive) = mpsc::channel();
        for i in 0..3 {
            let send = send.clone();
            handle.post(move || send.send(i).unwrap());
        }
        assert_eq!((0..3).map(|_| receive.recv_timeout(SOON).unwrap()).collect::<Vec<_>>(), [0, 1, 2]);

        let timer = |n| {
            let send = send.clone();
            handle.timer(move || send.send(n).unwrap())
        };
        let timers = Arc::new([timer(20), timer(10), timer(30)]);
        let now = handle.clock().now_ns();
        let shared = Arc::clone(&timers);
        // By the loop's own thread: however long that takes, no timer expires meanwhile.
        handle.post(move || {
            let [late, early, never] = &*shared;
            late.arm(now + 30_000_000);
            never.arm(now + 20_000_000);
            early.arm(now + 10_000_000);
            never.disarm();
        });
        assert_eq!(receive.recv_timeout(SOON).unwrap(), 10);
        assert_eq!(receive.recv_timeout(SOON).unwrap(), 20);
        timers[1].arm(0);
        assert_eq!(
            receive.recv_timeout(SOON).unwrap(),
            10,
            "a deadline in the past expires, and re-arming works"
        );
    }
}
