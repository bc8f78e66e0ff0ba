//! Downloads by HTTP and HTTPS, bounded in size and time.
//!
//! The standard proxy variables are honoured, except for the loopback addresses, and TLS trusts the host's CA
//! roots.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use ureq::Agent;
use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig};

use crate::{Error, Progress, Result};

/// How often a download is tried, and how long, in milliseconds, to wait before each further try.
const WAIT_BEFORE_RETRY_MS: [u64; 2] = [300, 1500];
/// Longest wait for the connection, and for the server to send (more of) its answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time a whole body may take: a server that only trickles is given up at some time.
const BODY_TIMEOUT: Duration = Duration::from_secs(2 * 60 * 60);

const BUFFER_LEN: usize = 64 << 10;

/// An HTTP client.
#[derive(Debug)]
pub struct Http {
    agent: Agent,
}

/// Where a download goes; it can be begun again.
pub trait Sink: Write {
    /// Drops what was written.
    fn restart(&mut self) -> io::Result<()>;
}

impl Sink for Vec<u8> {
    fn restart(&mut self) -> io::Result<()> {
        self.clear();
        Ok(())
    }
}

/// Why one try failed, and whether another may succeed.
struct Failure {
    error: Error,
    is_transient: bool,
}

impl Http {
    /// A client that takes its proxy from the environment.
    pub fn new() -> Http {
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .user_agent(concat!("ferry/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(STALL_TIMEOUT))
            .timeout_per_read(Some(STALL_TIMEOUT))
            .timeout_recv_body(Some(BODY_TIMEOUT))
            .build();
        Http { agent: config.into() }
    }

    /// Downloads into `sink`; fails if the body is longer than `limit` bytes. `expected` is its size where
    /// that is known.
    pub fn download(
        &self,
        url: &str,
        limit: u64,
        expected: Option<u64>,
        sink: &mut dyn Sink,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let mut waits = WAIT_BEFORE_RETRY_MS.iter();
        loop {
            match self.try_download(url, limit, expected, sink, progress) {
                Ok(()) => return Ok(()),
                Err(failure) => match waits.next() {
                    Some(wait) if failure.is_transient => {
                        progress.message(&format!("{}; trying again", failure.error));
                        thread::sleep(Duration::from_millis(*wait));
                    }
                    _ => return Err(failure.error),
                },
            }
        }
    }

    fn try_download(
        &self,
        url: &str,
        limit: u64,
        expected: Option<u64>,
        sink: &mut dyn Sink,
        progress: &mut dyn Progress,
    ) -> std::result::Result<(), Failure> {
        let failed = |reason: String| Failure {
            error: Error::Fetch { url: url.to_owned(), reason },
            is_transient: true,
        };
        let own_fault = |source: io::Error| Failure {
            error: Error::Keep { url: url.to_owned(), source },
            is_transient: false,
        };
        sink.restart().map_err(own_fault)?;
        let mut request = self.agent.get(url);
        if is_loopback(url) {
            request = request.config().proxy(None).build();
        }
        let mut response = request.call().map_err(|error| classify(url, &error))?;
        progress.started(url, expected.or(response.body().content_length()));
        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; BUFFER_LEN];
        let mut total = 0;
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error.to_string())),
            };
            total += count as u64;
            if total > limit {
                let error = Error::too_large(url, limit);
                return Err(Failure { error, is_transient: false });
            }
            sink.write_all(buffer.get(..count).unwrap_or_default()).map_err(own_fault)?;
            progress.advanced(count as u64);
        }
        if let Some(expected) = expected.filter(|expected| total < *expected) {
            return Err(failed(format!("it ended after {total} of {expected} bytes")));
        }
        progress.finished();
        Ok(())
    }
}

fn classify(url: &str, error: &ureq::Error) -> Failure {
    let url = url.to_owned();
    match error {
        ureq::Error::StatusCode(status @ 400..500) => {
            Failure { error: Error::NotFound { url, status: *status }, is_transient: false }
        }
        _ => {
            let permanent = match error {
                // So arrives a certificate that is not trusted.
                ureq::Error::Io(error) => error.kind() == io::ErrorKind::InvalidData,
                ureq::Error::HostNotFound | ureq::Error::BadUri(_) | ureq::Error::TooManyRedirects => true,
                ureq::Error::Tls(_) | ureq::Error::Rustls(_) => true,
                _ => false,
            };
            Failure { error: Error::Fetch { url, reason: error.to_string() }, is_transient: !permanent }
        }
    }
}

/// Whether this is an address that an HTTP mirror can have.
pub fn is_http_url(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|h| !h.is_empty())
    })
}

fn is_loopback(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The address under which a guest on the user-mode network reaches what is at `url` here: such a guest sees this
/// machine's loopback interface at its gateway.
pub fn seen_from_guest(url: &str) -> String {
    const GATEWAY: &str = "10.0.2.2";
    let authority = url.parse::<Uri>().ok().and_then(|uri| uri.authority().cloned());
    match authority.filter(|_| is_loopback(url)) {
        Some(authority) => {
            let port = authority.port().map_or(String::new(), |port| format!(":{port}"));
            url.replacen(authority.as_str(), &format!("{GATEWAY}{port}"), 1)
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirror_addresses() {
        assert!(is_http_url("http://a.example/debian") && is_http_url("https://[::1]:8080"));
        for bad in ["", "ftp://a.example/", "a.example/debian", "http://", "file:///srv", "http:// x/"] {
            assert!(!is_http_url(bad), "{bad}");
        }
        assert!(is_loopback("http://127.0.0.1:80/x") && is_loopback("http://[::1]/"));
        assert!(is_loopback("http://localhost:3142/debian") && !is_loopback("http://a.example/127.0.0.1"));
    }

    #[test]
    fn a_guest_reaches_the_loopback_interface_at_its_gateway() {
        for (here, there) in [
            ("http://localhost:3142/debian", "http://10.0.2.2:3142/debian"),
            ("http://[::1]/debian/", "http://10.0.2.2/debian/"),
            ("http://a.example/localhost", "http://a.example/localhost"),
            ("", ""),
        ] {
            assert_eq!(seen_from_guest(here), there);
        }
    }
}
