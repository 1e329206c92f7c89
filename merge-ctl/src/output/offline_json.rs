//! What the objects of an offline merge have besides: the field `offline`.

use serde::Serialize;
use serde::ser::Serializer;

use crate::model::{Offline, StageTime};
use crate::offline::meter::Stage;
use crate::sample::{OfflineEnd, OfflineTerms};

/// In `begin`: what was agreed.
#[derive(Serialize)]
pub(super) struct Terms {
    verify: bool,
    bandwidth_bytes_per_s: Option<u64>,
    requests: u32,
    memory_bytes: u64,
}

impl From<OfflineTerms> for Terms {
    fn from(terms: OfflineTerms) -> Self {
        Self {
            verify: terms.verify,
            bandwidth_bytes_per_s: terms.bandwidth_bytes.map(Into::into),
            requests: terms.requests,
            memory_bytes: terms.memory_bytes,
        }
    }
}

/// In `progress` and `summary`: what the engine does, and how it ended.
#[derive(Serialize)]
pub(super) struct OfflineNow<'a> {
    stage: &'static str,
    stopping: bool,
    end: Option<&'static str>,
    error: Option<ErrorJson<'a>>,
    exceptions: Option<u64>,
    total_bytes: Option<u64>,
    copied_bytes: u64,
    verified_bytes: u64,
    cleared_exceptions: u64,
    frontier_bytes: u64,
    walked_exceptions: u64,
    requests_under_way: u64,
    bytes_under_way: u64,
    copy_bytes_per_s: Option<f64>,
    verify_bytes_per_s: Option<f64>,
    #[serde(serialize_with = "by_name")]
    stages_ns: &'a [StageTime],
}

#[derive(Serialize)]
struct ErrorJson<'a> {
    words: &'a str,
    sector: Option<u64>,
}

impl<'a> From<&'a Offline> for OfflineNow<'a> {
    fn from(offline: &'a Offline) -> Self {
        let rate = |stage| offline.of_stage(stage).and_then(|time| time.bytes_per_s);
        let (end, error) = match &offline.end {
            None => (None, None),
            Some(OfflineEnd::Merged) => (Some("merged"), None),
            Some(OfflineEnd::Finished) => (Some("finished"), None),
            Some(OfflineEnd::Stopped) => (Some("stopped"), None),
            Some(OfflineEnd::Failed(fault)) => {
                (Some("failed"), Some(ErrorJson { words: &fault.words, sector: fault.sector }))
            }
        };
        // Before they are counted nobody knows how many there are.
        let counted = offline.stage > Stage::Reading || offline.exceptions > 0;
        Self {
            stage: offline.stage.name(),
            stopping: offline.stopping,
            end,
            error,
            exceptions: counted.then_some(offline.exceptions),
            total_bytes: counted.then_some(offline.total_bytes),
            copied_bytes: offline.copied_bytes,
            verified_bytes: offline.verified_bytes,
            cleared_exceptions: offline.cleared_exceptions,
            frontier_bytes: offline.frontier_bytes,
            walked_exceptions: offline.walked_exceptions,
            requests_under_way: offline.requests_under_way,
            bytes_under_way: offline.bytes_under_way,
            copy_bytes_per_s: rate(Stage::Copying),
            verify_bytes_per_s: rate(Stage::Verifying),
            stages_ns: &offline.stages,
        }
    }
}

/// The stages as fields, each under its own name.
fn by_name<S: Serializer>(stages: &&[StageTime], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(stages.iter().map(|time| (time.stage.name(), time.ns)))
}
