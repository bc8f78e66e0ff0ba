//! What has no connections: ARP, DHCP, pings, UDP, DNS.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use devices::backend::net::{Config, Limits, NetBackend, NetError, UserNet};
use smoltcp::socket::dhcpv4;
use smoltcp::wire::{
    EthernetProtocol, Icmpv4DstUnreachable, Icmpv4Message, Icmpv4Packet, IpProtocol, UdpPacket,
};

use crate::guest::{DNS, GUEST, Guest, HOST, MAC, PATIENCE, ROUTER_MAC, ip_packet, noise};

/// How long to wait for what must not come.
const MOMENT: Duration = Duration::from_millis(100);

fn udp(dst: Ipv4Addr, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8 + payload.len()];
    let mut packet = UdpPacket::new_unchecked(&mut bytes);
    packet.set_src_port(ports.0);
    packet.set_dst_port(ports.1);
    packet.set_len(8 + payload.len() as u16);
    packet.payload_mut().copy_from_slice(payload);
    packet.fill_checksum(&GUEST.into(), &dst.into());
    bytes
}

/// The next UDP datagram for the guest: who from, to which port, and what.
fn receive_udp(guest: &Guest, patience: Duration) -> Option<(Ipv4Addr, u16, u16, Vec<u8>)> {
    let mut fragments: Vec<u8> = Vec::new();
    guest.ip(patience, |packet| {
        if packet.next_header() != IpProtocol::Udp {
            return None;
        }
        assert_eq!(packet.dst_addr(), GUEST);
        // Fragments come in order.
        assert_eq!(usize::from(packet.frag_offset()), fragments.len());
        fragments.extend_from_slice(packet.payload());
        if packet.more_frags() {
            return None;
        }
        let udp = UdpPacket::new_checked(&fragments[..]).unwrap();
        assert!(udp.verify_checksum(&packet.src_addr().into(), &GUEST.into()));
        Some((packet.src_addr(), udp.src_port(), udp.dst_port(), udp.payload().to_vec()))
    })
}

/// The next ICMP message for the guest.
fn receive_icmp(guest: &Guest, patience: Duration) -> Option<(Ipv4Addr, Vec<u8>)> {
    guest.ip(patience, |packet| {
        (packet.next_header() == IpProtocol::Icmp).then(|| (packet.src_addr(), packet.payload().to_vec()))
    })
}

fn host_socket() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

fn guest() -> Guest {
    let guest = Guest::new(Config::default());
    guest.sync();
    guest
}

#[test]
fn only_the_routers_addresses_are_answered_for() {
    let guest = guest();
    assert_eq!(guest.arp(HOST, PATIENCE), Some(ROUTER_MAC));
    assert!(guest.arp(DNS, PATIENCE).is_some());
    for last in [1, 4, 15, 16, 255] {
        assert_eq!(guest.arp(Ipv4Addr::new(10, 0, 2, last), MOMENT), None);
    }
    assert_eq!(guest.arp(Ipv4Addr::new(10, 0, 3, 2), MOMENT), None);
}

#[test]
fn dhcp_gives_an_address() {
    let mut guest = Guest::without_address(Config::default());
    let socket = guest.sockets.add(dhcpv4::Socket::new());
    let (address, router, dns) =
        guest.run("lease", |sockets| match sockets.get_mut::<dhcpv4::Socket>(socket).poll()? {
            dhcpv4::Event::Configured(config) => {
                Some((config.address, config.router, config.dns_servers.to_vec()))
            }
            dhcpv4::Event::Deconfigured => None,
        });
    assert_eq!((address.address(), address.prefix_len()), (GUEST, 24));
    assert_eq!(router, Some(HOST));
    assert_eq!(dns, [DNS]);
}

fn echo_request(length: usize) -> Vec<u8> {
    let mut message = noise(8 + length);
    let mut icmp = Icmpv4Packet::new_unchecked(&mut message);
    icmp.set_msg_type(Icmpv4Message::EchoRequest);
    icmp.set_msg_code(0);
    icmp.set_echo_ident(0x1234);
    icmp.set_echo_seq_no(7);
    icmp.fill_checksum();
    message
}

#[test]
fn the_router_answers_pings() {
    let guest = guest();
    for (address, length) in [(HOST, 0), (HOST, 56), (DNS, 1400)] {
        let request = echo_request(length);
        guest.send_ip(address, IpProtocol::Icmp, &request);
        let (from, reply) = receive_icmp(&guest, PATIENCE).unwrap();
        let icmp = Icmpv4Packet::new_checked(&reply[..]).unwrap();
        assert_eq!(from, address);
        assert_eq!(icmp.msg_type(), Icmpv4Message::EchoReply);
        assert!(icmp.verify_checksum());
        assert_eq!(reply[4..], request[4..]);
    }
}

