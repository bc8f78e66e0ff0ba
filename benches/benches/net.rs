//! User-mode networking: a guest made of a TCP/IP stack of its own talks to servers on the host through the NAT.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::thread;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use devices::backend::net::Config;
use smoltcp::socket::tcp;

#[allow(dead_code, reason = "the tests of the network use the rest of it")]
#[path = "../../devices/tests/user_net/guest.rs"]
mod guest;

use guest::{Guest, HOST};

/// Bytes that one iteration moves.
const LENGTH: usize = 4 << 20;

/// A server on the host that sends or receives [`LENGTH`] bytes on each connection; its port.
fn server(sends: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        let data = vec![0x5a; LENGTH];
        let mut buffer = vec![0; 64 << 10];
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            if sends {
                stream.write_all(&data).expect("sent");
                let _ = stream.shutdown(Shutdown::Write);
            } else {
                while stream.read(&mut buffer).expect("received") > 0 {}
            }
        }
    });
    port
}

/// One iteration connects, moves 4 MiB to or from the guest, and closes.
fn throughput(c: &mut Criterion) {
    let mut group = c.benchmark_group("nat");
    group.throughput(Throughput::Bytes(LENGTH as u64));
    group.sample_size(10);
    let mut guest = Guest::new(Config::default());
    let port = server(true);
    group.bench_function("download", |b| {
        b.iter(|| {
            let socket = guest.connected(HOST, port);
            assert_eq!(guest.receive_all(socket).len(), LENGTH);
            close(&mut guest, socket);
        })
    });
    let port = server(false);
    let data = vec![0xa5; LENGTH];
    group.bench_function("upload", |b| {
        b.iter(|| {
            let socket = guest.connected(HOST, port);
            guest.send(socket, &data);
            close(&mut guest, socket);
        })
    });
}

/// Closes the socket, waits until the peer has all that was sent, and forgets it.
fn close(guest: &mut Guest, socket: smoltcp::iface::SocketHandle) {
    guest.sockets.get_mut::<tcp::Socket>(socket).close();
    guest.run("close", |sockets| {
        let state = sockets.get::<tcp::Socket>(socket).state();
        matches!(state, tcp::State::Closed | tcp::State::TimeWait).then_some(())
    });
    guest.sockets.remove(socket);
}

criterion_group!(benches, throughput);
criterion_main!(benches);
