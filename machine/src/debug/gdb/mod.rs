//! A server for debuggers that speak gdb's remote protocol, on a thread of its own.
//!
//! The machine does not start before a debugger says so. One debugger is served at a time; a new one finds the machine
//! halted. When a debugger detaches, its breakpoints go and the machine runs on; when its connection is lost, its
//! breakpoints go and the machine stays as it is, halted or running.

mod registers;
mod target;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use gdbstub::conn::Connection;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStub};
use rustix::event::{PollFd, PollFlags, poll};

use self::target::Debuggee;
use super::gate::{Gate, Over};
use super::inspect::Inspect;
use crate::power::{Ending, PowerSwitch};

/// Bytes of the longest packet.
const PACKET: usize = 16 << 10;
/// How long a debugger may keep what is sent to it waiting.
const PATIENCE: Duration = Duration::from_secs(5);

/// The server.
pub struct Server<I: Inspect> {
    gate: Arc<Gate<I>>,
    address: String,
    /// The socket file to remove.
    file: Option<PathBuf>,
    thread: Option<JoinHandle<()>>,
}

impl<I: Inspect> Server<I> {
    /// Listens at `address`: a host and a port (`127.0.0.1:1234`), a port of the loopback interface (`:1234`), or, with a
    /// slash in it, the path of a Unix socket.
    ///
    /// # Errors
    /// The address is none of these, or the host does not let us listen there.
    pub fn listen(address: &str, gate: Arc<Gate<I>>, isa: &I, power: Arc<PowerSwitch>) -> io::Result<Self> {
        let (listener, address, file) = if address.contains('/') {
            let path = Path::new(address);
            (Listener::Unix(bind_unix(path)?), address.to_owned(), Some(path.to_owned()))
        } else {
            let listener = bind_tcp(address)?;
            let bound = listener.local_addr()?;
            if !bound.ip().is_loopback() {
                tracing::warn!("whoever can reach {bound} controls the machine");
            }
            (Listener::Tcp(listener), bound.to_string(), None)
        };
        let description = isa.description().into();
        let service = Service { gate: Arc::clone(&gate), description, power };
        let thread = std::thread::Builder::new().name("gdb".into()).spawn(move || service.run(&listener))?;
        tracing::info!("the machine waits for a debugger at {address}");
        Ok(Self { gate, address, file, thread: Some(thread) })
    }

    /// Where it listens; with the port that was chosen, if zero was asked for.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Tells the debugger how the machine ended, and ends the server.
    pub fn finish(&mut self, over: Over) {
        self.gate.finish(over);
        if let Some(thread) = self.thread.take() {
            // It catches its panics.
            let _ = thread.join();
        }
    }
}

impl<I: Inspect> Drop for Server<I> {
    fn drop(&mut self) {
        self.finish(Over::Quit);
        if let Some(path) = &self.file {
            // If somebody has removed it already, all the better.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn bind_tcp(address: &str) -> io::Result<TcpListener> {
    match address.strip_prefix(':') {
        Some(port) => {
            let port = port.parse().map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("{port:?} is no port number"))
            })?;
            TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        }
        None => TcpListener::bind(address),
    }
}

/// Binds a socket at `path`, in place of one that nobody listens on any more.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let is_socket = path.symlink_metadata().is_ok_and(|meta| meta.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if is_socket && UnixStream::connect(path).is_err_and(refused) {
        std::fs::remove_file(path)?;
    }
    UnixListener::bind(path)
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
        })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

/// A connection's socket.
trait Stream: Read + Write + AsFd {}

impl<T: Read + Write + AsFd> Stream for T {}

/// A connection, its bytes collected in both directions.
struct Link {
    stream: Box<dyn Stream>,
    received: Vec<u8>,
    /// How many of `received` have been used.
    used: usize,
    to_send: Vec<u8>,
}

