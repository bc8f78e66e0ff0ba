//! TCP in both directions.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use devices::backend::net::{Config, Limits, NetBackend};
use smoltcp::socket::tcp::{self, State};

use crate::guest::{DNS, Guest, HOST, PATIENCE, noise};

fn server() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn read_all(mut stream: &TcpStream) -> Vec<u8> {
    let mut data = Vec::new();
    stream.read_to_end(&mut data).unwrap();
    data
}

fn download(config: Config, length: usize) {
    let (listener, port) = server();
    let mut guest = Guest::new(config);
    let sent = noise(length);
    let expected = sent.clone();
    let host = thread::spawn(move || accept(&listener).write_all(&sent).unwrap());
    let socket = guest.connected(HOST, port);
    assert!(guest.receive_all(socket) == expected);
    host.join().unwrap();
}

#[test]
fn a_download_arrives_whole() {
    download(Config::default(), 64 << 20);
}

#[test]
fn a_download_in_large_packets_arrives_whole() {
    download(Config { mtu: 65_535, ..Config::default() }, 64 << 20);
}

#[test]
fn an_upload_arrives_whole() {
    let (listener, port) = server();
    let mut guest = Guest::new(Config::default());
    let data = noise(64 << 20);
    let host = thread::spawn(move || read_all(&accept(&listener)));
    let socket = guest.connected(HOST, port);
    guest.send(socket, &data);
    guest.run("close", |sockets| {
        let socket = sockets.get_mut::<tcp::Socket>(socket);
        socket.close();
        (socket.send_queue() == 0).then_some(())
    });
    guest.run("host", |_| host.is_finished().then_some(()));
    assert!(host.join().unwrap() == data);
}

#[test]
fn a_host_that_does_not_read_holds_the_guest_back() {
    let (listener, port) = server();
    let mut guest = Guest::new(Config::default());
    let socket = guest.connected(HOST, port);
    let host = accept(&listener);
    // Far more than all buffers on the way; it must stop, and go on when the host reads.
    let data = noise(32 << 20);
    let mut sent = 0;
    let mut last = Instant::now();
    guest.run("stall", |sockets| {
        let more = sockets.get_mut::<tcp::Socket>(socket).send_slice(&data[sent..]).unwrap();
        sent += more;
        if more > 0 {
            last = Instant::now();
        }
        (last.elapsed() > Duration::from_millis(200)).then_some(())
    });
    assert!(sent < data.len(), "the buffers on the way are bounded");
    let reader = thread::spawn(move || read_all(&host));
    guest.send(socket, &data[sent..]);
    guest.run("close", |sockets| {
        let socket = sockets.get_mut::<tcp::Socket>(socket);
        socket.close();
        (socket.state() == State::FinWait2 || socket.state() == State::TimeWait).then_some(())
    });
    // The guest is done; the rest is between the network and the host.
    assert!(reader.join().unwrap() == data);
}

