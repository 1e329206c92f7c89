//! What the user of a live view wants of the command behind it.

/// A wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Leave the view; the merge goes on.
    Leave,
    /// Show the next merge.
    Next,
    /// Show the one before.
    Previous,
}
