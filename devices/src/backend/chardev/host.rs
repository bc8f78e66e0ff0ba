//! [`HostChardev`]: file descriptors of the host, served by one thread.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use emu_core::sync::EventHandle;
use parking_lot::{Condvar, Mutex};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use tracing::warn;

use super::{CharBackend, CharDevice};

/// Bytes of output that wait for the host before the device is told to wait.
const OUTPUT_LIMIT: usize = 64 << 10;
/// Bytes of input that wait for the device before the host is not read any more.
const INPUT_LIMIT: usize = 64 << 10;
/// Bytes moved at a time; a pipe that polls as writable takes this much without blocking (`PIPE_BUF`).
const CHUNK: usize = 4096;
/// How long output may take to reach the host when the machine goes away.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Sees every byte of input as it was read, before the device does, and may take bytes out or put others in:
/// this is where a terminal's escape sequences are recognised. It runs on the backend's thread.
pub type InputFilter = Box<dyn FnMut(&mut Vec<u8>) + Send>;

/// A character backend on file descriptors of the host. Dropping it gives its output a last moment to reach
/// the host.
pub struct HostChardev {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// The socket file to remove at the end.
    socket: Option<PathBuf>,
}

struct Shared {
    events: EventHandle,
    buffers: Mutex<Buffers>,
    /// Output has become empty, or the thread has ended.
    changed: Condvar,
    wake: OwnedFd,
    device: OnceLock<Weak<dyn CharDevice>>,
}

#[derive(Default)]
struct Buffers {
    output: VecDeque<u8>,
    /// Nobody is there to read: output disappears.
    disconnected: bool,
    /// The device has been refused output.
    output_refused: bool,
    input: VecDeque<u8>,
    /// A delivery is queued or under way.
    delivering: bool,
    /// The device has refused input, and has not said yet that it has room again.
    input_refused: bool,
    stopping: bool,
    ended: bool,
}

/// What the thread reads and writes.
struct Host {
    input: Option<OwnedFd>,
    output: Option<OwnedFd>,
    /// Where the next client comes from.
    listener: Option<UnixListener>,
    filter: Option<InputFilter>,
}

impl HostChardev {
    /// Standard input and output, as raw bytes; what mode the terminal is in is the caller's affair. With a
    /// filter the input is always read, so that an escape sequence works when the guest does not listen, and
    /// what does not fit is lost; without one, no input is lost.
    pub fn stdio(events: &EventHandle, filter: Option<InputFilter>) -> io::Result<Self> {
        let input = rustix::stdio::stdin().try_clone_to_owned()?;
        let output = rustix::stdio::stdout().try_clone_to_owned()?;
        Self::start(events, Host { input: Some(input), output: Some(output), listener: None, filter }, None)
    }

    /// A file that output goes to; it is created, or emptied if it exists. There is no input.
    pub fn file(events: &EventHandle, path: &Path) -> io::Result<Self> {
        let output = Some(File::create(path)?.into());
        Self::start(events, Host { input: None, output, listener: None, filter: None }, None)
    }

    /// A Unix stream socket at `path` that serves one client at a time; others wait their turn. Output while
    /// there is no client disappears. A socket file that nobody listens on is replaced.
    pub fn unix_socket(events: &EventHandle, path: &Path) -> io::Result<Self> {
        let stale = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        if path.symlink_metadata().is_ok_and(|meta| meta.file_type().is_socket())
            && UnixStream::connect(path).is_err_and(|e| stale(&e))
        {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        let host = Host { input: None, output: None, listener: Some(listener), filter: None };
        Self::start(events, host, Some(path.to_owned()))
    }

    fn start(events: &EventHandle, host: Host, socket: Option<PathBuf>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            events: events.clone(),
            buffers: Mutex::new(Buffers { disconnected: host.output.is_none(), ..Buffers::default() }),
            changed: Condvar::new(),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            device: OnceLock::new(),
        });
        let on_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("chardev".into()).spawn(move || on_thread.run(host))?;
        Ok(Self { shared, thread: Some(thread), socket })
    }
}

