//! What the user may choose about a user-mode network, and the text form of a port forward.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// How a [`UserNet`](super::UserNet) is set up. The default is the network that QEMU's `-netdev user` gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The network the guest is on.
    pub subnet: Subnet,
    /// The largest IP packet in one frame, from 576 to 65 535 bytes. Other values than 1500 are announced by
    /// DHCP.
    pub mtu: u16,
    /// The resolver behind [`Subnet::dns`]; without one, the host's `/etc/resolv.conf` names it.
    pub dns: Option<SocketAddr>,
    /// The host ports that lead to ports of the guest.
    pub forwards: Vec<Forward>,
    /// How much of the host the guest may occupy.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            subnet: Subnet::default(),
            mtu: 1500,
            dns: None,
            forwards: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// A network of 256 addresses that the guest is on, together with the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    prefix: [u8; 3],
}

impl Subnet {
    /// The last byte of the router's address.
    pub(super) const HOST: u8 = 2;
    /// The last byte of the name server's address.
    pub(super) const DNS: u8 = 3;
    /// The last byte of the first address that DHCP leases.
    pub(super) const GUEST: u8 = 15;

    /// The /24 network that `address` belongs to, if guests can have unicast addresses there.
    pub const fn containing(address: Ipv4Addr) -> Option<Self> {
        let [a, b, c, _] = address.octets();
        if is_forwardable(Ipv4Addr::new(a, b, c, 1)) { Some(Self { prefix: [a, b, c] }) } else { None }
    }

    /// The address whose last byte is `last`.
    pub const fn address(self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.prefix;
        Ipv4Addr::new(a, b, c, last)
    }

    /// The router (.2): the guest's gateway and DHCP server. Connections to it reach the host's own
    /// 127.0.0.1.
    pub const fn host(self) -> Ipv4Addr {
        self.address(Self::HOST)
    }

    /// The name server (.3).
    pub const fn dns(self) -> Ipv4Addr {
        self.address(Self::DNS)
    }

    /// The guest, as DHCP names it (.15).
    pub const fn guest(self) -> Ipv4Addr {
        self.address(Self::GUEST)
    }

    /// The last byte of `address` if it is in this network.
    pub(super) fn last_byte(self, address: Ipv4Addr) -> Option<u8> {
        let [a, b, c, last] = address.octets();
        ([a, b, c] == self.prefix).then_some(last)
    }

    /// The last byte of `address` if a guest may have it: not the network, the router, DNS or the broadcast.
    pub(super) fn guest_byte(self, address: Ipv4Addr) -> Option<u8> {
        self.last_byte(address).filter(|last| !matches!(*last, 0 | Self::HOST | Self::DNS | 255))
    }
}

impl Default for Subnet {
    fn default() -> Self {
        Self { prefix: [10, 0, 2] }
    }
}

/// Whether a router may pass packets for `address` on: unicast, and neither loopback nor link-local
/// (RFC 6890 section 2.2.2; RFC 3927 section 2.7).
pub(super) const fn is_forwardable(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    first != 0 && first < 224 && !address.is_loopback() && !address.is_link_local()
}

/// Upper bounds on what the guest may occupy on the host. A table that is full drops what would enter it
/// next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// TCP connections, each with one host socket and up to 768 KiB of buffers.
    pub tcp_connections: usize,
    /// Guest UDP ports and pings in use, each with one host socket; a new one displaces the longest idle.
    pub datagram_flows: usize,
    /// How long a UDP port stays open to the outside without traffic.
    pub udp_idle: Duration,
}

impl Default for Limits {
    /// Bounds that leave room for the rest of the process below the usual limit of 1024 open files, and the
    /// five minutes of RFC 4787 section 4.3.
    fn default() -> Self {
        Self { tcp_connections: 512, datagram_flows: 256, udp_idle: Duration::from_secs(300) }
    }
}

/// The transport of a [`Forward`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP connections.
    Tcp,
    /// UDP datagrams.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A host port that leads to a port of the guest, written `tcp:127.0.0.1:2222-10.0.2.15:22`.
///
/// Both addresses may be left out, their colons not: `tcp::2222-:22` listens on 127.0.0.1 only and leads to
/// [`Subnet::guest`]. An IPv6 host address is in brackets: `tcp:[::1]:2222-:22`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Forward {
    /// The transport.
    pub protocol: Protocol,
    /// Where the host listens. Port 0 lets the host choose; see
    /// [`UserNet::forwards`](super::UserNet::forwards).
    pub host: SocketAddr,
    /// The guest's address, if it is not [`Subnet::guest`].
    pub guest: Option<Ipv4Addr>,
    /// The guest's port, never 0.
    pub guest_port: u16,
}

