//! Where random bytes come from.

use rustix::rand::{GetRandomFlags, getrandom};
use tracing::warn;

/// A source of random bytes.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` from their beginning; how many there are. Zero means that the source has failed.
    fn fill(&self, bytes: &mut [u8]) -> usize;
}

/// The host kernel's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostEntropy;

impl Entropy for HostEntropy {
    fn fill(&self, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match getrandom(rest, GetRandomFlags::empty()) {
                Ok(count) => done += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    warn!("the host has no random bytes: {error}");
                    break;
                }
            }
        }
        done
    }
}
