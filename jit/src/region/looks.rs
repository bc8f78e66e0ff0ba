//! Which vCPUs the sampler looks for. What else wants their attention says nothing of where time goes: the guest's own interrupts
//! arrive, and let others in, at the same few places.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// For each vCPU whether it is looked for; none if there is no sampler: whatever wants attention is a look then.
pub(crate) struct Looks(Option<Box<[Look]>>);

#[derive(Default)]
struct Look {
    asked: AtomicBool,
    /// One more for each time that the vCPU was where there is nothing left to do, and half as much otherwise.
    settled: AtomicU32,
}

impl Looks {
    /// From here on a vCPU has settled; and what that is counted to.
    const SETTLED: [u32; 2] = [16, 24];

    pub(crate) fn new(sampled: bool, vcpus: usize) -> Self {
        Self(sampled.then(|| (0..vcpus).map(|_| Look::default()).collect()))
    }

    /// The vCPU is to be seen when it comes back next. Whether it has been in regions lately, and so need not be seen often.
    pub(crate) fn ask_for(&self, vcpu: usize) -> bool {
        self.0.as_ref().is_none_or(|looks| {
            looks[vcpu].asked.store(true, Relaxed);
            looks[vcpu].settled.load(Relaxed) >= Self::SETTLED[0]
        })
    }

    /// Whether it is, as it has come back.
    pub(crate) fn take(&self, vcpu: usize) -> bool {
        self.0.as_ref().is_none_or(|looks| looks[vcpu].asked.swap(false, Relaxed))
    }

    /// Notes where it was: in a region, which is not to be another, or elsewhere.
    pub(crate) fn found(&self, vcpu: usize, in_region: bool) {
        if let Some(looks) = &self.0 {
            // Only the vCPU itself writes it.
            let settled = &looks[vcpu].settled;
            let before = settled.load(Relaxed);
            settled.store(if in_region { (before + 1).min(Self::SETTLED[1]) } else { before / 2 }, Relaxed);
        }
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

    #[test]
    fn a_vcpu_that_stays_in_regions_has_settled() {
        let looks = Looks::new(true, 1);
        let founds = |in_region, times| {
            (0..times).for_each(|_| looks.found(0, in_region));
            looks.ask_for(0)
        };
        assert_eq!(
            [(true, 15), (true, 1), (true, 100), (false, 1)].map(|(at, times)| founds(at, times)),
            [false, true, true, false]
        );
        assert!(!founds(true, 3) && founds(true, 1), "once elsewhere is not all anew");
    }
}
