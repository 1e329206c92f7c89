//! A figure over a span of time: how often it was seen, its ends, its mean.

/// What is kept of a figure. What is no number is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Extent {
    seen: Option<Seen>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Seen {
    count: u64,
    weight: f64,
    sum: f64,
    least: f64,
    most: f64,
}

impl Extent {
    /// Takes in one more value.
    pub(super) fn add(&mut self, value: f64) {
        self.add_for(value, 1.0);
    }

    /// Takes in a value that held for so long, for the mean.
    pub(super) fn add_for(&mut self, value: f64, weight: f64) {
        if value.is_finite() && weight > 0.0 {
            let (sum, least, most) = (value * weight, value, value);
            self.join(Self { seen: Some(Seen { count: 1, weight, sum, least, most }) });
        }
    }

    /// Takes in all of another.
    pub(super) fn join(&mut self, other: Self) {
        self.seen = match (self.seen, other.seen) {
            (Some(one), Some(two)) => Some(Seen {
                count: one.count.saturating_add(two.count),
                weight: one.weight + two.weight,
                sum: one.sum + two.sum,
                least: one.least.min(two.least),
                most: one.most.max(two.most),
            }),
            (one, two) => one.or(two),
        };
    }

    /// How many values there are.
    pub(super) fn count(&self) -> u64 {
        self.seen.map_or(0, |seen| seen.count)
    }

    /// The smallest; none where there is none.
    pub(super) fn least(&self) -> Option<f64> {
        self.seen.map(|seen| seen.least)
    }

    /// The largest.
    pub(super) fn most(&self) -> Option<f64> {
        self.seen.map(|seen| seen.most)
    }

    /// The mean.
    pub(super) fn mean(&self) -> Option<f64> {
        // Never outside of the ends, whatever was rounded.
        self.seen.map(|seen| (seen.sum / seen.weight).clamp(seen.least, seen.most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_stay_whatever_is_joined() {
        let mut one = Extent::default();
        assert_eq!((one.count(), one.least(), one.mean()), (0, None, None));
        for value in [3.0, f64::NAN, 9.0] {
            one.add(value);
        }
        let mut two = Extent::default();
        two.add(-3.0);
        two.join(one);
        two.join(Extent::default());
        let mut long = Extent::default();
        long.add_for(1.0, 9.0);
        long.add_for(11.0, 1.0);
        long.add_for(99.0, 0.0);
        assert_eq!((long.count(), long.mean()), (2, Some(2.0)));
        assert_eq!(
            (two.count(), two.least(), two.most(), two.mean()),
            (3, Some(-3.0), Some(9.0), Some(3.0))
        );
    }
}
