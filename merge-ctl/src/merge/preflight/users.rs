//! Who uses the devices, and whether they would survive the merge.

use std::fmt;

use super::{Code, Facts, Finding};
use crate::dm::holders::{Holder, Holders};
use crate::dm::{Device, DeviceRef, Host, SnapshotArgs};
use crate::harmless;

/// Of the snapshot, which goes away: nobody may use it.
pub(super) fn of_snapshot(snapshot: &Device, facts: &Facts) -> Option<Finding> {
    if snapshot.info.open_count == 0 {
        return None;
    }
    let label = snapshot.label();
    let found = facts.holders_of(snapshot.info.dev);
    let way_out = format!("It goes away with the merge: {} first.", away(&found));
    Some(
        Finding::stop(
            Code::SnapshotInUse,
            format!("The snapshot {label} is in use: {}.", Names(&found)),
            way_out,
        )
        .about(label),
    )
}

/// What makes the first of the users that need it go.
fn away(holders: &Holders) -> String {
    match holders.0.first() {
        Some(Holder::Mount { path }) => {
            format!("umount {}", harmless::quoted(&harmless::path(path)))
        }
        Some(Holder::Swap) => "swapoff it".to_owned(),
        Some(Holder::Device { name }) => format!("deactivate {}", harmless::printable(name)),
        _ => "stop or unmount what uses it".to_owned(),
    }
}

/// Of an origin that our own steps change: its content changes under its users, and a file system
/// would not survive it. Only processes that have the device itself open may go on.
pub(super) fn of_origin(origin: &Device, facts: &Facts) -> Vec<Finding> {
    if origin.info.open_count == 0 {
        return Vec::new();
    }
    let label = origin.label();
    let holders = facts.holders_of(origin.info.dev);
    let stops: Vec<_> = in_the_way(&holders)
        .into_iter()
        .map(|(how, way_out)| {
            Finding::stop(
                Code::OriginInUse,
                format!("The origin {label} is {how}."),
                format!("Its content changes in an instant: {way_out}."),
            )
            .about(&label)
        })
        .collect();
    if !stops.is_empty() {
        return stops;
    }
    let words = format!(
        "The origin {label} is open ({holders}): what its users hold in memory of it will be out of \
         date."
    );
    let way_out = "Stop them first, unless they are made for it.";
    vec![Finding::warn(Code::OriginOpen, words, way_out).about(label)]
}

/// The users of an origin that would not survive the merge, and how to be rid of them; none where all
/// are processes that can be seen.
fn in_the_way(holders: &Holders) -> Vec<(String, String)> {
    if holders.0.is_empty() {
        return vec![(
            "open, by somebody who cannot be seen from here".to_owned(),
            "it may be mounted in another namespace or lie behind a loop device; find out, and stop \
             it first"
                .to_owned(),
        )];
    }
    holders.0.iter().filter_map(one_in_the_way).collect()
}

fn one_in_the_way(holder: &Holder) -> Option<(String, String)> {
    match holder {
        Holder::Mount { path } => {
            let path = harmless::path(path);
            let umount = harmless::quoted(&path);
            Some((
                format!("mounted on {path}"),
                format!("no mounted file system survives that; umount {umount} first"),
            ))
        }
        Holder::Swap => Some(("used as swap".to_owned(), "swapoff it first".to_owned())),
        Holder::Device { name } => {
            let name = harmless::printable(name);
            Some((
                format!("below {name}"),
                format!("who uses it through {name} cannot be seen; deactivate {name} first"),
            ))
        }
        Holder::Process { .. } => None,
    }
}

/// Of the two devices right below: whoever writes there, writes behind the snapshot's back.
pub(super) fn below(host: &Host, args: &SnapshotArgs, facts: &Facts) -> Vec<Finding> {
    let next = [&args.real, &args.cow].into_iter().filter_map(DeviceRef::number);
    next.filter_map(|dev| {
        let users = facts.holders_of(dev).0;
        let users: Vec<_> =
            users.into_iter().filter(|user| !matches!(user, Holder::Device { .. })).collect();
        if users.is_empty() {
            return None;
        }
        let label = host.label_of(dev);
        let words = format!(
            "{label}, below the snapshot or its origin, is open ({}): whoever writes there writes \
             behind the merge's back.",
            Holders(users)
        );
        Some(
            Finding::warn(Code::OpenBelow, words, "Stop them, unless they only read.").about(label),
        )
    })
    .collect()
}

/// Holders in words, also where nobody was found.
struct Names<'a>(&'a Holders);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.0.is_empty() {
            return f.write_str("by somebody who cannot be seen from here");
        }
        self.0.fmt(f)
    }
}
