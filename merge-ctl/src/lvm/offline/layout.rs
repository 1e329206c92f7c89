//! Where a volume lies that is not active, worked out from LVM's metadata as lvm2 does it when it
//! activates one. Pure.
//!
//! A segment on one disk becomes a `linear` line, one over several a `striped` line
//! (`lib/striped/striped.c`, `_striped_add_target_line`); extent `n` of a disk begins at its data's
//! beginning and `n` extents (`lib/activate/dev_manager.c`, `add_areas_line`).
//!
//! What always holds: whatever is of another kind, or does not add up, is refused. A table that was
//! guessed would overwrite what belongs to others.

use std::path::{Path, PathBuf};

use super::Unfit;
use crate::dm::{Table, TableLine, Target};
use crate::lvm::lvm2::Part;
use crate::units::{DeviceNumber, Sectors};

/// A disk of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// What lvm2 calls it.
    pub path: PathBuf,
    /// Its number.
    pub dev: DeviceNumber,
    /// Where its first extent begins.
    pub data_start: Sectors,
    /// How long it is.
    pub size: Sectors,
}

/// One piece on one disk.
struct Area {
    dev: DeviceNumber,
    start: Sectors,
    length: Sectors,
}

/// The table of the volume called `name`, of which these are all parts, in any order.
///
/// # Errors
/// [`Unfit::NotPlain`] where it is no linear or striped volume; [`Unfit::Layout`] where what LVM
/// says cannot be right.
pub fn table(name: &str, parts: &[&Part], disks: &[Disk]) -> Result<Table, Unfit> {
    let mut parts = parts.to_vec();
    parts.sort_by_key(|part| part.start);
    let mut lines = Vec::new();
    let mut end = Sectors(0);
    for part in parts.iter().copied() {
        if part.start != end {
            return Err(wrong(name, &format!("a part begins at {}, not at {end}", part.start)));
        }
        lines.push(line(name, part, disks)?);
        end = Sectors(end.0.saturating_add(part.length.0));
    }
    match parts.first() {
        Some(first) if end == first.volume_size => Ok(Table(lines)),
        Some(first) => {
            let size = first.volume_size;
            Err(wrong(name, &format!("its parts are {end} long, and all of it {size}")))
        }
        None => Err(Unfit::NoSegments),
    }
}

fn line(name: &str, part: &Part, disks: &[Disk]) -> Result<TableLine, Unfit> {
    let areas = areas(name, part, disks)?;
    let total: u64 = areas.iter().map(|area| area.length.0).sum();
    if total != part.length.0 || areas.iter().any(|area| area.length != areas[0].length) {
        return Err(wrong(name, &format!("a part of {} lies on {total} sectors", part.length)));
    }
    let places: Vec<_> =
        areas.iter().map(|area| format!("{} {}", area.dev, area.start.0)).collect();
    let places = places.join(" ");
    let target = match (part.kind.as_str(), areas.len()) {
        ("linear" | "striped", 1) => Target::parse("linear", &places),
        ("striped", count) if part.stripe_size.0 > 0 => {
            let stripe = part.stripe_size.0;
            Target::parse("striped", &format!("{count} {stripe} {places}"))
        }
        _ => return Err(Unfit::NotPlain(name.to_owned())),
    };
    Ok(TableLine { start: part.start, length: part.length, target })
}

/// `/dev/sda:0-11 /dev/sdb:0-11`.
fn areas(name: &str, part: &Part, disks: &[Disk]) -> Result<Vec<Area>, Unfit> {
    if !["linear", "striped"].contains(&part.kind.as_str()) {
        return Err(Unfit::NotPlain(name.to_owned()));
    }
    let areas: Vec<_> = part
        .ranges
        .split_whitespace()
        .map(|range| area(range, part.extent, disks).ok_or_else(|| wrong(name, range)))
        .collect::<Result<_, _>>()?;
    if areas.is_empty() || areas.len() as u64 != part.stripes {
        return Err(wrong(name, &format!("{} stripes in {}", part.stripes, part.ranges)));
    }
    Ok(areas)
}

/// Nothing where it is not on a disk that is known.
fn area(range: &str, extent: Sectors, disks: &[Disk]) -> Option<Area> {
    let (path, extents) = range.rsplit_once(':')?;
    let (first, last) = extents.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let disk = disks.iter().find(|disk| disk.path == Path::new(path))?;
    let start = first.checked_mul(extent.0)?.checked_add(disk.data_start.0)?;
    let length = last.checked_sub(first)?.checked_add(1)?.checked_mul(extent.0)?;
    let fits = length > 0 && start.checked_add(length)? <= disk.size.0;
    fits.then_some(Area { dev: disk.dev, start: Sectors(start), length: Sectors(length) })
}

