//! A recording in place of the host: its merges at the pace that they went, for whoever sets up alerts or a
//! dashboard and has nothing to merge. Needs no privilege and no device.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use merge_ctl::harmless;
use merge_ctl::metrics::{self, Own, Page};
use merge_ctl::recording::Player;
use merge_ctl::units::nanoseconds;
use tokio::time::Interval;

use super::{own, told_once};
use crate::command::live;

/// See the module.
pub(super) struct Replayed {
    player: Player<File>,
    ticker: Interval,
    began: Instant,
    started_unix_s: f64,
    first_ns: u64,
    trouble: Option<String>,
}

impl Replayed {
    /// At the beginning of the recording.
    ///
    /// # Errors
    /// Where there is none.
    pub(super) fn open(path: &Path, every: Duration) -> anyhow::Result<Self> {
        let words = || format!("cannot replay {}", harmless::path(path));
        let mut player = Player::open(File::open(path).with_context(words)?).with_context(words)?;
        let first_ns = player.first().with_context(words)?.unwrap_or_default();
        let mut replayed = Self {
            player,
            ticker: live::every(every),
            began: Instant::now(),
            started_unix_s: own::unix_s(),
            first_ns,
            trouble: None,
        };
        replayed.go_on();
        Ok(replayed)
    }

    /// Waits until it is time for it, and goes on.
    pub(super) async fn next_round(&mut self) {
        self.ticker.tick().await;
        self.go_on();
    }

    fn go_on(&mut self) {
        let now_ns = self.first_ns.saturating_add(nanoseconds(self.began.elapsed()));
        let sought = self.player.seek(now_ns).context("cannot read on in the recording");
        told_once(&mut self.trouble, sought);
    }

    /// The merges as they stood.
    pub(super) fn page(&self) -> Page {
        let mut page = Page::new(own::unix_s());
        let mut dropped = None;
        for merge in self.player.merges() {
            metrics::add_merge(&mut page, &merge.model);
            dropped = Some(merge.model.dropped);
        }
        let sampled_unix_s = Some(page.unix_s);
        let own = own::of_process(self.started_unix_s);
        metrics::add_own(&mut page, &Own { sampled_unix_s, device_mapper: true, dropped, ..own });
        page
    }
}
