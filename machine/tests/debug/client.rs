//! A client of gdb's remote protocol.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long the machine may take for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

pub trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A connection to the server.
pub struct Client {
    stream: Box<dyn Stream>,
}

impl Client {
    /// Connects to `address`, as the machine tells it.
    pub fn connect(address: &str) -> Self {
        let stream: Box<dyn Stream> = if address.contains('/') {
            let stream = UnixStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            Box::new(stream)
        } else {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_nodelay(true).unwrap();
            Box::new(stream)
        };
        Self { stream }
    }

    /// Sends bytes as they are; false if the connection is gone.
    pub fn send_raw(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends a packet.
    pub fn send(&mut self, body: &str) {
        assert!(self.send_raw(&packet(body.as_bytes())), "the connection is gone");
    }

    /// Receives a packet; none if the connection is gone.
    pub fn try_receive(&mut self) -> Option<String> {
        let mut byte = || {
            let mut byte = [0];
            let len = self.stream.read(&mut byte).ok()?;
            (len == 1).then_some(byte[0])
        };
        while byte()? != b'$' {}
        let mut body = Vec::new();
        loop {
            match byte()? {
                b'#' => break,
                b'*' => {
                    let repeat = byte()? - 29;
                    let last = *body.last()?;
                    body.extend(std::iter::repeat_n(last, usize::from(repeat)));
                }
                b'}' => body.push(byte()? ^ 0x20),
                other => body.push(other),
            }
        }
        byte()?;
        byte()?;
        self.send_raw(b"+");
        Some(String::from_utf8_lossy(&body).into_owned())
    }

    /// Receives a packet.
    pub fn receive(&mut self) -> String {
        self.try_receive().expect("the connection is gone")
    }

    /// Sends a packet and receives its answer.
    pub fn ask(&mut self, body: &str) -> String {
        self.send(body);
        self.receive()
    }

    /// Asks for something that is to succeed.
    pub fn tell(&mut self, body: &str) {
        assert_eq!(self.ask(body), "OK", "{body}");
    }

    /// The value of register `number`.
    pub fn register(&mut self, number: usize) -> u64 {
        let answer = self.ask(&format!("p{number:x}"));
        u64::from_str_radix(&answer, 16).unwrap_or_else(|_| panic!("{answer}")).swap_bytes()
    }

    /// Gives register `number` a value.
    pub fn set_register(&mut self, number: usize, value: u64) {
        self.tell(&format!("P{number:x}={:016x}", value.swap_bytes()));
    }

    /// Puts the 64 bits `value` into memory.
    pub fn poke(&mut self, address: u64, value: u64) {
        self.tell(&format!("M{address:x},8:{:016x}", value.swap_bytes()));
    }
}

/// A packet with its checksum.
pub fn packet(body: &[u8]) -> Vec<u8> {
    let sum = body.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    let mut packet = vec![b'$'];
    packet.extend(body);
    packet.extend(format!("#{sum:02x}").bytes());
    packet
}
