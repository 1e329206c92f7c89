//! What lvm2 tells of volumes, segments and disks: which columns it is asked for, and what they mean.
//!
//! Pure: [`super::lvm2`] asks.

use std::path::PathBuf;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

use crate::units::Sectors;

/// What `lvs` is asked for.
pub(super) const COLUMNS: &str = "vg_name,lv_name,lv_attr,segtype,origin,lv_active,lv_merging,lv_uuid,\
    lv_health_status,vg_attr,vg_missing_pv_count";

/// What it is asked of segments.
pub(super) const SEGMENT_COLUMNS: &str = "lv_uuid,seg_start_pe,seg_pe_ranges";

/// What it is asked of segments, in sectors, to know their tables.
pub(super) const PART_COLUMNS: &str = "lv_uuid,lv_name,vg_uuid,lv_size,vg_extent_size,seg_start,seg_size,segtype,\
    stripes,stripe_size,seg_pe_ranges";

/// A part of a volume that lies in one piece on each of its disks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Segment {
    /// The volume's UUID, with hyphens.
    #[serde(rename = "lv_uuid")]
    pub volume: String,
    /// Its first extent in the volume.
    #[serde(rename = "seg_start_pe")]
    pub start: String,
    /// The extents on the disks: `/dev/sda1:0-11`.
    #[serde(rename = "seg_pe_ranges")]
    pub ranges: String,
}

/// A segment with all that its line in a table is made of.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Part {
    /// The volume's UUID, with hyphens.
    #[serde(rename = "lv_uuid")]
    pub volume: String,
    /// The volume's name, without the brackets of a hidden one.
    #[serde(rename = "lv_name")]
    pub name: String,
    /// The group's UUID, with hyphens.
    #[serde(rename = "vg_uuid")]
    pub group: String,
    /// How long the whole volume is.
    #[serde(rename = "lv_size", deserialize_with = "sectors")]
    pub volume_size: Sectors,
    /// How long an extent is.
    #[serde(rename = "vg_extent_size", deserialize_with = "sectors")]
    pub extent: Sectors,
    /// Where it begins in the volume.
    #[serde(rename = "seg_start", deserialize_with = "sectors")]
    pub start: Sectors,
    /// How long it is.
    #[serde(rename = "seg_size", deserialize_with = "sectors")]
    pub length: Sectors,
    /// `linear`, `striped`, or something else.
    #[serde(rename = "segtype")]
    pub kind: String,
    /// Over how many disks it goes.
    #[serde(deserialize_with = "number")]
    pub stripes: u64,
    /// How much lies on one of them before the next; 0 where there is one only.
    #[serde(deserialize_with = "sectors")]
    pub stripe_size: Sectors,
    /// The extents on the disks, as in [`Segment`].
    #[serde(rename = "seg_pe_ranges")]
    pub ranges: String,
}

/// A disk of a group.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct GroupDisk {
    /// Its node.
    #[serde(rename = "pv_name")]
    pub path: PathBuf,
    /// Where its first extent begins.
    #[serde(rename = "pe_start", deserialize_with = "sectors")]
    pub data_start: Sectors,
}

/// lvm2 writes numbers as text.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    String::deserialize(from)?.trim().parse().map_err(D::Error::custom)
}

fn sectors<'de, D: Deserializer<'de>>(from: D) -> Result<Sectors, D::Error> {
    number(from).map(Sectors)
}

/// A logical volume.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Volume {
    /// The volume group.
    #[serde(rename = "vg_name")]
    pub vg: String,
    /// Its name, without the brackets of a hidden one.
    #[serde(rename = "lv_name")]
    pub lv: String,
    /// lvm2's attribute letters (lvs(8)).
    #[serde(rename = "lv_attr")]
    pub attr: String,
    /// The type of its first segment. A snapshot in LVM's old style is `linear` here.
    #[serde(rename = "segtype")]
    pub segment_type: String,
    /// What it is a snapshot of; empty where it is none.
    pub origin: String,
    /// `active` or empty.
    #[serde(rename = "lv_active")]
    pub active: String,
    /// `merging` or empty.
    #[serde(rename = "lv_merging")]
    pub merging: String,
    /// Its UUID, with hyphens.
    #[serde(rename = "lv_uuid")]
    pub uuid: String,
    /// `partial` where a disk of it is missing; empty where all is well.
    #[serde(rename = "lv_health_status", default)]
    pub health: String,
    /// The group's attribute letters (vgs(8)).
    #[serde(rename = "vg_attr", default)]
    pub vg_attr: String,
    /// How many disks of the group are missing.
    #[serde(rename = "vg_missing_pv_count", default)]
    pub missing_disks: String,
}

impl Volume {
    fn volume_type(&self) -> char {
        self.attr.chars().next().unwrap_or('-')
    }

    /// Whether lvm2 has locked it against changes, as `pvmove` does while it moves a part of it.
    pub fn is_locked(&self) -> bool {
        self.attr.chars().nth(2).is_some_and(|letter| letter.is_ascii_uppercase())
    }

    /// Whether its group is exported: nobody may use it on this host.
    pub fn is_in_exported_group(&self) -> bool {
        self.vg_attr.chars().nth(2) == Some('x')
    }

    /// Whether its group may not be changed.
    pub fn is_in_read_only_group(&self) -> bool {
        self.vg_attr.starts_with('r')
    }

    /// Whether its group is shared with other hosts, or clustered: then a lock on this host says
    /// nothing about them.
    pub fn is_in_shared_group(&self) -> bool {
        matches!(self.vg_attr.chars().nth(5), Some('s' | 'c'))
    }