impl Link {
    fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, received: Vec::new(), used: 0, to_send: Vec::new() }
    }

    /// The next byte that has been received already.
    fn next(&mut self) -> Option<u8> {
        let byte = self.received.get(self.used).copied()?;
        self.used += 1;
        Some(byte)
    }

    /// Receives what is there; it waits if nothing is.
    fn receive(&mut self) -> io::Result<()> {
        self.received.resize(PACKET, 0);
        self.used = 0;
        let outcome = self.stream.read(&mut self.received);
        self.received.truncate(*outcome.as_ref().unwrap_or(&0));
        match outcome {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Connection for Link {
    type Error = io::Error;

    fn write(&mut self, byte: u8) -> io::Result<()> {
        self.to_send.push(byte);
        if self.to_send.len() >= PACKET { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let sent = self.stream.write_all(&self.to_send);
        self.to_send.clear();
        sent
    }
}

/// What the server's thread owns.
struct Service<I: Inspect> {
    gate: Arc<Gate<I>>,
    description: Arc<str>,
    power: Arc<PowerSwitch>,
}

/// What there is to deal with.
enum Event {
    /// Bytes, or somebody who connects.
    Socket,
    /// The machine has something to say.
    News,
}

impl<I: Inspect> Service<I> {
    fn run(&self, listener: &Listener) {
        while self.gate.over().is_none() {
            match self.wait(listener.as_fd()).and_then(|event| match event {
                Event::Socket => listener.accept().map(Some),
                Event::News => Ok(None),
            }) {
                Ok(Some(stream)) => self.serve(stream),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!("cannot accept a debugger: {error}");
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    /// Waits for the socket, or for news of the machine; news come first.
    fn wait(&self, socket: std::os::fd::BorrowedFd<'_>) -> io::Result<Event> {
        let news = self.gate.news();
        let mut fds = [PollFd::new(&news, PollFlags::IN), PollFd::new(&socket, PollFlags::IN)];
        loop {
            match poll(&mut fds, None) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if fds[0].revents().is_empty() {
            return Ok(Event::Socket);
        }
        self.gate.clear_news();
        Ok(Event::News)
    }

    /// Serves one debugger.
    fn serve(&self, stream: Box<dyn Stream>) {
        if !self.gate.halt() {
            return;
        }
        tracing::info!("a debugger has connected");
        let mut debuggee = Debuggee::new(Arc::clone(&self.gate), Arc::clone(&self.description));
        // Not even a bug in the protocol's implementation may take the machine with it.
        let talk = std::panic::AssertUnwindSafe(|| self.talk(Link::new(stream), &mut debuggee));
        let ended = std::panic::catch_unwind(talk).unwrap_or_else(|_| Err("internal error".into()));
        debuggee.disconnect(matches!(ended, Ok(Some(DisconnectReason::Disconnect))));
        match ended {
            Ok(Some(DisconnectReason::Kill)) => self.power.end(Ending::Quit),
            Ok(_) => tracing::info!("the debugger has disconnected"),
            Err(error) => tracing::warn!("the debugger is disconnected: {error}"),
        }
    }

    /// Talks to a debugger until it has had enough, or the machine is over.
    fn talk(
        &self,
        link: Link,
        debuggee: &mut Debuggee<I>,
    ) -> Result<Option<DisconnectReason>, Box<dyn std::error::Error>> {
        let stub = GdbStub::builder(link).packet_buffer_size(PACKET).build()?;
        let mut state = stub.run_state_machine(debuggee)?;
        loop {
            state = match state {
                GdbStubStateMachine::Idle(mut stub) => match stub.borrow_conn().next() {
                    Some(byte) => stub.incoming_data(debuggee, byte)?,
                    None => {
                        self.receive(stub.borrow_conn())?;
                        if self.gate.over().is_some() {
                            return Ok(None);
                        }
                        stub.into()
                    }
                },
                GdbStubStateMachine::Running(mut stub) => match debuggee.news() {
                    Some(news) => stub.report_stop(debuggee, news)?,
                    None => match stub.borrow_conn().next() {
                        Some(byte) => stub.incoming_data(debuggee, byte)?,
                        None => {
                            self.receive(stub.borrow_conn())?;
                            stub.into()
                        }
                    },
                },
                GdbStubStateMachine::CtrlCInterrupt(stub) => {
                    let reason = debuggee.interrupt();
                    stub.interrupt_handled(debuggee, reason)?
                }
                GdbStubStateMachine::Disconnected(stub) => return Ok(Some(stub.get_reason())),
            }
        }
    }

    /// Waits for bytes, which it receives, or for news of the machine.
    fn receive(&self, link: &mut Link) -> io::Result<()> {
        match self.wait(link.stream.as_fd())? {
            Event::Socket => link.receive(),
            Event::News => Ok(()),
        }
    }
}
