//! `merge-ctl wait ORIGIN`: return when the merge is done, and say in the exit status how it ended.
//!
//! What always holds: nothing is changed, and no exceptions are read, but for one look at the first
//! of them where a merge vanished between two looks. The kernel's status is asked for five times a
//! second at the most; the probes' record of the end and device-mapper's notice of a new table wake
//! us in between. What waiting cannot end (put off, interrupted, done and nobody finishes it) is told
//! at once, or after a patience.

mod standing;

use std::future::pending;
use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use merge_ctl::dm::changes::Changes;
use merge_ctl::dm::device::Slot;
use merge_ctl::dm::{Control, DeviceId, Host, Target, nodes};
use merge_ctl::harmless::argument;
use merge_ctl::human;
use merge_ctl::merge::journal::driver;
use merge_ctl::model::{DEFAULT_STALL_AFTER_NS, Model, State};
use merge_ctl::output::advice;
use merge_ctl::output::waited::Waited;
use merge_ctl::probe::{Probe, ProbeOptions};
use merge_ctl::sample::{End, MergeIdentity, Owner, Sample};
use merge_ctl::sampler::Watch;
use merge_ctl::store::{FileSource, Opened, Store};
use merge_ctl::units::nanoseconds;

use self::standing::{Pending, Standing, look};
use super::elsewhere::Elsewhere;
use super::hooks::Hooks;
use super::live;
use super::terminal;
use crate::cli::{Until, Wait};
use crate::exit::{Exit, NoMerge};

/// Between two looks at the status, which takes the snapshot's lock.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long somebody else has to finish a merge that is done, before we say that nobody does.
const PATIENCE: Duration = Duration::from_secs(5);
/// lvm2 looks every 15 s.
const PATIENCE_WITH_LVM: Duration = Duration::from_secs(20);

/// So long has LVM's record of a merge to stand without a merge in the kernel before it counts as put off:
/// device-mapper is asked first, and the merge may begin before LVM answers.
const PUT_OFF_FOR: Duration = Duration::from_secs(2);

/// Waits, and tells the end.
pub(crate) async fn run(options: &Wait) -> anyhow::Result<ExitCode> {
    let mut waiting = Waiting::new(options)?;
    let over = match options.timeout {
        None => waiting.until_over().await?,
        Some(timeout) => tokio::select! {
            over = waiting.until_over() => over?,
            () = tokio::time::sleep(timeout) => waiting.timed_out(),
        },
    };
    // Hooks are for those who do not read.
    let told = waiting.tell(&over);
    if let Some(model) = waiting.model.take() {
        waiting.hooks.see_last(&model);
    }
    waiting.hooks.end(pending()).await;
    told?;
    Ok(over.exit.into())
}

/// How the waiting ended.
struct Over {
    exit: Exit,
    /// What it is about, where no merge was seen.
    subject: Option<Subject>,
    sentence: String,
    next: String,
}

/// A volume of which no merge was seen.
struct Subject {
    dm_name: String,
    label: String,
    snapshot: Option<String>,
    owner: Option<Owner>,
    state: &'static str,
}

impl Over {
    /// With the words that the model has for it.
    fn of(model: &Model, exit: Exit) -> Self {
        Self { exit, subject: None, sentence: model.verdict(), next: advice::next(model) }
    }
}

/// What is waited for, and what was seen of it.
struct Waiting<'a> {
    options: &'a Wait,
    control: Control,
    changes: Changes,
    hooks: Hooks,
    begun: Instant,
    /// The last that was seen of a merge.
    model: Option<Model>,
    /// The sample at which it was not there any more.
    vanished: Option<Sample>,
    /// The last state that was told.
    told: Option<State>,
    /// The merge-ctl that is going to begin the merge.
    announced_by: Option<u32>,
    /// The offline merge that was seen in another process's hands.
    elsewhere: Option<Elsewhere>,
    /// Since when LVM has a merge on record that the kernel has not.
    recorded_since: Option<Instant>,
}

impl<'a> Waiting<'a> {
    fn new(options: &'a Wait) -> anyhow::Result<Self> {
        Ok(Self {
            options,
            control: Control::open()?,
            changes: Changes::watch()?,
            hooks: Hooks::new(&options.hooks, false),
            begun: Instant::now(),
            model: None,
            vanished: None,
            told: None,
            announced_by: None,
            elsewhere: None,
            recorded_since: None,
        })
    }

