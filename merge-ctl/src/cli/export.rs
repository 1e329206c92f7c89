//! `merge-ctl export`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Watching;
use super::values::{absolute, pace};

/// Where metrics are told if nothing else is said.
const EXPORT_PORT: u16 = 9946;

/// `merge-ctl export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Where to answer over HTTP [default: 127.0.0.1:9946, or nowhere with --textfile or --otlp]. There
    /// is no encryption and no password: leave it on this host, or see to who can reach it
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Keep the file merge-ctl.prom in this directory, for node_exporter's textfile collector
    #[arg(long, value_name = "DIRECTORY", value_parser = absolute)]
    pub(crate) textfile: Option<PathBuf>,
    /// Push to an OpenTelemetry collector: OTLP over HTTP, in JSON, without TLS; the path is /v1/metrics
    /// and the port 4318 where none is given
    #[arg(long, value_name = "URL")]
    pub(crate) otlp: Option<String>,
    /// Time between two pushes
    #[arg(long, value_name = "DURATION", value_parser = pace, default_value = "15s", requires = "otlp")]
    pub(crate) otlp_interval: Duration,
    /// Time between two samples of merges
    #[arg(long, value_name = "DURATION", value_parser = pace, default_value = "1s")]
    pub(crate) interval: Duration,
    /// Time between two looks at snapshots that do not merge
    #[arg(long, value_name = "DURATION", value_parser = pace, default_value = "15s")]
    pub(crate) snapshot_interval: Duration,
    /// What is watched while something is merged.
    #[command(flatten)]
    pub(crate) watching: Watching,
    /// Tell the merges of a recording in place of this host's, as fast as they went: to try alerts and a
    /// dashboard. Needs no privilege
    #[arg(long, value_name = "FILE", value_parser = absolute)]
    pub(crate) replay: Option<PathBuf>,
}

impl Export {
    /// Where to answer over HTTP.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        let elsewhere = self.textfile.is_some() || self.otlp.is_some();
        let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, EXPORT_PORT));
        self.listen.or((!elsewhere).then_some(usual))
    }
}
