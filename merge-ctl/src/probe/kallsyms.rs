//! The addresses of the functions of dm-snapshot, from `/proc/kallsyms`.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

/// What the kernel says of `merge_callback`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MergeCallback {
    /// Its address.
    At(u64),
    /// It is there, but the kernel hides addresses (`kernel.kptr_restrict`).
    Hidden,
    /// dm-snapshot is not loaded.
    NotLoaded,
}

/// Asks the running kernel.
///
/// # Errors
/// `/proc/kallsyms` cannot be read.
pub(super) fn merge_callback() -> io::Result<MergeCallback> {
    find(BufReader::new(File::open("/proc/kallsyms")?))
}

fn find(symbols: impl BufRead) -> io::Result<MergeCallback> {
    for line in symbols.lines() {
        if let Some(address) = address_in(&line?) {
            return Ok(match address {
                0 => MergeCallback::Hidden,
                address => MergeCallback::At(address),
            });
        }
    }
    Ok(MergeCallback::NotLoaded)
}

/// The address in a line that is about dm-snapshot's `merge_callback`: `address type name [module]`,
/// without a module where it is built in.
fn address_in(line: &str) -> Option<u64> {
    let mut words = line.split_ascii_whitespace();
    let (address, _, name) = (words.next()?, words.next()?, words.next()?);
    let ours = name == "merge_callback" && matches!(words.next(), None | Some("[dm_snapshot]"));
    ours.then(|| u64::from_str_radix(address, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(symbols: &str) -> MergeCallback {
        find(symbols.as_bytes()).unwrap()
    }

    #[test]
    fn the_address_is_that_of_dm_snapshots_function() {
        let other = "ffffffffc0100000 t merge_callback\t[other]\n\
                     ffffffffc0100010 t merge_callback_late\t[dm_snapshot]\n";
        assert_eq!(found(other), MergeCallback::NotLoaded);
        let ours = format!("{other}ffffffffc0a01230 t merge_callback\t[dm_snapshot]\n");
        assert_eq!(found(&ours), MergeCallback::At(0xffff_ffff_c0a0_1230));
        assert_eq!(
            found("ffffffff81000000 t merge_callback\n"),
            MergeCallback::At(0xffff_ffff_8100_0000)
        );
    }

    #[test]
    fn a_hidden_address_is_told_from_a_missing_module() {
        assert_eq!(
            found("0000000000000000 t merge_callback\t[dm_snapshot]\n"),
            MergeCallback::Hidden
        );
        assert_eq!(found(""), MergeCallback::NotLoaded);
    }
}
