//! `merge-ctl replay FILE`: a recording in the dashboard, as lines, or as JSON.
//!
//! Reads one file and nothing else: no device, no privilege. The models are made anew of the samples, so
//! all that is shown is what was shown then.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use merge_ctl::harmless;
use merge_ctl::human::{self, printable};
use merge_ctl::model::Model;
use merge_ctl::recording::{
    Checkpoints, Fault, FaultKind, OpenError, Pace, Player, Step, Survey, scan,
};
use merge_ctl::view::keys::ReplayAction;
use merge_ctl::view::replay::Replay;

use super::dashboard::{Dashboard, ReplayKey};
use super::face::Lines;
use super::live::{self, LeaveSignals};
use super::recording::missing;
use super::terminal;
use crate::cli::{self, Output};
use crate::exit::{Exit, Usage};

/// How often the screen changes.
const DRAW_EVERY: Duration = Duration::from_millis(50);
/// How long models may be made before the keyboard is looked at again.
const SLICE: Duration = Duration::from_millis(100);
/// How many damaged parts are named one by one.
const NAMED: usize = 10;

/// Shows the recording.
pub(crate) async fn run(options: &cli::Replay) -> anyhow::Result<ExitCode> {
    let path = harmless::path(&options.file);
    let cannot_replay = || format!("cannot replay {path}");
    let metadata = std::fs::metadata(&options.file).with_context(cannot_replay)?;
    if !metadata.is_file() {
        return Err(Usage(format!("{path} is no file")).into());
    }
    let file = File::open(&options.file).with_context(cannot_replay)?;
    let player = Player::open(file.try_clone()?).with_context(cannot_replay)?;
    let terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
    let survey = match options.output {
        Some(Output::Tui) if !terminal => {
            return Err(
                Usage("the dashboard needs a terminal: try --output plain".to_owned()).into()
            );
        }
        Some(Output::Plain) => lines(player, false, options.interval)?,
        Some(Output::Json) => lines(player, true, options.interval)?,
        None if !terminal => lines(player, false, options.interval)?,
        Some(Output::Tui) | None => {
            let (survey, is_whole) = dashboard(file, options).await?;
            return Ok(sum_up(&survey, is_whole).into());
        }
    };
    Ok(sum_up(&survey, true).into())
}

/// Prints what was printed, or would have been.
fn lines(
    mut player: Player<File>,
    json: bool,
    interval: Option<Duration>,
) -> anyhow::Result<Survey> {
    let mut found = Survey::default();
    // Where it was recorded is told before anything else.
    player.next_ns()?;
    let recorded = player.facts().map_or(1_000_000_000, |facts| facts.interval_ns);
    let interval = interval.unwrap_or(Duration::from_nanos(recorded));
    let mut lines = Lines::new(json, interval);
    while let Some(step) = player.step()? {
        match &step {
            Step::Began { tab, runs } => {
                let merge = &player.merges()[*tab];
                if merge.shown {
                    lines.begin(*tab, &merge.model, runs)?;
                }
            }
            Step::Advanced { tab, shown: true, runs } => {
                lines.show(*tab, &player.merges()[*tab].model, runs)?;
            }
            Step::Told(words) => terminal::tell(&harmless::printable_lines(words)),
            Step::Lost(lost) => terminal::tell(missing(lost).trim_start()),
            Step::Advanced { .. } | Step::Fault(_) | Step::Ended(_) => {}
        }
        found.take(step, player.at_ns());
    }
    for (tab, merge) in player.merges().iter().enumerate() {
        lines.sum_up(tab, &merge.model)?;
    }
    Ok(found)
}

/// Shows it in the dashboard until the user leaves. What was found in it, and whether all was looked at.
async fn dashboard(file: File, options: &cli::Replay) -> anyhow::Result<(Survey, bool)> {
    let found = scan(file.try_clone()?)?;
    let mut player = Player::open(file.try_clone()?)?;
    let Some(first_ns) = player.first()? else { return Ok((found, true)) };
    let mut signals = LeaveSignals::listen()?;
    let last_ns = found.last_ns.max(first_ns);
    let mut show = Show {
        pace: Pace::new(first_ns, last_ns, options.speed),
        player,
        dashboard: Dashboard::open()?,
        damaged: found.faults.1,
        // A long recording takes seconds to walk through: nobody waits for that.
        surveying: Some(thread::spawn(move || surveyed(file))),
        survey: None,
    };
    show.run(&mut signals).await?;
    let is_whole = show.survey.is_some();
    Ok((show.survey.unwrap_or(found), is_whole))
}