/// Why a text is not a [`Forward`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseForwardError {
    /// Not of the form `PROTOCOL:HOST-GUEST`.
    #[error("port forward '{0}' is not of the form 'tcp:[ADDRESS]:PORT-[ADDRESS]:PORT'")]
    Form(String),
    /// The protocol is neither of the two.
    #[error("port forward protocol '{0}' is neither 'tcp' nor 'udp'")]
    Protocol(String),
    /// The host side names no IP address.
    #[error("port forward host address '{0}' is not an IP address (an IPv6 address needs brackets)")]
    HostAddress(String),
    /// The guest side names no IPv4 address.
    #[error("port forward guest address '{0}' is not an IPv4 address")]
    GuestAddress(String),
    /// A port is no number, or does not fit.
    #[error("port forward port '{0}' is not a number from {1} to 65535")]
    Port(String, u16),
}

impl FromStr for Forward {
    type Err = ParseForwardError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || ParseForwardError::Form(text.into());
        let (protocol, rest) = text.split_once(':').ok_or_else(form)?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            other => return Err(ParseForwardError::Protocol(other.into())),
        };
        let (host, guest) = rest.split_once('-').ok_or_else(form)?;
        let (host_address, host_port) = host.rsplit_once(':').ok_or_else(form)?;
        let (guest_address, guest_port) = guest.rsplit_once(':').ok_or_else(form)?;
        let host_ip = match host_address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
            Some(inner) => inner.parse().map(IpAddr::V6).ok(),
            None if host_address.is_empty() => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            None => host_address.parse().map(IpAddr::V4).ok(),
        };
        let guest = match guest_address {
            "" => None,
            address => Some(address.parse().map_err(|_| ParseForwardError::GuestAddress(address.into()))?),
        };
        Ok(Self {
            protocol,
            host: SocketAddr::new(
                host_ip.ok_or_else(|| ParseForwardError::HostAddress(host_address.into()))?,
                port(host_port, 0)?,
            ),
            guest,
            guest_port: port(guest_port, 1)?,
        })
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}-", self.protocol, self.host)?;
        if let Some(guest) = self.guest {
            write!(f, "{guest}")?;
        }
        write!(f, ":{}", self.guest_port)
    }
}

fn port(text: &str, min: u16) -> Result<u16, ParseForwardError> {
    text.parse().ok().filter(|port| *port >= min).ok_or_else(|| ParseForwardError::Port(text.into(), min))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_are_read_with_their_defaults() {
        let short: Forward = "tcp::2222-:22".parse().unwrap();
        assert_eq!(short.protocol, Protocol::Tcp);
        assert_eq!(short.host, "127.0.0.1:2222".parse().unwrap());
        assert_eq!((short.guest, short.guest_port), (None, 22));
        assert_eq!(short.to_string(), "tcp:127.0.0.1:2222-:22");

        for text in ["udp:0.0.0.0:53-10.0.2.16:5353", "tcp:[::1]:0-:80"] {
            let forward: Forward = text.parse().unwrap();
            assert_eq!(forward.to_string(), text);
        }
    }

    #[test]
    fn bad_forwards_are_named() {
        let cases = [
            ("", "port forward '' is not of the form 'tcp:[ADDRESS]:PORT-[ADDRESS]:PORT'"),
            (
                "tcp:2222-22",
                "port forward 'tcp:2222-22' is not of the form 'tcp:[ADDRESS]:PORT-[ADDRESS]:PORT'",
            ),
            ("tcp::22", "port forward 'tcp::22' is not of the form 'tcp:[ADDRESS]:PORT-[ADDRESS]:PORT'"),
            ("sctp::1-:1", "port forward protocol 'sctp' is neither 'tcp' nor 'udp'"),
            (
                "tcp:localhost:1-:1",
                "port forward host address 'localhost' is not an IP address (an IPv6 address needs brackets)",
            ),
            (
                "tcp:::1:22-:1",
                "port forward host address '::1' is not an IP address (an IPv6 address needs brackets)",
            ),
            ("tcp::1-[::1]:1", "port forward guest address '[::1]' is not an IPv4 address"),
            ("tcp::70000-:1", "port forward port '70000' is not a number from 0 to 65535"),
            ("tcp::1-:0", "port forward port '0' is not a number from 1 to 65535"),
            ("tcp::1-:", "port forward port '' is not a number from 1 to 65535"),
        ];
        for (text, message) in cases {
            assert_eq!(text.parse::<Forward>().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn subnets_hold_unicast_addresses() {
        for bad in [[127, 0, 0, 0], [0, 0, 0, 0], [224, 0, 0, 0], [255, 0, 0, 0], [169, 254, 1, 0]] {
            assert_eq!(Subnet::containing(bad.into()), None);
        }
        let subnet = Subnet::containing(Ipv4Addr::new(192, 168, 76, 9)).unwrap();
        assert_eq!(subnet.host(), Ipv4Addr::new(192, 168, 76, 2));
        assert_eq!(subnet.guest_byte(Ipv4Addr::new(192, 168, 76, 15)), Some(15));
        assert_eq!(subnet.guest_byte(subnet.dns()), None);
        assert_eq!(subnet.guest_byte(Ipv4Addr::new(192, 168, 77, 15)), None);
    }
}
