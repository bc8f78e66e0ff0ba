//! Which name server of the host answers the guest's questions.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use smoltcp::time::{Duration, Instant};

/// The port of DNS (RFC 1035 section 4.2).
pub(super) const DNS_PORT: u16 = 53;

/// How often the file is looked at, at most.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a server may stay silent before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// How much of the file is read.
const MAX_FILE: u64 = 64 << 10;
/// How many servers are used, as in resolv.conf(5).
const MAX_SERVERS: usize = 3;

/// Identifies a version of the file: device, inode, size and time of change.
type Stamp = (u64, u64, u64, i64, i64);

pub(super) struct Resolvers {
    /// The file, unless the configuration names the server.
    file: Option<PathBuf>,
    stamp: Option<Stamp>,
    next_check: Instant,
    servers: Vec<SocketAddr>,
    current: usize,
    /// When the first question was asked that may still get an answer.
    asked: Option<Instant>,
}

impl Resolvers {
    /// Uses `fixed`, or else what `file`, in the format of resolv.conf(5), names.
    pub(super) fn new(fixed: Option<SocketAddr>, file: &Path) -> Self {
        let mut resolvers = Self {
            file: fixed.is_none().then(|| file.into()),
            stamp: None,
            next_check: Instant::ZERO,
            servers: fixed.into_iter().collect(),
            current: 0,
            asked: None,
        };
        resolvers.load();
        resolvers
    }

    /// The server to ask now.
    pub(super) fn server(&mut self, now: Instant) -> SocketAddr {
        if now >= self.next_check {
            self.next_check = now + CHECK_INTERVAL;
            self.load();
        }
        if self.asked.is_some_and(|asked| now >= asked + PATIENCE) {
            self.failed();
        }
        // resolv.conf(5): without a nameserver line, the server is on the local machine.
        let local = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DNS_PORT);
        self.servers.get(self.current).copied().unwrap_or(local)
    }

    /// Notes that the server was asked.
    pub(super) fn asked(&mut self, now: Instant) {
        self.asked.get_or_insert(now);
    }

    /// Notes that the server has answered.
    pub(super) fn answered(&mut self) {
        self.asked = None;
    }

    /// Notes that the server cannot be reached, so the next is to be asked.
    pub(super) fn failed(&mut self) {
        self.asked = None;
        self.current = (self.current + 1) % self.servers.len().max(1);
    }

    fn load(&mut self) {
        let Some(file) = &self.file else { return };
        let stamp = std::fs::metadata(file)
            .map(|meta| (meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
            .ok();
        if stamp.is_some() && stamp == self.stamp {
            return;
        }
        let text = read_start(file).unwrap_or_default();
        let servers = nameservers(&text);
        if servers.is_empty() && (stamp.is_some() != self.stamp.is_some() || !self.servers.is_empty()) {
            tracing::warn!("{} names no name server; the guest's questions go to 127.0.0.1", file.display());
        }
        self.stamp = stamp;
        if servers != self.servers {
            self.servers = servers;
            self.current = 0;
            self.asked = None;
        }
    }
}

fn read_start(file: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The servers that a file names. IPv6 addresses with a zone (`%eth0`) are not understood and left out.
fn nameservers(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let address: IpAddr =
                words.next().filter(|word| *word == "nameserver").and(words.next())?.parse().ok()?;
            Some(SocketAddr::new(address, DNS_PORT))
        })
        .take(MAX_SERVERS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Instant {
        Instant::from_secs(seconds)
    }

    #[test]
    fn the_file_is_read_again_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("resolv.conf");
        let mut resolvers = Resolvers::new(None, &file);
        assert_eq!(resolvers.server(at(0)).to_string(), "127.0.0.1:53");

        let text = "# comment\nsearch example.org\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 # x\n\
                    nameserver fe80::1%eth0\nnameserver nonsense\nnameserver 192.0.2.2\n\
                    nameserver 192.0.2.3\n";
        std::fs::write(&file, text).unwrap();
        assert_eq!(resolvers.server(at(0)).to_string(), "127.0.0.1:53", "not looked at twice in a second");
        assert_eq!(resolvers.server(at(2)).to_string(), "192.0.2.1:53");
        assert_eq!(resolvers.servers.len(), 3);

        std::fs::write(&file, "nameserver 192.0.2.77\n").unwrap();
        assert_eq!(resolvers.server(at(4)).to_string(), "192.0.2.77:53");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(resolvers.server(at(6)).to_string(), "127.0.0.1:53");
    }

    #[test]
    fn a_silent_server_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("resolv.conf");
        std::fs::write(&file, "nameserver 192.0.2.1\nnameserver 192.0.2.2\n").unwrap();
        let mut resolvers = Resolvers::new(None, &file);
        assert_eq!(resolvers.server(at(0)).to_string(), "192.0.2.1:53");
        resolvers.asked(at(0));
        assert_eq!(resolvers.server(at(1)).to_string(), "192.0.2.1:53");
        assert_eq!(resolvers.server(at(2)).to_string(), "192.0.2.2:53");
        resolvers.asked(at(2));
        resolvers.answered();
        assert_eq!(resolvers.server(at(60)).to_string(), "192.0.2.2:53");
        resolvers.asked(at(60));
        assert_eq!(resolvers.server(at(62)).to_string(), "192.0.2.1:53");
    }

    #[test]
    fn a_configured_server_is_kept() {
        let fixed = "192.0.2.9:5353".parse().unwrap();
        let mut resolvers = Resolvers::new(Some(fixed), Path::new("/nonexistent"));
        resolvers.asked(at(0));
        assert_eq!(resolvers.server(at(9)), fixed);
    }
}