    async fn until_over(&mut self) -> anyhow::Result<Over> {
        loop {
            // The snapshot's name goes with the snapshot.
            let name =
                self.elsewhere.as_ref().map_or(&self.options.origin, |elsewhere| &elsewhere.origin);
            let standing = look(&self.control, name);
            if !matches!(standing, Ok(Standing::Pending(_))) {
                self.recorded_since = None;
            }
            match standing {
                Ok(Standing::Merging(host, origin)) => {
                    if let Some(over) = self.follow(&host, &origin).await? {
                        return Ok(over);
                    }
                }
                Ok(Standing::Driven) => {}
                Ok(Standing::Offline(elsewhere)) => self.waits_for_another(elsewhere),
                Ok(Standing::Announced(pid)) => self.waits_for_its_begin(pid),
                Ok(Standing::Pending(pending)) if self.may_be_beginning(&pending) => {}
                Ok(Standing::Pending(pending)) => return Ok(self.waits_for_somebody(pending)),
                Ok(Standing::Nothing { dm_name, label }) => {
                    return self.nothing_merges(dm_name, label);
                }
                // A volume may vanish with its merge; what was seen of it tells more then.
                Err(_) if self.model.is_some() => return Ok(self.vanished(false)),
                Err(error) => return Err(error),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Follows a merge to its end; nothing where it vanished, and is to be looked at anew.
    async fn follow(&mut self, host: &Host, origin: &str) -> anyhow::Result<Option<Over>> {
        let device = host.by_name(origin).ok_or_else(|| NoMerge(origin.to_owned()))?;
        let args = device.merge().ok_or_else(|| NoMerge(device.label()))?;
        let probe = Probe::attach(self.probe_options());
        let mut watch = Watch::new(Control::open()?, probe);
        let place = watch.add(host, device, args, None)?;
        let first = watch.sample(place);
        let mut model = Model::first(watch.identity(place).clone(), &first, self.stall_after_ns());
        let (mut last, mut done_since) = (first, None);
        loop {
            if model.state == State::Gone {
                (self.model, self.vanished) = (Some(model), Some(last));
                return Ok(None);
            }
            let over = self.over(&model, &mut done_since);
            self.take(&model, over.is_some());
            if over.is_some() {
                return Ok(over);
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = watch.something_happened() => {}
                () = table_changed(&mut self.changes, &self.control, origin) => {}
            }
            last = watch.sample(place);
            model = model.next(&last);
        }
    }

    fn probe_options(&self) -> ProbeOptions {
        let best = live::best_tier(self.options.probes);
        ProbeOptions { best, ..ProbeOptions::default() }
    }

    fn stall_after_ns(&self) -> u64 {
        self.options.stall_after.map_or(DEFAULT_STALL_AFTER_NS, nanoseconds)
    }

    /// Tells what is new in a model, to people and to hooks, and keeps it. What it is at the end is
    /// told there.
    fn take(&mut self, model: &Model, is_end: bool) {
        self.hooks.see(model);
        for line in self.hooks.news() {
            terminal::tell(&line);
        }
        if self.told != Some(model.state) && !is_end && !self.options.quiet {
            terminal::tell(&state_line(model));
        }
        self.told = Some(model.state);
        self.model = Some(model.clone());
    }

    /// Whether the waiting ends here.
    fn over(&self, model: &Model, done_since: &mut Option<Instant>) -> Option<Over> {
        match model.state {
            State::Finished => Some(Over::of(model, Exit::Done)),
            State::Failed | State::Invalid => Some(Over::of(model, Exit::Failed)),
            State::DoneNotFinished if self.options.until == Until::Merged => {
                Some(Over::of(model, Exit::Done))
            }
            State::DoneNotFinished => {
                let since = *done_since.get_or_insert_with(Instant::now);
                nobody_finishes(&model.identity, since.elapsed())
            }
            _ if self.options.stall_after.is_some() && Exit::of(model) == Exit::Stalled => {
                Some(Over { next: advice::first(model), ..Over::of(model, Exit::Stalled) })
            }
            _ => None,
        }
    }

    /// Whether LVM's record may be of a merge that began just now.
    fn may_be_beginning(&mut self, pending: &Pending) -> bool {
        let since = self.recorded_since.get_or_insert_with(Instant::now);
        pending.owner == Owner::Lvm && since.elapsed() < PUT_OFF_FOR
    }

    fn waits_for_its_begin(&mut self, pid: u32) {
        if self.announced_by.replace(pid) != Some(pid) && !self.options.quiet {
            terminal::tell(&format!(
                "merge-ctl, process {pid}, waits for a quiet moment to begin it"
            ));
        }
    }

    fn waits_for_another(&mut self, elsewhere: Elsewhere) {
        if self.elsewhere.is_none() && !self.options.quiet {
            terminal::tell(&elsewhere.clause());
        }
        self.elsewhere = Some(elsewhere);
    }

    fn waits_for_somebody(&mut self, pending: Pending) -> Over {
        // What was seen of a merge that was taken down says less than what is known of it now.
        self.model = None;
        let Pending { dm_name, label, snapshot, owner, state, sentence, next, exit } = pending;
        let subject = Subject { dm_name, label, snapshot, owner: Some(owner), state };
        Over { exit, subject: Some(subject), sentence, next }
    }

    /// Nothing is merged: there was nothing when we came, or it ended between two looks.
    fn nothing_merges(&mut self, dm_name: String, label: String) -> anyhow::Result<Over> {
        if let Some(model) = &self.model {
            // lvm2 takes a snapshot away only once it is merged.
            let by_lvm = model.identity.owner == Owner::Lvm;
            return Ok(self.vanished(by_lvm));
        }
        if let Some(elsewhere) = self.elsewhere.take() {
            return self.ended_elsewhere(elsewhere);
        }
        let subject = Subject { dm_name, label, snapshot: None, owner: None, state: "none" };
        Ok(Over {
            exit: Exit::Done,
            subject: Some(subject),
            sentence: "No merge goes on, and none is to come.".to_owned(),
            next: String::new(),
        })
    }

    /// An offline merge was there, and nobody has anything to do any more: it is done, or was undone
    /// before it had begun.
    fn ended_elsewhere(&self, elsewhere: Elsewhere) -> anyhow::Result<Over> {
        let called_off = elsewhere.was_called_off(&Host::read(&self.control)?);
        let (exit, state, sentence) = if called_off {
            (Exit::Error, "none", "The merge was called off before anything was merged.")
        } else {
            (Exit::Done, State::Finished.name(), "All is merged, and nothing is left to do.")
        };
        let Elsewhere { origin: dm_name, origin_label: label, snapshot, owner, .. } = elsewhere;
        Ok(Over {
            exit,
            subject: Some(Subject { dm_name, label, snapshot, owner: Some(owner), state }),
            sentence: sentence.to_owned(),
            next: String::new(),
        })
    }

    /// A merge was there and is not any more. Where it is not known to be `finished`, the exceptions
    /// tell: whoever swapped the table is not believed.
    fn vanished(&mut self, finished: bool) -> Over {
        let (Some(model), Some(last)) = (self.model.take(), &self.vanished) else {
            return Over {
                exit: Exit::Error,
                subject: None,
                sentence: "The volume is gone.".to_owned(),
                next: String::new(),
            };
        };
        if !finished && !is_emptied(&model.identity) {
            let over = Over::of(&model, Exit::Error);
            self.model = Some(model);
            return over;
        }
        let end = Some(End::Done { at_ns: last.at_ns });
        let model = model.next(&Sample { end, ..last.clone() });
        let over = Over::of(&model, Exit::of(&model));
        self.model = Some(model);
        over
    }

    fn timed_out(&self) -> Over {
        let waited = human::duration(nanoseconds(self.begun.elapsed()));
        match &self.model {
            Some(model) => Over {
                exit: Exit::Timeout,
                subject: None,
                sentence: format!("Not done after {waited}: {}.", standing_words(model)),
                next: advice::first(model),
            },
            None => Over {
                exit: Exit::Timeout,
                subject: Some(Subject {
                    dm_name: self.options.origin.clone(),
                    label: self.options.origin.clone(),
                    snapshot: None,
                    owner: None,
                    state: "unknown",
                }),
                sentence: match (&self.elsewhere, self.announced_by) {
                    (Some(elsewhere), _) => {
                        format!("Not done after {waited}: {}.", elsewhere.clause())
                    }
                    (None, Some(pid)) => format!(
                        "Not begun after {waited}: merge-ctl, process {pid}, waits for a quiet moment."
                    ),
                    (None, None) => {
                        format!("Another merge-ctl was at work on it for all of {waited}.")
                    }
                },
                next: String::new(),
            },
        }
    }

    /// Tells the end, in a line on standard error and as an object.
    fn tell(&self, over: &Over) -> io::Result<()> {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let identity = self.model.as_ref().map(|model| &model.identity);
        let subject = over.subject.as_ref();
        let origin = subject.map(|subject| &*subject.dm_name);
        let label = subject.map(|subject| &*subject.label);
        let of_model = |part: fn(&MergeIdentity) -> &str| identity.map_or("", part);
        let state = self.model.as_ref().map_or("gone", |model| model.state.name());
        let waited = Waited {
            origin: origin.unwrap_or_else(|| of_model(|identity| &identity.origin)),
            origin_label: label.unwrap_or_else(|| of_model(|identity| &identity.origin_label)),
            snapshot: match subject {
                Some(subject) => subject.snapshot.as_deref(),
                None => identity.and_then(|identity| identity.snapshot_label.as_deref()),
            },
            owner: match subject {
                Some(subject) => subject.owner,
                None => identity.map(|identity| identity.owner),
            },
            state: subject.map_or(state, |subject| subject.state),
            exit: over.exit as u8,
            unix_s: unix.as_secs(),
            waited_ns: nanoseconds(self.begun.elapsed()),
            sentence: &over.sentence,
            next: &over.next,
            model: self.model.as_ref(),
        };
        if !self.options.quiet {
            terminal::tell(&waited.line());
        }
        if self.options.json {
            terminal::print(&waited.json())?;
        }
        Ok(())
    }
}

/// Returns once the origin has no merge target any more; looks when any device has changed. Asking
/// for a table, unlike asking for the status, takes no lock of the snapshot's.
async fn table_changed(changes: &mut Changes, control: &Control, origin: &str) {
    loop {
        changes.next().await;
        let table = control.table(DeviceId::Name(origin), Slot::Live);
        let merges =
            table.is_ok_and(|table| matches!(table.only(), Some(Target::SnapshotMerge(_))));
        if !merges {
            return;
        }
    }
}

/// The end of waiting for somebody to finish a merge that is done.
fn nobody_finishes(identity: &MergeIdentity, done_for: Duration) -> Option<Over> {
    let patience = match identity.owner {
        Owner::Lvm => PATIENCE_WITH_LVM,
        Owner::DeviceMapper => PATIENCE,
    };
    if done_for < patience || driver::driver_of(&identity.origin).is_some() {
        return None;
    }
    let ns = nanoseconds(patience);
    Some(Over {
        exit: Exit::StillMerging,
        subject: None,
        sentence: format!("All is merged, and nobody has finished it for {}.", human::duration(ns)),
        next: format!("Finish it: merge-ctl finish {}", argument(&identity.origin_label)),
    })
}

/// Whether nothing is left to merge on the device of the exceptions. Reads its header and its first
/// exception; what cannot be read proves nothing.
fn is_emptied(identity: &MergeIdentity) -> bool {
    let Some(path) = nodes::kernel_path(identity.cow_dev) else { return false };
    let Ok(source) = FileSource::open(&path) else { return false };
    match Store::open(source, Some(identity.size)) {
        Ok(Opened::Usable(store)) => store.exceptions().next().is_none(),
        _ => false,
    }
}

fn state_line(model: &Model) -> String {
    let identity = &model.identity;
    let snapshot = identity.snapshot_label.as_deref().unwrap_or("a snapshot");
    let words = match model.state {
        State::Merging => format!("{snapshot} is being merged, {}", standing_words(model)),
        _ => model.verdict(),
    };
    human::printable(&format!("{}: {words}", identity.origin_label))
}

fn standing_words(model: &Model) -> String {
    let left = human::bytes(model.progress.left_bytes);
    match model.state {
        State::Merging => format!("{left} left"),
        state => format!("{}, {left} left", state.name()),
    }
}