#[test]
fn a_ping_without_privilege_is_prohibited() {
    // Where the host allows ping sockets, the answer depends on its network.
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ping_group_range").unwrap_or_default();
    let bounds: Vec<u32> = range.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let nobody = matches!(bounds[..], [first, last] if first > last);
    let guest = guest();
    guest.send_ip(Ipv4Addr::new(192, 0, 2, 1), IpProtocol::Icmp, &echo_request(56));
    if nobody {
        let (from, message) = receive_icmp(&guest, PATIENCE).unwrap();
        let icmp = Icmpv4Packet::new_checked(&message[..]).unwrap();
        assert_eq!(from, HOST);
        assert_eq!(icmp.msg_type(), Icmpv4Message::DstUnreachable);
        assert_eq!(Icmpv4DstUnreachable::from(icmp.msg_code()), Icmpv4DstUnreachable::CommProhibited);
    }
    guest.sync();
}

#[test]
fn udp_goes_out_and_comes_back() {
    let guest = guest();
    let (first, first_port) = host_socket();
    let (second, second_port) = host_socket();
    let mut sources = Vec::new();
    for (socket, port) in [(&first, first_port), (&second, second_port)] {
        guest.send_ip(HOST, IpProtocol::Udp, &udp(HOST, (4000, port), b"question"));
        let mut buffer = [0; 100];
        let (length, source) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"question");
        socket.send_to(b"answer", source).unwrap();
        assert_eq!(receive_udp(&guest, PATIENCE), Some((HOST, port, 4000, b"answer".to_vec())));
        sources.push(source);
    }
    assert_eq!(sources[0], sources[1], "the mapping does not depend on the peer");
}

#[test]
fn long_datagrams_travel_in_fragments() {
    let guest = guest();
    let (socket, port) = host_socket();
    let data = noise(60_000);
    let datagram = udp(HOST, (4000, port), &data);
    // In reverse, to be put together all the same; and one twice.
    let fragments: Vec<_> = datagram.chunks(1480).enumerate().collect();
    for (index, fragment) in fragments.iter().rev().chain([&fragments[3]]) {
        let more = index + 1 < fragments.len();
        let packet = ip_packet(HOST, IpProtocol::Udp, fragment, (index * 1480) as u16, more);
        guest.send_frame(EthernetProtocol::Ipv4, &packet);
    }
    let mut buffer = vec![0; 65_536];
    let (length, source) = socket.recv_from(&mut buffer).unwrap();
    assert!(buffer[..length] == data);
    socket.send_to(&data, source).unwrap();
    let (.., answer) = receive_udp(&guest, PATIENCE).unwrap();
    assert!(answer == data);
}

#[test]
fn names_are_asked_for() {
    let (socket, port) = host_socket();
    let dns = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let guest = Guest::new(Config { dns: Some(dns), ..Config::default() });
    guest.sync();
    guest.send_ip(DNS, IpProtocol::Udp, &udp(DNS, (4000, 53), b"name"));
    let mut buffer = [0; 100];
    let (length, source) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"name");
    // Nobody else can answer.
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"lie", source).unwrap();
    socket.send_to(b"address", source).unwrap();
    assert_eq!(receive_udp(&guest, PATIENCE), Some((DNS, 53, 4000, b"address".to_vec())));
}

#[test]
fn a_resolver_that_is_down_is_reported() {
    let (socket, port) = host_socket();
    drop(socket);
    let dns = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let guest = Guest::new(Config { dns: Some(dns), ..Config::default() });
    guest.sync();
    for (target, port) in [(DNS, 53), (DNS, 80)] {
        let datagram = udp(target, (4000, port), b"name");
        guest.send_ip(target, IpProtocol::Udp, &datagram);
        let (from, message) = receive_icmp(&guest, PATIENCE).unwrap();
        let icmp = Icmpv4Packet::new_checked(&message[..]).unwrap();
        assert_eq!(from, DNS);
        assert_eq!(icmp.msg_type(), Icmpv4Message::DstUnreachable);
        assert_eq!(Icmpv4DstUnreachable::from(icmp.msg_code()), Icmpv4DstUnreachable::PortUnreachable);
        // The guest finds its socket by the ports that are quoted.
        assert_eq!(message[28..32], datagram[..4]);
    }
}

