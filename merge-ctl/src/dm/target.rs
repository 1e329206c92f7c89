//! Table lines as types: what the kernel prints comes in, what it takes goes out.
//!
//! Parsing never fails: a line of a known target that is not understood is kept word for word as
//! [`Target::Other`], so that nothing is lost or guessed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::units::{ChunkSize, DeviceNumber, Sectors};

/// A device in a table line. The kernel prints numbers, and takes paths too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DeviceRef {
    /// `major:minor`.
    Number(DeviceNumber),
    /// A path, for the kernel to look up when the table is loaded.
    Path(String),
}

impl DeviceRef {
    /// From a word of a table line.
    pub fn parse(word: &str) -> Self {
        let number = word.split_once(':').and_then(|(major, minor)| {
            Some(DeviceNumber { major: major.parse().ok()?, minor: minor.parse().ok()? })
        });
        number.map_or_else(|| Self::Path(word.to_owned()), Self::Number)
    }

    /// The number, where it is one: always in what the kernel prints.
    pub const fn number(&self) -> Option<DeviceNumber> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Path(_) => None,
        }
    }
}

impl From<DeviceNumber> for DeviceRef {
    fn from(number: DeviceNumber) -> Self {
        Self::Number(number)
    }
}

impl fmt::Display for DeviceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Path(path) => f.write_str(path),
        }
    }
}

/// Where the exceptions live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// `P`: on the COW device, they survive a reboot.
    Persistent,
    /// `PO`: the same, and user space sees to a full COW device.
    PersistentOverflow,
    /// `N`: in memory. Cannot be merged.
    Transient,
}

impl Persistence {
    fn parse(word: &str) -> Option<Self> {
        match word.to_ascii_uppercase().as_str() {
            "P" => Some(Self::Persistent),
            "PO" => Some(Self::PersistentOverflow),
            "N" => Some(Self::Transient),
            _ => None,
        }
    }

    /// Whether the exceptions are on the COW device.
    pub const fn is_on_disk(self) -> bool {
        !matches!(self, Self::Transient)
    }
}

impl fmt::Display for Persistence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Persistent => "P",
            Self::PersistentOverflow => "PO",
            Self::Transient => "N",
        })
    }
}

/// The arguments that `snapshot` and `snapshot-merge` share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotArgs {
    /// The device that holds the origin's data.
    pub real: DeviceRef,
    /// The device that holds the exceptions.
    pub cow: DeviceRef,
    /// How they are kept.
    pub persistence: Persistence,
    /// The unit of copying.
    pub chunk_size: ChunkSize,
    /// `discard_zeroes_cow`, `discard_passdown_origin`, and whatever a newer kernel adds.
    pub features: Vec<String>,
}

impl SnapshotArgs {
    fn parse(params: &str) -> Option<Self> {
        let mut words = params.split_ascii_whitespace();
        let real = DeviceRef::parse(words.next()?);
        let cow = DeviceRef::parse(words.next()?);
        let persistence = Persistence::parse(words.next()?)?;
        let chunk_size = ChunkSize::from_sectors(words.next()?.parse().ok()?)?;
        let count = words.next().map_or(Some(0), |word| word.parse::<usize>().ok())?;
        let features: Vec<String> = words.map(str::to_owned).collect();
        (features.len() == count).then_some(Self { real, cow, persistence, chunk_size, features })
    }
}

impl fmt::Display for SnapshotArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { real, cow, persistence, chunk_size, features } = self;
        write!(f, "{real} {cow} {persistence} {}", chunk_size.sectors())?;
        if !features.is_empty() {
            write!(f, " {} {}", features.len(), features.join(" "))?;
        }
        Ok(())
    }
}

/// One target with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `snapshot-origin`: writes below copy old data to the snapshots first.
    SnapshotOrigin {
        /// The device that holds the data.
        real: DeviceRef,
    },
    /// `snapshot`.
    Snapshot(SnapshotArgs),
    /// `snapshot-merge`.
    SnapshotMerge(SnapshotArgs),
    /// `linear`.
    Linear {
        /// The device below.
        device: DeviceRef,
        /// Where on it.
        offset: Sectors,
    },
    /// `error`: every I/O fails.
    Error,
    /// Any other target, or a line that is not understood.
    Other {
        /// The target's type.
        kind: String,
        /// Its arguments, word for word.
        params: String,
    },
}