#[test]
fn many_connections_at_a_time() {
    const COUNT: usize = 100;
    let (listener, port) = server();
    let mut guest = Guest::new(Config::default());
    let host = thread::spawn(move || {
        let workers: Vec<_> = (0..COUNT)
            .map(|_| {
                let mut stream = accept(&listener);
                thread::spawn(move || {
                    let data = read_all(&stream);
                    stream.write_all(&data).unwrap();
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
    let handles: Vec<_> = (0..COUNT).map(|_| guest.connect(HOST, port)).collect();
    let data: Vec<_> = (0..COUNT).map(|index| noise(20_000 + index)).collect();
    for (handle, data) in handles.iter().zip(&data) {
        guest.run("connect", |sockets| sockets.get::<tcp::Socket>(*handle).may_send().then_some(()));
        guest.send(*handle, data);
        guest.sockets.get_mut::<tcp::Socket>(*handle).close();
    }
    for (handle, data) in handles.iter().zip(&data) {
        assert!(guest.receive_all(*handle) == *data);
    }
    host.join().unwrap();
}

/// Waits until a socket is closed, and returns how long it took.
fn closed(guest: &mut Guest, socket: smoltcp::iface::SocketHandle) -> Duration {
    let start = Instant::now();
    guest.run("reset", |sockets| (sockets.get::<tcp::Socket>(socket).state() == State::Closed).then_some(()));
    start.elapsed()
}

#[test]
fn a_refused_connection_is_refused_at_once() {
    let (listener, port) = server();
    drop(listener);
    let mut guest = Guest::new(Config::default());
    for (address, port) in [(HOST, port), (DNS, 80)] {
        let socket = guest.connect(address, port);
        assert!(closed(&mut guest, socket) < Duration::from_secs(5));
    }
}

#[test]
fn a_connection_is_half_closed_by_the_guest() {
    let (listener, port) = server();
    let mut guest = Guest::new(Config::default());
    let socket = guest.connected(HOST, port);
    let mut host = accept(&listener);
    guest.send(socket, b"question");
    guest.sockets.get_mut::<tcp::Socket>(socket).close();
    let answer = thread::spawn(move || {
        let question = read_all(&host);
        // The other half still works a while later.
        thread::sleep(Duration::from_millis(100));
        host.write_all(b"answer").unwrap();
        question
    });
    assert_eq!(guest.receive_all(socket), b"answer");
    assert_eq!(answer.join().unwrap(), b"question");
}

#[test]
fn a_connection_is_half_closed_by_the_host() {
    let (listener, port) = server();
    let mut guest = Guest::new(Config::default());
    let socket = guest.connected(HOST, port);
    let mut host = accept(&listener);
    host.write_all(b"greeting").unwrap();
    host.shutdown(Shutdown::Write).unwrap();
    assert_eq!(guest.receive_all(socket), b"greeting");
    guest.run("rest", |_| Some(()));
    guest.send(socket, b"thanks");
    guest.sockets.get_mut::<tcp::Socket>(socket).close();
    let reader = thread::spawn(move || read_all(&host));
    guest.run("host", |_| reader.is_finished().then_some(()));
    assert_eq!(reader.join().unwrap(), b"thanks");
}

#[test]
fn a_reset_by_the_host_reaches_the_guest() {
    let (listener, port) = server();
    let mut guest = Guest::new(Config::default());
    let socket = guest.connected(HOST, port);
    let host = accept(&listener);
    guest.send(socket, b"never read");
    // A socket that is closed with unread data resets its connection.
    host.peek(&mut [0]).unwrap();
    drop(host);
    assert!(closed(&mut guest, socket) < Duration::from_secs(5));
}

#[test]
fn a_reset_by_the_guest_reaches_the_host() {
    let (listener, port) = server();
    let mut guest = Guest::new(Config::default());
    let socket = guest.connected(HOST, port);
    let mut host = accept(&listener);
    guest.sockets.get_mut::<tcp::Socket>(socket).abort();
    guest.poll();
    let error = host.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_guest_that_goes_away_resets_its_connections() {
    let (listener, port) = server();
    let mut guest = Guest::new(Config::default());
    guest.connected(HOST, port);
    let mut host = accept(&listener);
    drop(guest);
    // The network has ended, and its sockets with it.
    assert!(matches!(host.read(&mut [0]), Ok(0) | Err(_)));
}

fn forwarding(text: &str) -> (Guest, SocketAddr) {
    let guest = Guest::new(Config { forwards: vec![text.parse().unwrap()], ..Config::default() });
    let address = guest.port.net.forwards()[0];
    (guest, address)
}

#[test]
fn a_forwarded_port_leads_to_the_guest() {
    let (mut guest, address) = forwarding("tcp::0-:22");
    assert_eq!(address.ip(), Ipv4Addr::LOCALHOST);
    // Nobody has asked for the guest's address yet, so this also tests that the router does.
    for _ in 0..3 {
        let socket = guest.listen(22);
        let client = thread::spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"hello").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            (read_all(&stream), stream.local_addr().unwrap())
        });
        assert_eq!(guest.receive_all(socket), b"hello");
        let seen = guest.sockets.get::<tcp::Socket>(socket).remote_endpoint().unwrap();
        guest.send(socket, b"welcome");
        guest.sockets.get_mut::<tcp::Socket>(socket).close();
        guest.run("client", |_| client.is_finished().then_some(()));
        let (data, local) = client.join().unwrap();
        assert_eq!(data, b"welcome");
        assert_eq!((seen.addr, seen.port), (HOST.into(), local.port()));
    }
}

#[test]
fn a_forwarded_port_that_the_guest_has_closed_resets() {
    let (mut guest, address) = forwarding("tcp::0-10.0.2.15:23");
    let client = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.read(&mut [0]).unwrap_err().kind()
    });
    guest.run("client", |_| client.is_finished().then_some(()));
    assert_eq!(client.join().unwrap(), ErrorKind::ConnectionReset);
}

#[test]
fn names_are_asked_for_over_tcp() {
    let (listener, port) = server();
    let dns = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut guest = Guest::new(Config { dns: Some(dns), ..Config::default() });
    let socket = guest.connected(DNS, 53);
    let mut host = accept(&listener);
    host.write_all(b"address").unwrap();
    drop(host);
    assert_eq!(guest.receive_all(socket), b"address");
}

#[test]
fn a_guest_without_buffers_loses_nothing() {
    let (listener, port) = server();
    let mut guest = Guest::new(Config::default());
    guest.port.card.set_buffers(3);
    let data = noise(4 << 20);
    let expected = data.clone();
    let host = thread::spawn(move || accept(&listener).write_all(&data).unwrap());
    let socket = guest.connected(HOST, port);
    let mut received = Vec::new();
    let start = Instant::now();
    while received.len() < expected.len() {
        assert!(start.elapsed() < PATIENCE);
        // No buffers at all for a while, twenty times.
        if received.len() / (200 << 10) % 2 == 0 && guest.port.card.refused() {
            thread::sleep(Duration::from_millis(5));
        }
        guest.poll();
        let socket = guest.sockets.get_mut::<tcp::Socket>(socket);
        while let Ok(length @ 1..) = socket.recv(|bytes| {
            received.extend_from_slice(bytes);
            (bytes.len(), bytes.len())
        }) {
            assert!(length > 0);
        }
    }
    assert!(received == expected);
    host.join().unwrap();
}

#[test]
fn the_number_of_connections_is_bounded() {
    let (listener, port) = server();
    let limits = Limits { tcp_connections: 4, ..Limits::default() };
    let mut guest = Guest::new(Config { limits, ..Config::default() });
    let first: Vec<_> = (0..4).map(|_| guest.connected(HOST, port)).collect();
    let hosts: Vec<_> = (0..4).map(|_| accept(&listener)).collect();
    let waiting = guest.connect(HOST, port);
    let start = Instant::now();
    guest.run("nothing", |_| (start.elapsed() > Duration::from_millis(300)).then_some(()));
    assert_eq!(guest.sockets.get::<tcp::Socket>(waiting).state(), State::SynSent);
    // When one has ended, the guest's next try succeeds.
    drop(hosts);
    guest.sockets.get_mut::<tcp::Socket>(first[0]).close();
    guest.run("connect", |sockets| sockets.get::<tcp::Socket>(waiting).may_send().then_some(()));
}

#[test]
fn dropping_the_network_ends_its_thread() {
    let (_listener, port) = server();
    let mut guest = Guest::new(Config::default());
    guest.connected(HOST, port);
    let card = guest.port.card.clone();
    guest.port.net.detach();
    assert_eq!(std::sync::Arc::strong_count(&card), 2);
    guest.port.net.attach(card.clone());
    drop(guest);
    assert_eq!(std::sync::Arc::strong_count(&card), 1);
}
