//! A list told by what changed since the list before it: what fell out, what stayed, what is new.
//!
//! A list of writes in flight hardly changes while they are held, and is long. Any two lists will do; what
//! stays in its order is told in a few bytes.

use super::numbers::{self, NotNumbers};

/// What became of the list before, from its front: so many rows fell out, the next so many stayed,
/// and behind them come so many new ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Step {
    dropped: u64,
    kept: u64,
    new: u64,
}

/// Adds how `before` becomes `after`; gives the rows of `after` that have to be told.
pub fn put<'a, T: PartialEq>(bytes: &mut Vec<u8>, before: &[T], after: &'a [T]) -> Vec<&'a T> {
    let (mut steps, mut new_rows) = (Vec::new(), Vec::new());
    let (mut step, mut at) = (Step::default(), 0);
    for row in after {
        // Most often it is the very next one. Where nothing further on is the same, it is new.
        if let Some(skipped) = before[at..].iter().position(|old| old == row) {
            if step.new > 0 || (skipped > 0 && step.kept > 0) {
                steps.push(std::mem::take(&mut step));
            }
            step.dropped += skipped as u64;
            step.kept += 1;
            at += skipped + 1;
        } else {
            step.new += 1;
            new_rows.push(row);
        }
    }
    steps.push(step);
    numbers::put(bytes, steps.len() as u64);
    for Step { dropped, kept, new } in steps {
        for number in [dropped, kept, new] {
            numbers::put(bytes, number);
        }
    }
    new_rows
}

/// Where the rows of a list come from: from these places of the one before, or, where there is none,
/// from the new ones, one after the other.
///
/// # Errors
/// Where the bytes tell of rows that there are not, or of more than `most` together.
pub fn take(
    bytes: &mut &[u8],
    before: usize,
    most: usize,
) -> Result<Vec<Option<usize>>, NotNumbers> {
    let mut rows = Vec::new();
    let mut at = 0_usize;
    for _ in 0..numbers::take_count(bytes, 3)? {
        let mut number = || usize::try_from(numbers::take(bytes)?).map_err(|_| NotNumbers);
        let (dropped, kept, new) = (number()?, number()?, number()?);
        let from = at.checked_add(dropped).ok_or(NotNumbers)?;
        let until = from.checked_add(kept).ok_or(NotNumbers)?;
        let fits = until <= before && kept.saturating_add(new) <= most - rows.len();
        if !fits {
            return Err(NotNumbers);
        }
        rows.extend((from..until).map(Some));
        rows.extend(std::iter::repeat_n(None, new));
        at = until;
    }
    Ok(rows)
}
