//! `merge-ctl status [NAME] [--json]`: every snapshot, origin and merge on this host.
//!
//! And every merge that was begun and should be going on, by the journals.
//!
//! Reading the host is one line; rows and both renderings are pure functions of the picture.

mod journals;

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::{Context, bail};
use merge_ctl::dm::{Control, Device, Host, SnapshotArgs, SnapshotStatus, Target, Usage, resolve};
use merge_ctl::harmless;
use merge_ctl::human;
use merge_ctl::merge::journal;
use merge_ctl::safe_path;
use merge_ctl::sample::Owner;
use merge_ctl::state::State;
use merge_ctl::units::DeviceNumber;
use serde::Serialize;

use super::attach;
use super::elsewhere::{self, Elsewhere};
use super::terminal;
use journals::{Begun, Told};

/// Raised whenever a field changes its meaning or goes.
const SCHEMA: u32 = 1;
const NOTHING: &str = "There is no snapshot, no origin and no merge on this host.";

/// Prints the table, or with `json` one object, of all devices, or of those that belong to `name`.
///
/// # Errors
/// [`merge_ctl::dm::DmError`] where device-mapper does not answer,
/// [`resolve::ResolveError`] where `name` means nothing.
pub(crate) fn run(name: Option<&str>, json: bool) -> anyhow::Result<()> {
    let host = Host::read(&Control::open()?)?;
    let told: Vec<_> = journal::list()
        .context("cannot list the journals of merges")?
        .into_iter()
        .map(|journal| Told::new(journal, journal::driver::driver_of))
        .collect();
    let answer = answer(&host, &told, elsewhere::all(&host), name)?;
    let text = match json {
        true => to_json(&answer)?,
        false => terminal::unfolded_for_stdout(&to_text(&answer)).into_owned(),
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write the answer")
}

/// What is told.
#[derive(Debug, PartialEq, Serialize)]
struct Answer {
    schema: u32,
    devices: Vec<Row>,
    /// Merges that were begun by merge-ctl's own steps and are not finished.
    begun: Vec<Begun>,
    /// Offline merges that go on: the kernel shows no merge of them.
    offline: Vec<Elsewhere>,
}

fn answer(
    host: &Host,
    told: &[Told],
    mut offline: Vec<Elsewhere>,
    name: Option<&str>,
) -> anyhow::Result<Answer> {
    let meant = name.and_then(|name| attach::name_of(host, name));
    offline.retain(|it| name.is_none() || meant.as_deref().is_some_and(|name| it.is_called(name)));
    let mut begun: Vec<_> = told.iter().map(|told| Begun::of(host, told)).collect();
    let devices = match (rows(host, name, &begun), name) {
        (Ok(rows), None) => rows,
        (Ok(rows), Some(_)) => {
            let of_rows = |origin: &String| rows.iter().any(|row| row.dm_name == *origin);
            begun.retain(|begun| begun.origin.as_ref().is_some_and(of_rows));
            rows
        }
        // A merge that was interrupted may have no device, but it has a name.
        (Err(error), name) => {
            begun.retain(|begun| begun.origin.is_some() && begun.origin.as_deref() == name);
            if begun.is_empty() && offline.is_empty() {
                return Err(error);
            }
            Vec::new()
        }
    };
    Ok(Answer { schema: SCHEMA, devices, begun, offline })
}

/// One device of the answer. Lengths are in bytes.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    /// As people call it.
    name: String,
    /// As device-mapper calls it.
    dm_name: String,
    /// Its number.
    dev: String,
    /// `snapshot`, `origin` or `merge`.
    kind: &'static str,
    /// The origin of a snapshot, by the name that people use.
    origin: Option<String>,
    /// The device that holds the origin's data.
    real: Option<String>,
    /// The device that holds the exceptions.
    cow: Option<String>,
    state: &'static str,
    suspended: bool,
    owner: Owner,
    /// The process of merge-ctl that drives a merge.
    driver_pid: Option<u32>,
    /// `P`, `PO` or `N`.
    persistence: Option<String>,
    size_bytes: u64,
    chunk_bytes: Option<u64>,
    allocated_bytes: Option<u64>,
    total_bytes: Option<u64>,
    metadata_bytes: Option<u64>,
    /// Exceptions, that is what a merge has, or would have, to copy.
    left_bytes: Option<u64>,
    /// Snapshots of the same data; a merging one is not among them.
    snapshots: Option<u64>,
    open_count: u32,
}

