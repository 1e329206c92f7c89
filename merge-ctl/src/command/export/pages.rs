//! A page as it is handed out: finished text, which costs nothing to hand out again.

use hyper::body::Bytes;
use merge_ctl::metrics::text::{self, Format};
use merge_ctl::metrics::{Page, otlp};

/// In which forms it is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// For an OpenTelemetry collector.
    pub(super) otlp: bool,
}

/// One page in all its forms. A copy shares them.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    /// OpenMetrics.
    pub(super) open_metrics: Bytes,
    /// The text format of Prometheus.
    pub(super) text: Bytes,
    /// An OTLP request; empty where none is wanted.
    pub(super) otlp: Bytes,
}

impl Pages {
    pub(super) fn of(page: &Page, wanted: Wanted) -> Self {
        let otlp = wanted.otlp.then(|| {
            let host = rustix::system::uname();
            otlp::write(page, &host.nodename().to_string_lossy()).into()
        });
        Self {
            open_metrics: text::write(page, Format::OpenMetrics).into(),
            text: text::write(page, Format::Prometheus).into(),
            otlp: otlp.unwrap_or_default(),
        }
    }
}