#[test]
fn a_forwarded_udp_port_leads_to_the_guest() {
    let forwards = vec!["udp::0-:69".parse().unwrap(), "udp:[::1]:0-:69".parse().unwrap()];
    let guest = Guest::new(Config { forwards, ..Config::default() });
    guest.sync();
    let addresses = guest.port.net.forwards();
    let clients: Vec<_> = [addresses[0], addresses[0], addresses[1]]
        .map(|address| {
            let client = UdpSocket::bind(SocketAddr::new(address.ip(), 0)).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.connect(address).unwrap();
            client
        })
        .into();
    for round in 0..2u8 {
        for (number, client) in clients.iter().enumerate() {
            let question = [round, number as u8];
            client.send(&question).unwrap();
            let (from, port, to, payload) = receive_udp(&guest, PATIENCE).unwrap();
            assert_eq!((from, to, &payload[..]), (HOST, 69, &question[..]));
            guest.send_ip(HOST, IpProtocol::Udp, &udp(HOST, (69, port), &question));
            let mut answer = [0; 10];
            assert_eq!(client.recv(&mut answer).unwrap(), 2);
            assert_eq!(answer[..2], question);
        }
    }
}

#[test]
fn packets_for_no_router_stay_inside() {
    let guest = guest();
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(MOMENT)).unwrap();
    let port = socket.local_addr().unwrap().port();
    let targets =
        [[127, 0, 0, 1], [127, 1, 2, 3], [0, 0, 0, 0], [0, 0, 0, 1], [10, 0, 2, 255], [10, 0, 2, 16]];
    let more = [[224, 0, 0, 1], [239, 1, 1, 1], [240, 0, 0, 1], [255, 255, 255, 255], [169, 254, 169, 254]];
    for target in targets.into_iter().chain(more) {
        let target = target.into();
        guest.send_ip(target, IpProtocol::Udp, &udp(target, (4000, port), b"escaped"));
    }
    guest.sync();
    assert!(socket.recv(&mut [0; 10]).is_err());
    // The same packet to the router does arrive.
    guest.send_ip(HOST, IpProtocol::Udp, &udp(HOST, (4000, port), b"allowed"));
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(socket.recv(&mut [0; 10]).unwrap(), 7);
}

#[test]
fn spoofed_and_foreign_frames_are_dropped() {
    let guest = guest();
    let request = ip_packet(HOST, IpProtocol::Icmp, &echo_request(8), 0, false);
    let frame = |src: [u8; 6], dst: [u8; 6], ip: &[u8]| {
        guest.port.net.send(&[&dst[..], &src, &[8, 0], ip].concat());
    };
    let mut wrong_source = request.clone();
    wrong_source[12..16].copy_from_slice(&[192, 0, 2, 1]);
    frame(MAC.0, [0x52, 0x55, 1, 2, 3, 4], &request);
    frame([1, 0, 0, 0, 0, 1], ROUTER_MAC.0, &request);
    frame(MAC.0, ROUTER_MAC.0, &wrong_source);
    guest.send_frame(EthernetProtocol::Ipv6, &request);
    assert_eq!(receive_icmp(&guest, MOMENT), None);
    frame(MAC.0, ROUTER_MAC.0, &request);
    assert!(receive_icmp(&guest, PATIENCE).is_some());
}

#[test]
fn the_number_of_udp_flows_is_bounded_and_idle_ones_end() {
    let limits = Limits { datagram_flows: 2, udp_idle: Duration::from_millis(500), ..Limits::default() };
    let guest = Guest::new(Config { limits, ..Config::default() });
    guest.sync();
    let (socket, port) = host_socket();
    let mut ask = |from: u16| {
        guest.send_ip(HOST, IpProtocol::Udp, &udp(HOST, (from, port), b"?"));
        socket.recv_from(&mut [0; 10]).unwrap().1
    };
    let [a, b, c] = [1, 2, 3].map(&mut ask);
    // The third has displaced the first; the other two still work.
    for (source, answer) in [(a, None), (b, Some(2)), (c, Some(3))] {
        socket.send_to(b"!", source).ok();
        let patience = if answer.is_some() { PATIENCE } else { MOMENT };
        assert_eq!(receive_udp(&guest, patience).map(|(_, _, to, _)| to), answer);
    }
    std::thread::sleep(Duration::from_millis(2500));
    socket.send_to(b"!", c).ok();
    assert_eq!(receive_udp(&guest, MOMENT), None);
}

#[test]
fn bad_settings_are_named() {
    let error = |config| UserNet::start(config).err().unwrap();
    assert_eq!(
        error(Config { mtu: 500, ..Config::default() }).to_string(),
        "network MTU 500 is not in the range from 576 to 65535"
    );
    let forwards = vec!["tcp::0-10.0.2.2:22".parse().unwrap()];
    assert_eq!(
        error(Config { forwards, ..Config::default() }).to_string(),
        "port forward 'tcp:127.0.0.1:0-10.0.2.2:22' leads to an address that the guest cannot have"
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!("tcp:{}-:22", taken.local_addr().unwrap());
    let failed = error(Config { forwards: vec![text.parse().unwrap()], ..Config::default() });
    assert_eq!(failed.to_string(), format!("cannot listen for port forward '{text}'"));
    assert!(
        matches!(failed, NetError::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse)
    );
}