fn rows(host: &Host, name: Option<&str>, begun: &[Begun]) -> anyhow::Result<Vec<Row>> {
    let row = |host, device| row(host, device, begun);
    let Some(name) = name else {
        return Ok(host.devices.iter().filter_map(|device| row(host, device)).collect());
    };
    let device = resolve::resolve(host, name)?;
    let Some(first) = row(host, device) else {
        let targets: Vec<_> = device.table.0.iter().map(|line| line.target.kind()).collect();
        let table = if targets.is_empty() { "none".into() } else { targets.join(", ") };
        bail!("{} is no snapshot, no origin and no merge: its table is {table}", device.label());
    };
    let snapshots = device.origin_of().into_iter().flat_map(|real| host.snapshots_of(real));
    Ok(std::iter::once(first).chain(snapshots.filter_map(|other| row(host, other))).collect())
}

fn row(host: &Host, device: &Device, begun: &[Begun]) -> Option<Row> {
    let (kind, args) = match device.table.only()? {
        Target::Snapshot(args) => ("snapshot", Some(args)),
        Target::SnapshotMerge(args) => ("merge", Some(args)),
        Target::SnapshotOrigin { .. } => ("origin", None),
        _ => return None,
    };
    let usage = device.status.as_ref().and_then(SnapshotStatus::usage);
    let bytes = |part: fn(&Usage) -> u64| usage.as_ref().map(part);
    let label = |dev: Option<DeviceNumber>| dev.map(|dev| host.label_of(dev));
    let driver = || {
        let of = |begun: &&Begun| begun.origin.as_ref() == Some(&device.info.name);
        begun.iter().find(of)?.driver_pid
    };
    let real = args.map_or_else(|| device.origin_of(), |args| args.real.number());
    Some(Row {
        name: device.label(),
        dm_name: device.info.name.clone(),
        dev: device.info.dev.to_string(),
        kind,
        origin: device.snapshot().and_then(|args| origin_label(host, args)),
        real: label(real),
        cow: label(args.and_then(|args| args.cow.number())),
        state: state(kind, device.status.as_ref()),
        suspended: device.info.suspended,
        owner: device.owner(),
        driver_pid: driver(),
        persistence: args.map(|args| args.persistence.to_string()),
        size_bytes: device.size().bytes(),
        chunk_bytes: args.map(|args| args.chunk_size.bytes()),
        allocated_bytes: bytes(|usage| usage.allocated.bytes()),
        total_bytes: bytes(|usage| usage.total.bytes()),
        metadata_bytes: bytes(|usage| usage.metadata.bytes()),
        left_bytes: bytes(|usage| usage.exceptions().bytes()),
        snapshots: device.origin_of().map(|real| host.snapshots_of(real).count() as u64),
        open_count: device.info.open_count,
    })
}

/// The origin that users see, or the data below it where no origin is active.
fn origin_label(host: &Host, args: &SnapshotArgs) -> Option<String> {
    let real = args.real.number()?;
    Some(host.origin_over(real).map_or_else(|| host.label_of(real), Device::label))
}

fn state(kind: &str, status: Option<&SnapshotStatus>) -> &'static str {
    match status {
        Some(SnapshotStatus::Invalid) => State::Invalid.name(),
        Some(SnapshotStatus::MergeFailed) => State::Failed.name(),
        Some(SnapshotStatus::Overflow) => "overflow",
        Some(SnapshotStatus::Unknown(_)) => State::Unknown.name(),
        Some(SnapshotStatus::Usage(usage)) if kind == "merge" => {
            if usage.is_empty() {
                State::DoneNotFinished.name()
            } else {
                State::Merging.name()
            }
        }
        None if kind != "origin" => State::Unknown.name(),
        _ => "active",
    }
}

fn to_json(answer: &Answer) -> serde_json::Result<String> {
    harmless::json(answer).map(|text| text + "\n")
}

