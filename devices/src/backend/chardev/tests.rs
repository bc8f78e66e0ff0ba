use super::*;
use crate::testing::{events, wait_for};
use parking_lot::Mutex;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// A device with room for a few bytes.
#[derive(Default)]
struct Sink {
    seen: Mutex<Vec<u8>>,
    room: Mutex<usize>,
    ready: Mutex<u32>,
}

impl CharDevice for Sink {
    fn receive(&self, bytes: &[u8]) -> usize {
        let mut room = self.room.lock();
        let taken = bytes.len().min(*room);
        *room -= taken;
        self.seen.lock().extend(&bytes[..taken]);
        taken
    }

    fn output_ready(&self) {
        *self.ready.lock() += 1;
    }
}

fn sink(room: usize) -> (Arc<Sink>, Weak<dyn CharDevice>) {
    let sink = Arc::new(Sink { room: Mutex::new(room), ..Sink::default() });
    let weak: Weak<Sink> = Arc::downgrade(&sink);
    (sink, weak)
}

#[test]
fn a_file_gets_the_output() {
    let (events, dir) = (events(), tempfile::tempdir().unwrap());
    let path = dir.path().join("log");
    std::fs::write(&path, "old").unwrap();
    let chardev = HostChardev::file(&events.handle(), &path).unwrap();
    assert_eq!(chardev.write(b"hello "), 6);
    assert!(chardev.drain(Duration::from_secs(20)));
    assert_eq!(std::fs::read(&path).unwrap(), b"hello ");
    chardev.write(b"world");
    drop(chardev);
    assert_eq!(std::fs::read(&path).unwrap(), b"hello world");
    assert!(HostChardev::file(&events.handle(), &dir.path().join("none/log")).is_err());
}

#[test]
fn a_socket_serves_one_client_after_the_other() {
    let (events, dir) = (events(), tempfile::tempdir().unwrap());
    let path = dir.path().join("serial");
    let chardev = HostChardev::unix_socket(&events.handle(), &path).unwrap();
    assert!(HostChardev::unix_socket(&events.handle(), &path).is_err(), "somebody listens there");
    let (sink, weak) = sink(usize::MAX);
    chardev.attach(weak);
    assert_eq!(chardev.write(b"lost"), 4);
    for text in [&b"one"[..], b"two"] {
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(text).unwrap();
        wait_for("the device has the client's bytes", || sink.seen.lock().ends_with(text));
        assert_eq!(chardev.write(text), 3);
        let mut answer = [0; 3];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, text);
    }
    drop(chardev);
    assert!(!path.exists());

    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    HostChardev::unix_socket(&events.handle(), &path).expect("a stale socket is replaced");
    std::fs::write(&path, "precious").unwrap();
    assert!(HostChardev::unix_socket(&events.handle(), &path).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn input_waits_for_room_and_none_is_lost() {
    let (events, dir) = (events(), tempfile::tempdir().unwrap());
    let path = dir.path().join("serial");
    let chardev = HostChardev::unix_socket(&events.handle(), &path).unwrap();
    let sent: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    let mut client = UnixStream::connect(&path).unwrap();
    let copy = sent.clone();
    let sender = std::thread::spawn(move || {
        client.write_all(&copy).unwrap();
        client
    });
    let (sink, weak) = sink(5);
    chardev.attach(weak);
    wait_for("all bytes are through", || {
        *sink.room.lock() = 1000;
        chardev.input_ready();
        sink.seen.lock().len() == sent.len()
    });
    assert_eq!(*sink.seen.lock(), sent);
    drop(sender.join().unwrap());
}

#[test]
fn a_client_that_does_not_read_stops_the_output_but_nothing_else() {
    let (events, dir) = (events(), tempfile::tempdir().unwrap());
    let path = dir.path().join("serial");
    let chardev = HostChardev::unix_socket(&events.handle(), &path).unwrap();
    let (sink, weak) = sink(usize::MAX);
    chardev.attach(weak);
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"x").unwrap();
    wait_for("the client is connected", || !sink.seen.lock().is_empty());
    let (mut sent, block) = (0, [7; 1000]);
    loop {
        let taken = chardev.write(&block);
        sent += taken;
        if taken == 0 && !chardev.drain(Duration::from_millis(50)) && chardev.write(&block) == 0 {
            break;
        }
    }
    client.write_all(b"y").unwrap();
    wait_for("input still comes through", || sink.seen.lock().len() == 2);
    let mut got = vec![0; sent];
    client.read_exact(&mut got).unwrap();
    wait_for("the device hears that there is room", || *sink.ready.lock() > 0);
    assert!(got.iter().all(|byte| *byte == 7));
    // Never read again: dropping must end all the same.
    while chardev.write(&block) > 0 {}
    drop(chardev);
}
