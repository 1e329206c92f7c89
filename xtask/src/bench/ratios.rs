//! The middle of many noisy figures, and how far they lie apart.

/// The median and the quartiles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) low: f64,
    pub(super) median: f64,
    pub(super) high: f64,
}

impl Spread {
    /// Of at least one figure; nothing where there is none.
    pub(super) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<_> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let last = figures.len().checked_sub(1)?;
        let at = |part: f64| {
            let place = part * last as f64;
            let (below, above) = (figures[place.floor() as usize], figures[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        Some(Self { low: at(0.25), median: at(0.5), high: at(0.75) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_figures() {
        let spread = Spread { low: 1.75, median: 2.5, high: 3.25 };
        assert_eq!(Spread::of([4.0, 1.0, 3.0, 2.0]), Some(spread));
        let alone = Spread { low: 7.0, median: 7.0, high: 7.0 };
        assert_eq!(Spread::of([7.0]), Some(alone));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn one_wild_figure_does_not_move_the_median() {
        let spread = Spread::of([0.95, 0.94, 0.1, 0.96, 0.95]);
        assert_eq!(spread.map(|spread| spread.median), Some(0.95));
    }
}