fn to_text(answer: &Answer) -> String {
    let begun = answer.begun.iter().filter_map(Begun::sentence);
    let sentences: Vec<_> = begun.chain(answer.offline.iter().map(Elsewhere::sentence)).collect();
    match (answer.devices.is_empty(), sentences.is_empty()) {
        (_, true) => to_table(&answer.devices),
        (true, false) => sentences.join("\n") + "\n",
        (false, false) => format!("{}\n{}\n", to_table(&answer.devices), sentences.join("\n")),
    }
}

fn to_table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return format!("{NOTHING}\n");
    }
    let head = ["NAME", "KIND", "OF", "STATE", "FILL OR LEFT", "CHUNK", "OPEN", "DRIVEN BY"];
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: [usize; 8] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut text = String::new();
    for line in &lines {
        let padded: Vec<_> =
            line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{}", padded.join("  ").trim_end());
    }
    for failed in rows.iter().filter(|row| row.state == State::Failed.name()) {
        let way_out = human::printable(&safe_path::way_out(&failed.name, failed.owner));
        let name = human::printable(&failed.name);
        let _ = writeln!(text, "\nThe merge into {name} has failed. {way_out}");
    }
    text
}

fn cells(row: &Row) -> [String; 8] {
    let suspended = if row.suspended { ", suspended" } else { "" };
    [
        row.name.clone(),
        row.kind.to_owned(),
        row.origin.clone().unwrap_or_else(|| "-".into()),
        format!("{}{suspended}", row.state),
        amount(row),
        row.chunk_bytes.map_or_else(|| "-".into(), human::io_size),
        row.open_count.to_string(),
        driven_by(row),
    ]
}

/// Who sees to a merge; nobody else needs to be driven.
fn driven_by(row: &Row) -> String {
    match (row.kind, row.owner, row.driver_pid) {
        (_, _, Some(pid)) => format!("process {pid}"),
        ("merge", Owner::Lvm, None) => "lvm2".into(),
        ("merge", Owner::DeviceMapper, None) => "nobody".into(),
        _ => "-".into(),
    }
}

