//! What is made of repeated measurements.

/// The middle of repeated measurements, and how far they spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// A quarter of the values is smaller.
    pub low: f64,
    pub median: f64,
    /// A quarter of the values is larger.
    pub high: f64,
}

impl Spread {
    /// None without values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        // The value at this fraction of the way, between the two next to it.
        let at = |fraction: f64| -> Option<f64> {
            let place = fraction * values.len().checked_sub(1)? as f64;
            let (below, above) = (values.get(place.floor() as usize)?, values.get(place.ceil() as usize)?);
            Some(below + (above - below) * place.fract())
        };
        Some(Self { low: at(0.25)?, median: at(0.5)?, high: at(0.75)? })
    }
}

/// None without values.
pub fn geometric_mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (count, sum) =
        values.into_iter().fold((0u32, 0.0), |(count, sum), value| (count + 1, sum + value.ln()));
    (count > 0).then(|| (sum / f64::from(count)).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quartiles() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([3.0]), Some(Spread { low: 3.0, median: 3.0, high: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0]), Some(Spread { low: 1.75, median: 2.5, high: 3.25 }));
        let five = Spread::of([5.0, 1.0, 100.0, 3.0, 2.0]);
        assert_eq!(five, Some(Spread { low: 2.0, median: 3.0, high: 5.0 }));
    }

    #[test]
    fn geometric_means() {
        assert_eq!(geometric_mean([]), None);
        let mean = geometric_mean([1.0, 4.0, 16.0]).unwrap();
        assert!((mean - 4.0).abs() < 1e-12, "{mean}");
    }
}