/// All that is in a recording, and from where it can be shown.
fn surveyed(file: File) -> Surveyed {
    let mut player = Player::open(file)?;
    let survey = player.survey()?;
    Ok((survey, player.into_checkpoints()))
}

/// A recording on the screen.
struct Show {
    player: Player<File>,
    pace: Pace,
    dashboard: Dashboard,
    damaged: u64,
    surveying: Option<JoinHandle<Surveyed>>,
    survey: Option<Survey>,
}

/// What a walk through all of a recording gives.
type Surveyed = Result<(Survey, Checkpoints), OpenError>;

impl Show {
    /// Until the user leaves.
    async fn run(&mut self, signals: &mut LeaveSignals) -> io::Result<()> {
        let mut ticker = live::every(DRAW_EVERY);
        let mut before = Instant::now();
        loop {
            self.draw()?;
            let key = tokio::select! {
                _ = ticker.tick() => None,
                () = signals.any() => return Ok(()),
                key = self.dashboard.replay_key() => match key? {
                    Some(key) => Some(key),
                    None => return Ok(()),
                },
            };
            self.take_survey();
            self.pace.pass(before.elapsed());
            before = Instant::now();
            match key {
                Some(ReplayKey::Replay(action)) => {
                    self.act(action)?;
                    // What seeking took is no time of the recording.
                    before = Instant::now();
                }
                Some(ReplayKey::Screen) => {}
                None => self.go_on()?,
            }
        }
    }

    fn draw(&mut self) -> io::Result<()> {
        let models: Vec<&Model> = self.player.merges().iter().map(|merge| &merge.model).collect();
        self.dashboard.draw_replay(&models, Replay { pace: self.pace, damaged: self.damaged })
    }

    /// Makes the models up to the time that has come, or as many as there is time for.
    fn go_on(&mut self) -> io::Result<()> {
        let until = Instant::now() + SLICE;
        while self.player.next_ns()?.is_some_and(|next_ns| next_ns <= self.pace.at_ns) {
            if let Some(Step::Told(words)) = self.player.step()? {
                self.dashboard.set_notice(&words);
            }
            if Instant::now() >= until {
                self.pace.go_to(self.player.at_ns());
                break;
            }
        }
        Ok(())
    }

    /// Takes in what the walk through all of it has found, once it is done. One that failed has found
    /// nothing, and the replay meets what it met.
    fn take_survey(&mut self) {
        let Some(surveying) = self.surveying.take_if(|thread| thread.is_finished()) else { return };
        if let Ok(Ok((survey, checkpoints))) = surveying.join() {
            self.player.adopt(checkpoints);
            self.damaged = survey.faults.1;
            self.survey = Some(survey);
        }
    }

    fn act(&mut self, action: ReplayAction) -> io::Result<()> {
        let pace = &mut self.pace;
        match action {
            ReplayAction::Pause => pace.pause(),
            ReplayAction::Faster => pace.speed = pace.speed.faster(),
            ReplayAction::Slower => pace.speed = pace.speed.slower(),
            ReplayAction::GoBy(seconds) => pace.go_by(seconds),
            ReplayAction::Begin => pace.go_to(pace.first_ns),
            ReplayAction::End => pace.go_to(pace.last_ns),
        }
        if matches!(action, ReplayAction::GoBy(_) | ReplayAction::Begin | ReplayAction::End) {
            self.player.seek(pace.at_ns)?;
        }
        Ok(())
    }
}

/// Names what could not be shown, and gives the exit status. `is_whole`: whether all was looked at.
pub(crate) fn sum_up(survey: &Survey, is_whole: bool) -> Exit {
    let (faults, count) = &survey.faults;
    for fault in faults.iter().take(NAMED) {
        terminal::tell(&format!("not shown: {}", printable(&fault.to_string())));
    }
    let more = count.saturating_sub(NAMED as u64);
    if more > 0 {
        terminal::tell(&format!("not shown: {} more", human::counted(more, "part")));
    }
    if is_whole && survey.samples == 0 {
        terminal::tell("there is no merge in this recording");
    }
    if is_whole && survey.outcome.is_none() {
        terminal::tell(
            "the recording has no end: whoever recorded was stopped by force, or still records",
        );
    }
    if faults.iter().any(is_damage) { Exit::Error } else { Exit::Done }
}

/// Whether something is missing that was there.
fn is_damage(fault: &Fault) -> bool {
    fault.kind != FaultKind::CutOff
}