/// How full a snapshot is, what a merge has left, how many snapshots an origin has.
fn amount(row: &Row) -> String {
    match (row.kind, row.allocated_bytes, row.total_bytes, row.left_bytes) {
        ("merge", _, _, Some(left)) => format!("{} left", human::bytes(left)),
        ("snapshot", Some(allocated), Some(total), _) if total > 0 => {
            let percent = allocated as f64 * 100.0 / total as f64;
            format!("{percent:.1} % of {}", human::bytes(total))
        }
        ("origin", ..) => match row.snapshots {
            Some(1) => "1 snapshot".into(),
            count => format!("{} snapshots", count.unwrap_or(0)),
        },
        _ => "-".into(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use merge_ctl::dm::{DeviceInfo, Table};

    use merge_ctl::merge::journal::Phase;

    pub(in crate::command) use super::journals::tests::record;
    use super::*;

    pub(in crate::command) fn device(minor: u32, name: &str, table: &str, status: &str) -> Device {
        Device {
            info: DeviceInfo {
                name: name.into(),
                uuid: String::new(),
                dev: DeviceNumber { major: 253, minor },
                open_count: minor % 2,
                suspended: name == "held",
                internally_suspended: false,
                read_only: false,
                live_table: true,
                inactive_table: false,
                deferred_remove: false,
                target_count: 1,
                event_nr: 0,
                uevent_generated: false,
            },
            table: Table::parse(table).unwrap(),
            status: (!status.is_empty()).then(|| SnapshotStatus::parse(status)),
        }
    }

    pub(in crate::command) fn picture() -> Host {
        let mut lvm = device(2, "vg-snap", "0 131072 snapshot 253:0 7:0 P 8", "4112/81920 32");
        lvm.info.uuid = format!("LVM-{}", "x".repeat(64));
        Host {
            devices: vec![
                device(0, "real", "0 131072 linear 7:0 0", ""),
                device(1, "data", "0 131072 snapshot-origin 253:0", ""),
                lvm,
                device(3, "held", "0 262144 snapshot-merge 7:1 7:2 P 32", "2144/16384 96"),
                device(4, "done", "0 8 snapshot-merge 7:3 7:4 P 8", "16/16384 16"),
                device(5, "lost", "0 8 snapshot 7:5 7:6 N 8", "Invalid"),
            ],
        }
    }

    #[test]
    fn the_table_is_aligned_and_in_human_units() {
        let text = to_table(&answer(&picture(), &[], Vec::new(), None).unwrap().devices);
        let expected = "\
NAME     KIND      OF    STATE               FILL OR LEFT    CHUNK   OPEN  DRIVEN BY
data     origin    -     active              1 snapshot      -       1     -
vg/snap  snapshot  data  active              5.0 % of 40.0 MiB  4 KiB   0  -
";
        // The widths follow the widest cell, so the lines are compared word by word.
        let words = |text: &str| -> Vec<String> {
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
        };
        assert_eq!(words(&text)[..3], words(expected));
        assert_eq!(words(&text)[3], "held merge - merging, suspended 1.0 MiB left 16 KiB 1 nobody");
        assert_eq!(words(&text)[4], "done merge - done-not-finished 0 B left 4 KiB 0 nobody");
        assert_eq!(words(&text)[5], "lost snapshot 7:5 invalid - 4 KiB 1 -");
        let column = |line: &str| line.find("4 KiB").or(line.find("CHUNK"));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(column(lines[0]), column(lines[2]));
    }

    #[test]
    fn a_failed_merge_has_its_way_out_below_the_table() {
        let mut host = picture();
        assert!(!to_table(&rows(&host, None, &[]).unwrap()).contains("merge-ctl resume"));
        host.devices[3].status = Some(SnapshotStatus::MergeFailed);
        let text = to_table(&rows(&host, None, &[]).unwrap());
        let last = text.lines().last().unwrap();
        assert!(last.starts_with("The merge into held has failed. Do NOT suspend"), "{last}");
        assert!(last.ends_with("then: merge-ctl resume held"), "{last}");
    }

    #[test]
    fn nothing_there_is_a_sentence_and_an_empty_list() {
        assert_eq!(to_table(&[]), format!("{NOTHING}\n"));
        let nothing = answer(&Host { devices: Vec::new() }, &[], Vec::new(), None).unwrap();
        assert_eq!(to_text(&nothing), to_table(&[]));
        let json = to_json(&nothing).unwrap();
        assert_eq!(json, "{\"schema\":1,\"devices\":[],\"begun\":[],\"offline\":[]}\n");
    }

    #[test]
    fn json_holds_bytes() {
        let text = to_json(&answer(&picture(), &[], Vec::new(), Some("vg-snap")).unwrap()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let device = &value["devices"][0];
        assert_eq!(device["name"], "vg/snap");
        assert_eq!(device["owner"], "lvm");
        assert_eq!(device["origin"], "data");
        assert_eq!(device["allocated_bytes"], 4112 * 512);
        assert_eq!(device["left_bytes"], 4080 * 512);
        assert_eq!(device["chunk_bytes"], 4096);
        assert_eq!(value["devices"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn an_origins_name_brings_its_snapshots_and_others_are_refused() {
        let host = picture();
        let names: Vec<_> =
            rows(&host, Some("data"), &[]).unwrap().into_iter().map(|row| row.name).collect();
        assert_eq!(names, ["data", "vg/snap"]);
        let error = rows(&host, Some("real"), &[]).unwrap_err().to_string();
        assert!(error.contains("its table is linear"), "{error}");
    }

    #[test]
    fn an_interrupted_merge_is_told_beside_the_devices_and_by_its_name_alone() {
        let host = picture();
        let told = [
            journals::tests::told("away", Phase::Merging, None),
            journals::tests::told("done", Phase::Merging, Some(4711)),
        ];
        let all = to_text(&answer(&host, &told, Vec::new(), None).unwrap());
        assert!(all.contains("process 4711") && all.contains("merge-ctl resume away"), "{all}");
        let away = answer(&host, &told, Vec::new(), Some("away")).unwrap();
        assert_eq!((away.devices.len(), away.begun.len()), (0, 1));
        assert!(to_text(&away).starts_with("away: interrupted"));
        let done = answer(&host, &told, Vec::new(), Some("done")).unwrap();
        assert_eq!((done.devices[0].driver_pid, done.begun.len()), (Some(4711), 1));
        assert!(!to_text(&done).contains("interrupted"));
        assert!(answer(&host, &told, Vec::new(), Some("nothing")).is_err());
    }
}