impl Drop for HostChardev {
    fn drop(&mut self) {
        self.shared.buffers.lock().stopping = true;
        self.shared.wake();
        let mut buffers = self.shared.buffers.lock();
        // The thread gives itself `LAST_WORDS`; one that is stuck in a write beyond that is left behind.
        let deadline = Instant::now() + LAST_WORDS + Duration::from_millis(500);
        while !buffers.ended {
            if self.shared.changed.wait_until(&mut buffers, deadline).timed_out() {
                break;
            }
        }
        let ended = buffers.ended;
        drop(buffers);
        if let Some(thread) = self.thread.take().filter(|_| ended) {
            // A panic on the thread has been reported there already.
            let _ = thread.join();
        }
        if let Some(path) = &self.socket {
            // It may have been removed by somebody else, which is as good.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl CharBackend for HostChardev {
    fn attach(&self, device: Weak<dyn CharDevice>) {
        // The first device stays: a backend belongs to one device for its whole life.
        let _ = self.shared.device.set(device);
        self.shared.deliver_later(&mut self.shared.buffers.lock());
    }

    fn write(&self, bytes: &[u8]) -> usize {
        let mut buffers = self.shared.buffers.lock();
        if buffers.disconnected {
            return bytes.len();
        }
        let taken = bytes.len().min(OUTPUT_LIMIT - buffers.output.len());
        let idle = buffers.output.is_empty();
        buffers.output.extend(&bytes[..taken]);
        buffers.output_refused |= taken < bytes.len();
        drop(buffers);
        if idle && taken > 0 {
            self.shared.wake();
        }
        taken
    }

    fn input_ready(&self) {
        let mut buffers = self.shared.buffers.lock();
        buffers.input_refused = false;
        self.shared.deliver_later(&mut buffers);
    }

    fn drain(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut buffers = self.shared.buffers.lock();
        while !buffers.output.is_empty() && !buffers.ended {
            if self.shared.changed.wait_until(&mut buffers, deadline).timed_out() {
                break;
            }
        }
        buffers.output.is_empty()
    }
}

impl Shared {
    fn wake(&self) {
        // It fails only when the counter is full, and then the thread is about to wake anyway.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Queues a delivery of input unless there is one, or none is wanted.
    fn deliver_later(self: &Arc<Self>, buffers: &mut Buffers) {
        if buffers.delivering || buffers.input_refused || buffers.input.is_empty() || buffers.stopping {
            return;
        }
        buffers.delivering = true;
        let this = Arc::clone(self);
        self.events.post(move || this.deliver());
    }

    /// Hands input to the device until it refuses; on the event queue's thread.
    fn deliver(self: &Arc<Self>) {
        let device = self.device.get().and_then(Weak::upgrade);
        let mut buffers = self.buffers.lock();
        while let Some(device) = &device {
            let bytes: Vec<u8> = buffers.input.iter().copied().take(CHUNK).collect();
            if bytes.is_empty() || buffers.input_refused {
                break;
            }
            // Set before the device is asked: it may call `input_ready` as soon as it has refused.
            buffers.input_refused = true;
            drop(buffers);
            let taken = device.receive(&bytes).min(bytes.len());
            buffers = self.buffers.lock();
            let was_full = buffers.input.len() >= INPUT_LIMIT;
            buffers.input.drain(..taken);
            if taken == bytes.len() {
                buffers.input_refused = false;
            }
            if was_full && taken > 0 {
                self.wake();
            }
        }
        buffers.delivering = false;
    }

    fn run(self: &Arc<Self>, mut host: Host) {
        let mut last_words = None;
        loop {
            let (stopping, has_output, input_full) = {
                let buffers = self.buffers.lock();
                (buffers.stopping, !buffers.output.is_empty(), buffers.input.len() >= INPUT_LIMIT)
            };
            if stopping {
                let deadline = *last_words.get_or_insert_with(|| Instant::now() + LAST_WORDS);
                if !has_output || Instant::now() >= deadline {
                    break;
                }
            }
            let read = !stopping && (!input_full || host.filter.is_some());
            let ready = match host.wait(&self.wake, read, has_output, stopping) {
                Ok(ready) => ready,
                Err(error) => {
                    warn!("character device: cannot wait for the host: {error}");
                    break;
                }
            };
            if ready.woken {
                let _ = rustix::io::read(&self.wake, &mut [0; 8]);
            }
            if ready.client {
                self.accept(&mut host);
            }
            if ready.output {
                self.write_some(&mut host);
            }
            if ready.input {
                self.read_some(&mut host);
            }
        }
        let mut buffers = self.buffers.lock();
        buffers.disconnected = true;
        buffers.output.clear();
        buffers.ended = true;
        self.changed.notify_all();
    }

    fn accept(self: &Arc<Self>, host: &mut Host) {
        let Some(Ok((client, _))) = host.listener.as_ref().map(UnixListener::accept) else { return };
        let Ok(()) = client.set_nonblocking(true) else { return };
        let Ok(input) = client.try_clone() else { return };
        host.input = Some(input.into());
        host.output = Some(client.into());
        self.buffers.lock().disconnected = false;
    }

    fn write_some(self: &Arc<Self>, host: &mut Host) {
        let Some(output) = &host.output else { return };
        let chunk: Vec<u8> = self.buffers.lock().output.iter().copied().take(CHUNK).collect();
        let written = match rustix::io::write(output, &chunk) {
            Ok(written) => Some(written),
            Err(Errno::AGAIN | Errno::INTR) => Some(0),
            Err(error) => {
                if host.listener.is_none() {
                    warn!("character device: output is lost from here on: {error}");
                }
                None
            }
        };
        match written {
            Some(written) => self.output_done(written),
            None => self.hang_up(host),
        }
    }

    /// Removes what was written, and tells whoever waits for that.
    fn output_done(self: &Arc<Self>, written: usize) {
        let mut buffers = self.buffers.lock();
        buffers.output.drain(..written);
        if buffers.output.is_empty() {
            self.changed.notify_all();
        }
        if buffers.output_refused && buffers.output.len() <= OUTPUT_LIMIT / 2 {
            buffers.output_refused = false;
            let this = Arc::clone(self);
            self.events.post(move || {
                if let Some(device) = this.device.get().and_then(Weak::upgrade) {
                    device.output_ready();
                }
            });
        }
    }

    /// The other end is gone: its output disappears, and a listener waits for the next client.
    fn hang_up(self: &Arc<Self>, host: &mut Host) {
        host.output = None;
        if host.listener.is_some() {
            host.input = None;
        }
        let waiting = {
            let mut buffers = self.buffers.lock();
            buffers.disconnected = true;
            buffers.output.len()
        };
        self.output_done(waiting);
    }

    fn read_some(self: &Arc<Self>, host: &mut Host) {
        let Some(input) = &host.input else { return };
        let mut bytes = vec![0; CHUNK];
        let count = match rustix::io::read(input, &mut bytes) {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => return,
            Err(_) => 0, // the end, as far as a stream of characters goes
        };
        if count == 0 {
            if host.listener.is_some() {
                self.hang_up(host);
            }
            host.input = None;
            return;
        }
        bytes.truncate(count);
        if let Some(filter) = &mut host.filter {
            filter(&mut bytes);
        }
        let mut buffers = self.buffers.lock();
        let room = INPUT_LIMIT.saturating_sub(buffers.input.len());
        // Without a filter it was read because there was room for some; the limit is then passed by less than
        // a chunk.
        let room = if host.filter.is_some() { room } else { CHUNK };
        buffers.input.extend(bytes.iter().take(room));
        self.deliver_later(&mut buffers);
    }
}

/// What [`Host::wait`] has seen.
struct Ready {
    woken: bool,
    client: bool,
    output: bool,
    input: bool,
}

impl Host {
    fn wait(&self, wake: &OwnedFd, read: bool, write: bool, stopping: bool) -> io::Result<Ready> {
        let listener = self.listener.as_ref().filter(|_| self.output.is_none() && !stopping);
        let sources: [(Option<BorrowedFd<'_>>, PollFlags); 4] = [
            (Some(wake.as_fd()), PollFlags::IN),
            (listener.map(AsFd::as_fd), PollFlags::IN),
            (self.output.as_ref().filter(|_| write).map(AsFd::as_fd), PollFlags::OUT),
            (self.input.as_ref().filter(|_| read).map(AsFd::as_fd), PollFlags::IN),
        ];
        let (which, mut fds): (Vec<usize>, Vec<PollFd<'_>>) = sources
            .iter()
            .enumerate()
            .filter_map(|(i, (fd, flags))| fd.map(|fd| (i, PollFd::from_borrowed_fd(fd, *flags))))
            .unzip();
        let limit = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        match poll(&mut fds, stopping.then_some(&limit)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = [false; 4];
        for (i, fd) in which.into_iter().zip(&fds) {
            // An error or a hang-up shows in the read or write that follows.
            ready[i] = !fd.revents().is_empty();
        }
        let [woken, client, output, input] = ready;
        Ok(Ready { woken, client, output, input })
    }
}