    /// Whether a disk of its group is missing.
    pub fn is_in_partial_group(&self) -> bool {
        self.vg_attr.chars().nth(3) == Some('p')
            || self.health == "partial"
            || self.missing_disks.parse::<u32>().is_ok_and(|missing| missing > 0)
    }

    /// Whether it is a thin volume: "merging" one swaps it for its origin and copies nothing.
    pub fn is_thin(&self) -> bool {
        self.segment_type == "thin" || self.volume_type() == 'V'
    }

    /// Whether it is a snapshot with a COW store of its own.
    pub fn is_thick_snapshot(&self) -> bool {
        !self.origin.is_empty() && !self.is_thin() && matches!(self.volume_type(), 's' | 'S')
    }

    /// Whether it is a snapshot that merges, or will at the next activation.
    pub fn is_merging_snapshot(&self) -> bool {
        self.volume_type() == 'S'
    }

    /// Whether it is an origin that a snapshot merges into, or will at the next activation.
    pub fn is_merging_origin(&self) -> bool {
        self.volume_type() == 'O'
    }
}

#[derive(Deserialize)]
pub(super) struct DiskRow {
    pub(super) pv_name: PathBuf,
}

/// One report of lvm2; which of the lists it has goes by what was asked.
#[derive(Deserialize)]
pub(super) struct Rows<T> {
    pub(super) lv: Option<Vec<T>>,
    pub(super) seg: Option<Vec<T>>,
    pub(super) pv: Option<Vec<T>>,
    pub(super) vg: Option<Vec<T>>,
}

/// The rows of a report.
pub(super) fn rows<T: DeserializeOwned>(
    text: &str,
    wanted: impl Fn(Rows<T>) -> Option<Vec<T>>,
) -> Result<Vec<T>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Output<T> {
        report: Vec<Rows<T>>,
    }
    let output: Output<T> = serde_json::from_str(text)?;
    let lists: Option<Vec<_>> = output.report.into_iter().map(wanted).collect();
    let lists =
        lists.ok_or_else(|| serde_json::Error::custom("it lacks the list that was asked"))?;
    Ok(lists.into_iter().flatten().collect())
}

/// Volumes by the names that they have without brackets.
pub(super) fn named(mut volumes: Vec<Volume>) -> Vec<Volume> {
    for volume in &mut volumes {
        volume.lv = volume.lv.trim_matches(['[', ']']).to_owned();
        volume.origin = volume.origin.trim_matches(['[', ']']).to_owned();
    }
    volumes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_tells_kinds_of_volumes() {
        let volume = |lv: &str, attr: &str, segtype: &str, origin: &str| {
            format!(
                r#"{{"vg_name":"vg","lv_name":"{lv}","lv_attr":"{attr}","segtype":"{segtype}",
                "origin":"{origin}","lv_active":"active","lv_merging":"","lv_uuid":"a-b"}}"#
            )
        };
        let text = format!(
            r#"{{"report":[{{"lv":[{},{},{},{}]}}]}}"#,
            volume("data", "Owi-a-s---", "linear", ""),
            volume("[snap]", "Swi-a-s---", "linear", "data"),
            volume("old", "swi-a-s---", "linear", "data"),
            volume("thin", "Vwi-a-tz--", "thin", "data"),
        );
        let volumes = named(rows(&text, |report| report.lv).unwrap());
        let merging: Vec<_> = volumes.iter().map(Volume::is_merging_snapshot).collect();
        let thick: Vec<_> = volumes.iter().map(Volume::is_thick_snapshot).collect();
        assert_eq!(merging, [false, true, false, false]);
        assert_eq!(thick, [false, true, true, false]);
        assert!(volumes[0].is_merging_origin() && volumes[3].is_thin());
        assert_eq!(volumes[1].lv, "snap");
        rows::<Volume>("no report", |report| report.lv).unwrap_err();
    }

    #[test]
    fn a_segment_tells_its_place_in_sectors() {
        let text = r#"{"report":[{"seg":[{"lv_uuid":"a-b","lv_name":"[snap]","vg_uuid":"c-d",
            "lv_size":"16384","vg_extent_size":"8192","seg_start":"0","seg_size":"16384",
            "segtype":"striped","stripes":"2","stripe_size":"128",
            "seg_pe_ranges":"/dev/sda:0-0 /dev/sdb:4-4"}]}]}"#;
        let parts: Vec<Part> = rows(text, |report| report.seg).unwrap();
        assert_eq!((parts[0].length, parts[0].stripes), (Sectors(16384), 2));
        let damaged = text.replace("\"16384\"", "\"8.00m\"");
        rows::<Part>(&damaged, |report| report.seg).unwrap_err();
    }

    #[test]
    fn letters_tell_what_stands_in_the_way() {
        let volume = |attr: &str, vg_attr: &str, missing: &str| -> Volume {
            let text = format!(
                r#"{{"vg_name":"vg","lv_name":"x","lv_attr":"{attr}","segtype":"linear","origin":"",
                "lv_active":"","lv_merging":"","lv_uuid":"","lv_health_status":"",
                "vg_attr":"{vg_attr}","vg_missing_pv_count":"{missing}"}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let fine = volume("owi-a-s---", "wz--n-", "0");
        assert!(!fine.is_locked() && !fine.is_in_partial_group() && !fine.is_in_exported_group());
        assert!(volume("owI-a-s---", "wz--n-", "0").is_locked());
        assert!(volume("owi-a-s---", "wz-pn-", "1").is_in_partial_group());
        assert!(volume("owi-a-s---", "wzx-n-", "0").is_in_exported_group());
        assert!(volume("owi-a-s---", "rz--n-", "0").is_in_read_only_group());
    }
}