impl Target {
    /// From the target's type and its arguments.
    pub fn parse(kind: &str, params: &str) -> Self {
        Self::parse_known(kind, params)
            .unwrap_or_else(|| Self::Other { kind: kind.to_owned(), params: params.to_owned() })
    }

    fn parse_known(kind: &str, params: &str) -> Option<Self> {
        let words: Vec<&str> = params.split_ascii_whitespace().collect();
        match (kind, words.as_slice()) {
            ("snapshot-origin", [real]) => {
                Some(Self::SnapshotOrigin { real: DeviceRef::parse(real) })
            }
            ("snapshot", _) => SnapshotArgs::parse(params).map(Self::Snapshot),
            ("snapshot-merge", _) => SnapshotArgs::parse(params).map(Self::SnapshotMerge),
            ("linear", [device, offset]) => Some(Self::Linear {
                device: DeviceRef::parse(device),
                offset: Sectors(offset.parse().ok()?),
            }),
            ("error", []) => Some(Self::Error),
            _ => None,
        }
    }

    /// The target's type, as the kernel names it.
    pub fn kind(&self) -> &str {
        match self {
            Self::SnapshotOrigin { .. } => "snapshot-origin",
            Self::Snapshot(_) => "snapshot",
            Self::SnapshotMerge(_) => "snapshot-merge",
            Self::Linear { .. } => "linear",
            Self::Error => "error",
            Self::Other { kind, .. } => kind,
        }
    }

    /// Its arguments, as the kernel takes them.
    pub fn params(&self) -> String {
        match self {
            Self::SnapshotOrigin { real } => real.to_string(),
            Self::Snapshot(args) | Self::SnapshotMerge(args) => args.to_string(),
            Self::Linear { device, offset } => format!("{device} {}", offset.0),
            Self::Error => String::new(),
            Self::Other { params, .. } => params.clone(),
        }
    }
}

/// One line of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableLine {
    /// Where on the device it begins.
    pub start: Sectors,
    /// How long it is.
    pub length: Sectors,
    /// What is there.
    pub target: Target,
}

impl fmt::Display for TableLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.start.0, self.length.0, self.target.kind())?;
        let params = self.target.params();
        if params.is_empty() { Ok(()) } else { write!(f, " {params}") }
    }
}

/// A device's table: its lines in the order of their places. Written down as the kernel prints
/// them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Table(pub Vec<TableLine>);

impl TryFrom<Vec<String>> for Table {
    type Error = String;

    fn try_from(lines: Vec<String>) -> Result<Self, String> {
        let line = |line: &String| parse_line(line).ok_or(format!("{line:?} is no table line"));
        lines.iter().map(line).collect::<Result<_, _>>().map(Self)
    }
}

impl From<Table> for Vec<String> {
    fn from(table: Table) -> Self {
        table.0.iter().map(TableLine::to_string).collect()
    }
}

impl Table {
    /// A table of one line that covers the whole device.
    pub fn single(length: Sectors, target: Target) -> Self {
        Self(vec![TableLine { start: Sectors(0), length, target }])
    }

    /// From text as `dmsetup table` prints it, one line a target; nothing where a line lacks its
    /// numbers.
    pub fn parse(text: &str) -> Option<Self> {
        text.lines()
            .filter(|line| !line.trim().is_empty())
            .map(parse_line)
            .collect::<Option<_>>()
            .map(Self)
    }

    /// The device's size.
    pub fn length(&self) -> Sectors {
        Sectors(self.0.last().map_or(0, |line| line.start.0.saturating_add(line.length.0)))
    }

    /// The devices that it names by number, each time that it does.
    pub fn devices(&self) -> Vec<DeviceNumber> {
        let params: Vec<String> = self.0.iter().map(|line| line.target.params()).collect();
        let words = params.iter().flat_map(|params| params.split_ascii_whitespace());
        words.filter_map(|word| DeviceRef::parse(word).number()).collect()
    }

    /// The same table over other devices: each number gives way to what it is now.
    #[must_use]
    pub fn over(&self, now: impl Fn(DeviceNumber) -> DeviceNumber) -> Self {
        let renumbered = |word: &str| match DeviceRef::parse(word).number() {
            Some(number) => now(number).to_string(),
            None => word.to_owned(),
        };
        let line = |line: &TableLine| {
            let params = line.target.params();
            let words: Vec<_> = params.split_ascii_whitespace().map(renumbered).collect();
            let target = Target::parse(line.target.kind(), &words.join(" "));
            TableLine { target, ..line.clone() }
        };
        Self(self.0.iter().map(line).collect())
    }

