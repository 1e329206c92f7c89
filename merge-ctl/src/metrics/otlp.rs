//! A page as an `ExportMetricsServiceRequest` of OTLP, in its JSON form.
//!
//! JSON is one of the two encodings that every receiver of OTLP over HTTP has to take, and needs no
//! generated code. 64-bit integers are strings there, as in all JSON of protocol buffers.

use serde_json::{Value as Json, json};

use super::family::{Family, Kind};
use super::page::{Filled, Page, Point, Value};

/// Sums count on from where they began, in OTLP's own number for it.
const CUMULATIVE: u8 = 2;

/// The whole request. `host`: what this machine is called.
pub fn write(page: &Page, host: &str) -> String {
    let metrics: Vec<Json> = page.families().iter().map(|filled| metric(filled, page)).collect();
    let version = env!("CARGO_PKG_VERSION");
    let resource =
        [("service.name", "merge-ctl"), ("service.version", version), ("host.name", host)];
    json!({ "resourceMetrics": [{
        "resource": { "attributes": attributes(resource) },
        "scopeMetrics": [{
            "scope": { "name": "merge-ctl", "version": version },
            "metrics": metrics,
        }],
    }] })
    .to_string()
}

fn metric(filled: &Filled, page: &Page) -> Json {
    let Filled { family, points } = filled;
    let points: Vec<Json> = points.iter().map(|point| data_point(family, point, page)).collect();
    let mut metric = json!({
        "name": name(family), "description": family.help, "unit": family.unit.ucum(),
    });
    let (kind, data) = match family.kind {
        Kind::Gauge | Kind::Info => ("gauge", json!({ "dataPoints": points })),
        Kind::Counter => (
            "sum",
            json!({ "dataPoints": points, "isMonotonic": true,
                    "aggregationTemporality": CUMULATIVE }),
        ),
        Kind::Histogram => {
            ("histogram", json!({ "dataPoints": points, "aggregationTemporality": CUMULATIVE }))
        }
    };
    metric[kind] = data;
    metric
}

/// Collectors put `_total` behind a sum's name by themselves, and nothing behind a gauge's.
fn name(family: &Family) -> String {
    match family.kind {
        Kind::Info => family.sample_name(),
        _ => family.name.to_owned(),
    }
}

fn data_point(family: &Family, point: &Point, page: &Page) -> Json {
    let labels = family.labels.iter().copied().zip(point.labels.iter().map(String::as_str));
    let mut data = json!({
        "attributes": attributes(labels), "timeUnixNano": nanoseconds(page.unix_s),
    });
    if matches!(family.kind, Kind::Counter | Kind::Histogram) {
        data["startTimeUnixNano"] = nanoseconds(point.since_unix_s).into();
    }
    match &point.value {
        Value::Number(number) => data["asDouble"] = json!(number),
        Value::Histogram(histogram) => {
            let counts: Vec<String> = histogram.counts.iter().map(u64::to_string).collect();
            data["count"] = json!(histogram.count().to_string());
            data["sum"] = json!(histogram.sum);
            data["bucketCounts"] = json!(counts);
            data["explicitBounds"] = json!(histogram.bounds);
        }
    }
    data
}

fn attributes<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Json> {
    let attribute = |(key, value)| json!({ "key": key, "value": { "stringValue": value } });
    pairs.into_iter().map(attribute).collect()
}

fn nanoseconds(unix_s: f64) -> String {
    // Whole microseconds: a double holds no more of a time of today.
    format!("{}000", (unix_s * 1e6) as u64)
}
