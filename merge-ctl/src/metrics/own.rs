//! What the exporter tells of itself.

use super::list;
use super::page::Page;
use crate::sample::Dropped;

/// What the exporter knows of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Own {
    /// When it began, in seconds since 1970, UTC.
    pub started_unix_s: f64,
    /// When it last read devices, in seconds since 1970, UTC; none where it never could.
    pub sampled_unix_s: Option<f64>,
    /// Whether device-mapper answered then.
    pub device_mapper: bool,
    /// What the probes lost; none where none are attached.
    pub dropped: Option<Dropped>,
    /// Processor time; none where the kernel does not tell.
    pub cpu_s: Option<f64>,
    /// Memory in RAM; none where the kernel does not tell.
    pub resident_bytes: Option<u64>,
}

/// Adds what the exporter tells of itself.
pub fn add_own(page: &mut Page, own: &Own) {
    page.put(&list::BUILD, &[env!("CARGO_PKG_VERSION")], 1.0);
    page.put(&list::UP, &[], f64::from(u8::from(own.device_mapper)));
    page.put(&list::STARTED, &[], own.started_unix_s);
    page.put_known(&list::SAMPLED, &[], own.sampled_unix_s);
    page.put_known(&list::MEMORY, &[], own.resident_bytes.map(|bytes| bytes as f64));
    if let Some(cpu_s) = own.cpu_s {
        page.count(&list::CPU, &[], cpu_s, own.started_unix_s);
    }
    let Some(Dropped { runs, in_flight, merges, half_seen, missed }) = own.dropped else { return };
    let kinds = [
        ("runs", runs),
        ("in-flight", in_flight),
        ("merges", merges),
        ("half-seen", half_seen),
        ("missed", missed),
    ];
    for (kind, count) in kinds {
        page.count(&list::DROPPED, &[kind], count as f64, own.started_unix_s);
    }
}