    /// The only target, where there is just one: so it is with all snapshot targets.
    pub fn only(&self) -> Option<&Target> {
        match self.0.as_slice() {
            [line] => Some(&line.target),
            _ => None,
        }
    }
}

fn parse_line(line: &str) -> Option<TableLine> {
    let mut words = line.trim().splitn(4, ' ');
    let start = Sectors(words.next()?.parse().ok()?);
    let length = Sectors(words.next()?.parse().ok()?);
    let kind = words.next()?;
    Some(TableLine { start, length, target: Target::parse(kind, words.next().unwrap_or("")) })
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, line) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            line.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_kernels_lines_come_back_word_for_word() {
        for line in [
            "0 131072 snapshot-origin 254:0",
            "0 131072 snapshot 254:0 254:1 P 8",
            "0 131072 snapshot 254:0 254:1 N 16",
            "0 131072 snapshot-merge 254:0 254:1 PO 8 2 discard_zeroes_cow discard_passdown_origin",
            "0 8 snapshot 254:0 254:1 P 8 1 of_a_later_kernel",
            "2048 100 linear 8:1 0",
            "0 100 error",
            "0 100 crypt aes-xts-plain64 :32:logon:x 0 8:1 4096",
        ] {
            let table = Table::parse(line).unwrap();
            assert_eq!(table.to_string(), line);
        }
    }

    #[test]
    fn known_lines_are_understood() {
        let table = Table::parse("0 64 snapshot-merge 254:0 /dev/x PO 8 1 f\n64 36 error").unwrap();
        let Target::SnapshotMerge(args) = &table.0[0].target else { panic!("{table}") };
        assert_eq!(args.real.number(), Some(DeviceNumber { major: 254, minor: 0 }));
        assert_eq!(args.cow, DeviceRef::Path("/dev/x".into()));
        assert_eq!(
            (args.persistence, args.chunk_size.bytes()),
            (Persistence::PersistentOverflow, 4096)
        );
        assert_eq!(args.features, ["f"]);
        assert_eq!((table.length(), table.only()), (Sectors(100), None));
    }

    #[test]
    fn a_table_over_other_devices_differs_in_their_numbers_alone() {
        let table = |text| Table::parse(text).unwrap();
        let before = table("0 8 linear 8:1 2048\n8 8 delay 8:1 0 20 8:2 0 30\n16 8 error");
        let number = |minor| DeviceNumber { major: 8, minor };
        assert_eq!(before.devices(), [number(1), number(1), number(2)]);
        let now = before.over(|dev| DeviceNumber { minor: dev.minor + 16, ..dev });
        assert_eq!(now, table("0 8 linear 8:17 2048\n8 8 delay 8:17 0 20 8:18 0 30\n16 8 error"));
        let text = serde_json::to_string(&now).unwrap();
        assert_eq!(serde_json::from_str::<Table>(&text).unwrap(), now);
        serde_json::from_str::<Table>(r#"["0 8"]"#).unwrap_err();
    }

    #[test]
    fn a_line_that_is_not_understood_is_kept() {
        for params in ["254:0 254:1 P 12", "254:0 254:1 Q 8", "254:0", "254:0 254:1 P 8 2 one"] {
            let target = Target::parse("snapshot", params);
            assert!(matches!(target, Target::Other { .. }), "{params}");
            assert_eq!(target.params(), params);
        }
    }

    proptest! {
        #[test]
        fn no_table_panics(text in "[ -~\n]{0,80}") {
            if let Some(table) = Table::parse(&text) {
                let again = Table::parse(&table.to_string()).unwrap();
                prop_assert_eq!(again.0.len(), table.0.len());
            }
        }

        #[test]
        fn snapshot_lines_round_trip(
            major in 0u32..4096, minor in 0u32..1_048_576, log in 0u32..12, overflow: bool,
            features in prop::collection::vec("[a-z_]{1,20}", 0..3),
        ) {
            let args = SnapshotArgs {
                real: DeviceNumber { major, minor }.into(),
                cow: DeviceRef::Path("/dev/mapper/cow".into()),
                persistence: if overflow { Persistence::PersistentOverflow } else { Persistence::Persistent },
                chunk_size: ChunkSize::from_sectors(1 << log).unwrap(),
                features,
            };
            let table = Table::single(Sectors(8), Target::Snapshot(args));
            prop_assert_eq!(Table::parse(&table.to_string()), Some(table));
        }
    }
}
