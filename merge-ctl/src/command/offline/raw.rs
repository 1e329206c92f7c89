//! Of a raw.

use std::process::ExitCode;

use merge_ctl::dm::{Control, Host};
use merge_ctl::merge::preflight::Plan;

use crate::cli::Start;

pub(super) async fn run(
    _control: &Control,
    _host: &Host,
    _plan: &Plan<'_>,
    _options: &Start,
) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not built yet")
}