fn wrong(name: &str, what: &str) -> Unfit {
    Unfit::Layout(format!("{name}: {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn disk(path: &str, minor: u32, data_start: u64) -> Disk {
        let dev = DeviceNumber { major: 8, minor };
        Disk { path: path.into(), dev, data_start: Sectors(data_start), size: Sectors(1 << 20) }
    }

    fn disks() -> [Disk; 2] {
        [disk("/dev/sda", 0, 2048), disk("/dev/mapper/odd:name", 16, 384)]
    }

    fn part(start: u64, kind: &str, stripes: u64, ranges: &str) -> Part {
        let extents = ranges.split_whitespace().map(|range| {
            let (first, last) = range.rsplit_once(':').unwrap().1.split_once('-').unwrap();
            last.parse::<u64>().unwrap() + 1 - first.parse::<u64>().unwrap()
        });
        Part {
            volume: "x".into(),
            name: "root".into(),
            group: "g".into(),
            volume_size: Sectors(0),
            extent: Sectors(8192),
            start: Sectors(start),
            length: Sectors(extents.sum::<u64>() * 8192),
            kind: kind.into(),
            stripes,
            stripe_size: Sectors(if kind == "striped" { 128 } else { 0 }),
            ranges: ranges.into(),
        }
    }

    fn of(mut parts: Vec<Part>) -> Result<String, Unfit> {
        let size = Sectors(parts.iter().map(|part| part.length.0).sum());
        for part in &mut parts {
            part.volume_size = size;
        }
        let parts: Vec<_> = parts.iter().collect();
        table("root", &parts, &disks()).map(|table| table.to_string())
    }

    #[test]
    fn parts_become_lines_in_their_order() {
        let parts = vec![
            part(16384, "striped", 2, "/dev/sda:5-6 /dev/mapper/odd:name:0-1"),
            part(0, "linear", 1, "/dev/sda:3-4"),
        ];
        let expected = "0 16384 linear 8:0 26624\n\
                        16384 32768 striped 2 128 8:0 43008 8:16 384";
        assert_eq!(of(parts).unwrap(), expected);
    }

    #[test]
    fn what_does_not_add_up_or_is_of_another_kind_is_refused() {
        type Damage = fn(&mut Part);
        let fine = || part(0, "linear", 1, "/dev/sda:3-4");
        of(vec![fine()]).unwrap();
        let damages: [(&str, Damage); 10] = [
            ("begins late", |it| it.start = Sectors(8192)),
            ("longer than its places", |it| it.length = Sectors(24576)),
            ("unknown disk", |it| it.ranges = "/dev/sdb:3-4".into()),
            ("missing disk", |it| it.ranges = "[unknown]:3-4".into()),
            ("backwards", |it| it.ranges = "/dev/sda:4-3".into()),
            ("beyond the disk", |it| it.ranges = "/dev/sda:127-128".into()),
            ("other volumes", |it| it.ranges = "root_rimage_0:0-1".into()),
            ("a stripe is missing", |it| it.stripes = 2),
            ("a RAID", |it| it.kind = "raid1".into()),
            ("overflow", |it| it.ranges = format!("/dev/sda:0-{}", u64::MAX)),
        ];
        for (what, damage) in damages {
            let mut part = fine();
            damage(&mut part);
            of(vec![part]).expect_err(what);
        }
        let gap = vec![fine(), part(24576, "linear", 1, "/dev/sda:9-9")];
        assert!(matches!(of(gap), Err(Unfit::Layout(_))));
        assert_eq!(of(vec![]), Err(Unfit::NoSegments));
        let part = Part { volume_size: Sectors(8192), ..fine() };
        assert!(matches!(table("root", &[&part], &disks()), Err(Unfit::Layout(_))));
    }

    proptest! {
        #[test]
        fn whatever_lvm2_says_is_a_table_without_gaps_or_an_error(
            ranges in "(/dev/sda:[0-9]{1,20}-[0-9]{1,20} ?){0,3}",
            (start, length, size, stripes) in any::<(u64, u64, u64, u64)>(),
        ) {
            let part = Part {
                start: Sectors(start), length: Sectors(length), volume_size: Sectors(size),
                stripes, ranges, ..part(0, "striped", 1, "/dev/sda:0-0")
            };
            if let Ok(table) = table("root", &[&part], &disks()) {
                prop_assert_eq!(table.length(), Sectors(size));
            }
        }
    }
}
