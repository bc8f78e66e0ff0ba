//! Which vCPUs the sampler looks for. What else wants their attention says nothing of where time goes: the guest's own interrupts
//! arrive, and let others in, at the same few places.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// For each vCPU whether it is looked for; none if there is no sampler: whatever wants attention is a look then.
pub(crate) struct Looks(Option<Box<[AtomicBool]>>);

impl Looks {
    pub(crate) fn new(sampled: bool, vcpus: usize) -> Self {
        Self(sampled.then(|| (0..vcpus).map(|_| AtomicBool::new(false)).collect()))
    }

    /// The vCPU is to be seen when it comes back next.
    pub(crate) fn ask_for(&self, vcpu: usize) {
        self.0.iter().for_each(|looks| looks[vcpu].store(true, Relaxed));
    }

    /// Whether it is, as it has come back.
    pub(crate) fn take(&self, vcpu: usize) -> bool {
        self.0.as_ref().is_none_or(|looks| looks[vcpu].swap(false, Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vcpu_that_is_looked_for_is_seen_once() {
        let looks = Looks::new(true, 2);
        looks.ask_for(1);
        assert_eq!([0, 1, 1].map(|vcpu| looks.take(vcpu)), [false, true, false]);
        let always = Looks::new(false, 2);
        assert_eq!([0, 1, 1].map(|vcpu| always.take(vcpu)), [true; 3]);
    }
}
