//! A figure over a span of time: how often it was seen, its ends, its mean.

/// What is kept of a figure. What is no number is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Extent {
    seen: Option<Seen>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Seen {
    count: u64,
    sum: f64,
    least: f64,
    most: f64,
}

impl Extent {
    /// Takes in one more value.
    pub(super) fn add(&mut self, value: f64) {
        if value.is_finite() {
            self.join(Self {
                seen: Some(Seen { count: 1, sum: value, least: value, most: value }),
            });
        }
    }

    /// Takes in all of another.
    pub(super) fn join(&mut self, other: Self) {
        self.seen = match (self.seen, other.seen) {
            (Some(one), Some(two)) => Some(Seen {
                count: one.count.saturating_add(two.count),
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
        self.seen.map(|seen| (seen.sum / seen.count as f64).clamp(seen.least, seen.most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_stay_whatever_is_joined() {
        let mut one = Extent::default();
        assert_eq!((one.count(), one.least(), one.mean()), (0, None, None));
        [3.0, f64::NAN, 9.0].into_iter().for_each(|value| one.add(value));
        let mut two = Extent::default();
        two.add(-3.0);
        two.join(one);
        two.join(Extent::default());
        assert_eq!(
            (two.count(), two.least(), two.most(), two.mean()),
            (3, Some(-3.0), Some(9.0), Some(3.0))
        );
    }
}
