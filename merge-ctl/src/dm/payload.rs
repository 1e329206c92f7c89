//! What follows the header of a device-mapper ioctl: tables on the way in, lines and lists on the way
//! out.
//!
//! Sources: `drivers/md/dm-ioctl.c`, `include/uapi/linux/dm-ioctl.h`.

use super::device::{ListedDevice, StatusLine, TargetVersion};
use super::ioctl::{text_at, u32_at, u64_at};
use super::target::Table;
use crate::harmless;
use crate::units::{DeviceNumber, Sectors};

/// Bytes of `struct dm_target_spec`; its parameters follow at once.
const TARGET_SPEC_BYTES: usize = 40;
/// Bytes of a target's type in it, the closing NUL included (`DM_MAX_TYPE_NAME`).
const TYPE_BYTES: usize = 16;

/// A table as `DM_TABLE_LOAD` takes it: each `next` counts from the start of its own line, and
/// lines begin at multiples of eight. Nothing where a target's type is too long.
pub(super) fn table_bytes(table: &Table) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for line in &table.0 {
        let (kind, params) = (line.target.kind(), harmless::to_bytes(&line.target.params()));
        if kind.len() >= TYPE_BYTES {
            return None;
        }
        let length = (TARGET_SPEC_BYTES + params.len() + 1).next_multiple_of(8);
        let end = bytes.len() + length;
        bytes.extend_from_slice(&line.start.0.to_ne_bytes());
        bytes.extend_from_slice(&line.length.0.to_ne_bytes());
        bytes.extend_from_slice(&0_i32.to_ne_bytes());
        bytes.extend_from_slice(&(length as u32).to_ne_bytes());
        bytes.extend_from_slice(kind.as_bytes());
        bytes.resize(end - length + TARGET_SPEC_BYTES, 0);
        bytes.extend_from_slice(&params);
        bytes.resize(end, 0);
    }
    Some(bytes)
}

/// Lines as `DM_TABLE_STATUS` gives them: each `next` counts from the first line (`retrieve_status`).
pub(super) fn parse_target_lines(data: &[u8], count: u32) -> Option<Vec<StatusLine>> {
    let mut lines = Vec::new();
    let mut at = 0;
    for _ in 0..count {
        let spec = data.get(at..)?;
        lines.push(StatusLine {
            start: Sectors(u64_at(spec, 0)?),
            length: Sectors(u64_at(spec, 8)?),
            kind: text_at(spec.get(..TARGET_SPEC_BYTES)?, TARGET_SPEC_BYTES - TYPE_BYTES),
            text: text_at(spec, TARGET_SPEC_BYTES).trim_end().to_owned(),
        });
        at = u32_at(spec, 20)? as usize;
    }
    Some(lines)
}

/// `struct dm_name_list`: each `next` counts from its own start, 0 ends it. Where there is no device
/// the kernel gives no data, or a first device of number 0.
pub(super) fn parse_list(data: &[u8]) -> Option<Vec<ListedDevice>> {
    let mut devices = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let dev = u64_at(rest, 0)?;
        let next = u32_at(rest, 8)? as usize;
        if dev != 0 {
            devices
                .push(ListedDevice { name: text_at(rest, 12), dev: DeviceNumber::from_user(dev) });
        }
        if next == 0 {
            break;
        }
        rest = rest.get(next..)?;
    }
    Some(devices)
}

/// `struct dm_target_versions`: as above.
pub(super) fn parse_targets(data: &[u8]) -> Option<Vec<TargetVersion>> {
    let mut targets = Vec::new();
    let mut rest = data;
    // A kernel without any target answers with no data at all.
    while !rest.is_empty() {
        let next = u32_at(rest, 0)? as usize;
        let version = [u32_at(rest, 4)?, u32_at(rest, 8)?, u32_at(rest, 12)?];
        targets.push(TargetVersion { kind: text_at(rest, 16), version });
        if next == 0 {
            break;
        }
        rest = rest.get(next..)?;
    }
    Some(targets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_loaded_line_is_aligned_and_points_past_itself() {
        let table = Table::parse("0 8 linear 8:1 0\n8 8 error").unwrap();
        let bytes = table_bytes(&table).unwrap();
        // 40 bytes and "8:1 0\0" make 46, rounded up to 48; then 40 and a NUL make 48 too.
        assert_eq!(bytes.len(), 96);
        assert_eq!(u32_at(&bytes, 20), Some(48));
        assert_eq!(text_at(&bytes, 24), "linear");
        assert_eq!(text_at(&bytes, 40), "8:1 0");
        assert_eq!(u64_at(&bytes, 48), Some(8));
        assert_eq!(text_at(&bytes, 72), "error");
    }

    #[test]
    fn status_lines_are_found_from_the_start_of_the_data() {
        let table = Table::parse("0 8 linear 8:1 0\n8 8 snapshot x\n16 8 error").unwrap();
        let mut bytes = table_bytes(&table).unwrap();
        // As the kernel fills `next` in for status: counted from the first line.
        for (line, next) in [(0, 48_u32), (48, 96)] {
            bytes[line + 20..line + 24].copy_from_slice(&next.to_ne_bytes());
        }
        let lines = parse_target_lines(&bytes, 3).unwrap();
        let kinds: Vec<_> = lines.iter().map(|line| (line.start.0, line.kind.as_str())).collect();
        assert_eq!(kinds, [(0, "linear"), (8, "snapshot"), (16, "error")]);
        assert_eq!(lines[1].text, "x");
    }

    #[test]
    fn a_list_may_be_empty() {
        assert_eq!(parse_list(&[0; 16]), Some(vec![]));
        assert_eq!(parse_list(&[]), Some(vec![]));
        assert_eq!(parse_targets(&[]), Some(vec![]));
    }

    proptest! {
        #[test]
        fn no_answer_of_the_kernel_panics(data in prop::collection::vec(any::<u8>(), 0..200), count: u32) {
            let lines = parse_target_lines(&data, count % 8);
            prop_assert!(lines.is_none_or(|lines| lines.len() == (count % 8) as usize));
            prop_assert!(parse_list(&data).is_none_or(|list| list.len() <= data.len()));
            prop_assert!(parse_targets(&data).is_none_or(|list| list.len() <= data.len()));
        }
    }
}
