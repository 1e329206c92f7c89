//! Whom the setting hits beside the merge that it is meant for: it is one for the whole host.

use crate::dm::{Device, Host};

/// The other merges, and the snapshots whose copies on write are slowed down too, as their users
/// call them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// Origins of other merges.
    pub merges: Vec<String>,
    /// Snapshots: a first write to a chunk of their origin waits for a copy.
    pub snapshots: Vec<String>,
}

impl Others {
    /// Of a merging origin; of nobody where the setting is only looked at.
    pub fn of(host: &Host, origin: Option<&Device>) -> Self {
        let is_it =
            |device: &&Device| origin.is_none_or(|origin| origin.info.dev != device.info.dev);
        Self {
            merges: host.merges().filter(is_it).map(Device::label).collect(),
            snapshots: host.snapshots().map(Device::label).collect(),
        }
    }

    /// Whether there is nobody.
    pub fn is_nobody(&self) -> bool {
        self.merges.is_empty() && self.snapshots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dm::host::tests::picture;

    #[test]
    fn other_merges_and_all_snapshots_are_named() {
        let host = picture();
        let root = host.by_name("root").unwrap();
        let others = Others::of(&host, Some(root));
        assert_eq!(others.merges, Vec::<String>::new());
        assert_eq!(others.snapshots, ["vg/snap", "vg/other"]);
        let all = Others::of(&host, None);
        assert_eq!(all.merges, ["root"]);
        assert!(!all.is_nobody());
        assert!(Others::of(&Host::default(), None).is_nobody());
    }
}
