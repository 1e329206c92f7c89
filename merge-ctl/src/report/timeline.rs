//! Time cut into bins of equal length, never more than so many of them.
//!
//! What always holds: a bin has taken in all that fell into its time, so what is largest and smallest in
//! it is never lost. Where there would be too many, two neighbours become one, all along: the same
//! calls make the same bins.

/// What can be kept of a bin, and joined with what is kept of the next.
pub(super) trait Bin: Clone + Default {
    /// Takes in the bin that follows.
    fn join(&mut self, next: Self);
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Timeline<T> {
    start_ns: u64,
    width_ns: u64,
    most: usize,
    bins: Vec<T>,
}

impl<T: Bin> Timeline<T> {
    /// From this time on, in bins of this length as long as there are no more than `most` of them.
    pub(super) fn new(start_ns: u64, width_ns: u64, most: usize) -> Self {
        Self { start_ns, width_ns: width_ns.max(1), most: most.max(2), bins: Vec::new() }
    }

    /// The bin of this time. What was before the beginning falls into the first.
    pub(super) fn at(&mut self, at_ns: u64) -> &mut T {
        let since_ns = at_ns.saturating_sub(self.start_ns);
        while since_ns / self.width_ns >= self.most as u64 {
            self.halve();
        }
        // Less than `most`, by the line above.
        let place = (since_ns / self.width_ns) as usize;
        if self.bins.len() <= place {
            self.bins.resize_with(place + 1, T::default);
        }
        &mut self.bins[place]
    }

    fn halve(&mut self) {
        self.width_ns = self.width_ns.saturating_mul(2);
        let mut bins = std::mem::take(&mut self.bins).into_iter();
        while let Some(mut bin) = bins.next() {
            if let Some(next) = bins.next() {
                bin.join(next);
            }
            self.bins.push(bin);
        }
    }

    /// The same in no more than so many bins.
    pub(super) fn coarse(&self, most: usize) -> Self {
        let mut coarse = self.clone();
        while coarse.bins.len() > most.max(1) {
            coarse.halve();
        }
        coarse
    }

    /// The same in bins that are no shorter than this.
    pub(super) fn wide(&self, width_ns: u64) -> Self {
        let mut wide = self.clone();
        while wide.width_ns < width_ns {
            wide.halve();
        }
        wide
    }

    /// How long a bin is.
    pub(super) const fn width_ns(&self) -> u64 {
        self.width_ns
    }

    /// The bins, each with how long after the beginning its time begins.
    pub(super) fn bins(&self) -> impl Iterator<Item = (u64, &T)> {
        (0..)
            .zip(&self.bins)
            .map(|(place, bin): (u64, &T)| (place.saturating_mul(self.width_ns), bin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Bin for Vec<u64> {
        fn join(&mut self, next: Self) {
            self.extend(next);
        }
    }

    #[test]
    fn nothing_is_lost_when_bins_are_joined() {
        let mut line = Timeline::<Vec<u64>>::new(100, 10, 4);
        for at_ns in [50, 105, 115, 139] {
            line.at(at_ns).push(at_ns);
        }
        assert_eq!((line.width_ns(), line.bins().count()), (10, 4));
        line.at(140).push(140);
        let bins: Vec<_> = line.bins().map(|(from, bin)| (from, bin.clone())).collect();
        assert_eq!(bins, [(0, vec![50, 105, 115]), (20, vec![139]), (40, vec![140])]);
        let coarse = line.coarse(1);
        assert_eq!(coarse.bins().next().unwrap().1.len(), 5);
        assert_eq!(line.wide(30).width_ns(), 40);
        line.at(u64::MAX).push(1);
        assert!(line.bins().count() <= 4);
    }
}
