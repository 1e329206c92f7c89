//! `cargo xtask crash`: no crash loses a block, on a real kernel.
//!
//! A VM has disks that outlive it and lose what was not flushed (`vm/disks.rs`). At each boot the
//! guest (`merge-ctl/examples/crash`) puts right and judges what the last cut left, sets up the
//! next merge and begins it; we cut the power at a moment of our choice ([`round`]), told by what
//! the guest says ([`guest`]). What the guest said of durable writes is kept here, out of the
//! cut's reach. Then merge-ctl is killed in a VM that stays up (`merge-ctl/tests/vm/crash`).

mod guest;
mod offline;
mod round;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::kernels::{self, ByHand, Choice, Kernel};
use crate::run::say;
use crate::vm::disks::{Disk, Disks, Random};
use crate::vm::{Lasting, POWER_CUT, Vm};
use crate::workspace::Workspace;
use crate::{build, setup, test};
use guest::{Guest, Heard};
pub(crate) use round::Kind;
use round::Round;

/// Of one boot; the guest gives up by itself before.
const TIMEOUT: Duration = Duration::from_secs(5 * 60);
const MIB: usize = 1 << 20;

/// The guest finds them by these names.
const DISKS: [Disk; 5] = [
    Disk { serial: "state", bytes: 8 * MIB },
    Disk { serial: "real", bytes: 16 * MIB },
    Disk { serial: "cow", bytes: 24 * MIB },
    Disk { serial: "pv0", bytes: 20 * MIB },
    Disk { serial: "pv1", bytes: 20 * MIB },
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// 5.10, 6.1, 6.12, sid or experimental
    #[arg(long, value_name = "NAME", default_value = kernels::DEFAULT_VM, conflicts_with = "kernel_image")]
    kernel: String,
    #[command(flatten)]
    by_hand: ByHand,
    /// Crash merges by merge-ctl's own engine, in each of its five stages; the kernel alone goes on
    #[arg(long, conflicts_with = "only")]
    offline: bool,
    /// Cut the power so often; offline: in each stage
    #[arg(long, value_name = "N", default_value_t = 25)]
    cuts: u32,
    /// Kill merge-ctl so often; offline: in each stage
    #[arg(long, value_name = "N", default_value_t = 50)]
    kills: u32,
    /// Fixes content and moments; the same seed gives much the same crashes again
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Only the power cut with this number of those that the other options mean: to see one again
    #[arg(long, value_name = "N")]
    round: Option<u32>,
    /// Only one kind of stack
    #[arg(long, value_enum)]
    only: Option<Kind>,
    /// Let the disks forget what they were told to flush: the losses must be found, and this fail
    #[arg(long)]
    lying_disks: bool,
}

impl Args {
    const fn cuts(&self) -> Cuts {
        let (count, only) = match self.offline {
            true => (self.cuts.saturating_mul(5), Some(Kind::Offline)),
            false => (self.cuts, self.only),
        };
        Cuts { count, round: self.round, seed: self.seed, only, lie: self.lying_disks }
    }
}

/// Runs the task; 1 where a crash lost something.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<u8> {
    let choice = match args.by_hand.choice() {
        Some(choice) => choice,
        None => Choice::Named(kernels::parse(&args.kernel)?),
    };
    setup::tools(workspace)?;
    let kernel = kernels::ensure(workspace, &choice, false)?;
    let mut all_right = true;
    if args.cuts > 0 {
        let told = power_cuts(workspace, &kernel, &args.cuts());
        all_right &= told.map(|told| println!("{told}")).map_err(|e| println!("{e:#}")).is_ok();
    }
    if args.kills > 0 {
        let filter = if args.offline { "offline_killed" } else { "crash_" };
        all_right &= test::kills(workspace, &kernel, filter, (args.kills, args.seed))?;
    }
    Ok(u8::from(!all_right))
}

/// Which power cuts.
pub(crate) struct Cuts {
    /// How many.
    pub(crate) count: u32,
    /// Only the one with this number of them.
    pub(crate) round: Option<u32>,
    /// Fixes them.
    pub(crate) seed: u64,
    /// Of stacks of one kind only.
    pub(crate) only: Option<Kind>,
    /// On disks that lie.
    pub(crate) lie: bool,
}

/// Cuts the power so often on one kernel; tells where the cuts fell.
///
/// # Errors
/// Where something was lost, or nothing could be tried.
pub(crate) fn power_cuts(workspace: &Workspace, kernel: &Kernel, cuts: &Cuts) -> Result<String> {
    let copies = vec![build::merge_ctl(workspace)?, build::vm_example(workspace, "crash")?];
    say(format_args!("power cuts on kernel {} ({})", kernel.name, kernel.version));
    let mut vm = Vm::new(kernel.clone());
    vm.copies = copies;
    vm.timeout = Some(TIMEOUT);
    vm.memory_mib = 1024;
    let began = Instant::now();
    let mut series = Series {
        workspace,
        vm,
        lie: cuts.lie,
        random: Random::new(cuts.seed),
        tally: Tally::default(),
    };
    let rounds = round::rounds(cuts.count, cuts.only, &mut Random::new(cuts.seed));
    let wanted = |round: &Round| cuts.round.is_none_or(|number| round.number == number);
    let mut rounds = rounds.into_iter().filter(wanted).peekable();
    // A cut that lost something leaves disks that are no good for the rounds after it.
    while rounds.peek().is_some() {
        series.on_new_disks(&mut rounds)?;
    }
    let tally = &series.tally;
    let seconds = began.elapsed().as_secs();
    if tally.wrong.is_empty() {
        return Ok(format!("{tally}, {seconds} s"));
    }
    bail!("{tally}, {seconds} s; {} WRONG:\n{}", tally.wrong.len(), tally.wrong.join("\n"))
}

struct Series<'a> {
    workspace: &'a Workspace,
    lie: bool,
    vm: Vm,
    random: Random,
    tally: Tally,
}

/// Where the cuts fell, and what went wrong.
#[derive(Default)]
struct Tally {
    fell: BTreeMap<String, u32>,
    cuts: u32,
    in_recovery: u32,
    cached: usize,
    gone: usize,
    torn: usize,
    durable: u64,
    wrong: Vec<String>,
}

impl Series<'_> {
    /// Goes on until all rounds are judged, or one was found wrong.
    fn on_new_disks(&mut self, rounds: &mut impl Iterator<Item = Round>) -> Result<()> {
        let disks = Arc::new(Disks::new(&DISKS, self.lie)?);
        let (mut fresh, mut recover) = (true, None);
        loop {
            let next = match &recover {
                // The cut within the recovery is still to come.
                Some(Round { again: Some(_), .. }) => None,
                _ => rounds.next(),
            };
            if recover.is_none() && next.is_none() {
                return Ok(());
            }
            let plan = json!({
                "fresh": fresh,
                "recover": recover.as_ref().map(Round::plan),
                "next": next.as_ref().map(Round::plan),
            });
            let (status, heard) =
                self.boot(&disks, &plan.to_string(), recover.as_ref(), next.as_ref())?;
            if [SIGHUP, SIGINT, SIGTERM].contains(&(i32::from(status) - 128)) {
                bail!("stopped");
            }
            if let (Some(round), Some(verdict)) = (&recover, &heard.verdict) {
                self.judge(round, verdict);
                if !verdict.ok {
                    return Ok(());
                }
            }
            fresh = false;
            recover = match self.left(status, &heard, recover, next) {
                Ok(left) => left,
                Err(wrong) => {
                    self.tally.wrong.push(wrong);
                    return Ok(());
                }
            };
        }
    }

    /// The round that the next boot has to recover; or what is wrong with how this one ended.
    fn left(
        &mut self,
        status: u8,
        heard: &Heard,
        recover: Option<Round>,
        next: Option<Round>,
    ) -> Result<Option<Round>, String> {
        match (status, recover, next) {
            (POWER_CUT, Some(mut round), None) => {
                // Without a second one: the same recovery, to its end.
                round.again = None;
                Ok(heard.verdict.is_none().then_some(round))
            }
            (POWER_CUT, _, Some(mut round)) => {
                self.cut(&mut round, heard);
                Ok(Some(round))
            }
            (0, Some(_), None) if heard.verdict.is_some() => Ok(None),
            (status, recover, next) => {
                let during = recover.or(next).map(|round| round.to_string()).unwrap_or_default();
                Err(format!("{during}: no verdict, exit status {status}"))
            }
        }
    }

    fn boot(
        &mut self,
        disks: &Arc<Disks>,
        plan: &str,
        recover: Option<&Round>,
        next: Option<&Round>,
    ) -> Result<(u8, Heard)> {
        let first = self.random.below(DISKS.len() as u64) as usize;
        self.vm.lasting = Some(Lasting { disks: Arc::clone(disks), first });
        let mut guest = Guest::new(disks, recover, next);
        let command = ["crash", plan].map(OsString::from);
        let status =
            self.vm.run_into(self.workspace, &command, &mut guest, &mut std::io::stderr())?;
        if disks.are_off() {
            let lost = disks.lose(&mut self.random);
            self.tally.cached += lost.cached;
            self.tally.gone += lost.gone;
            self.tally.torn += lost.torn;
            self.tally.in_recovery += u32::from(next.is_none());
        }
        Ok((status, guest.heard()))
    }

    /// Notes what is known of the merge whose power was cut.
    fn cut(&mut self, round: &mut Round, heard: &Heard) {
        round.fell = heard.moment();
        round.durable = heard.durable;
        round.begun = heard.begun();
        if let Some(trouble) = &heard.trouble {
            self.tally.wrong.push(format!("{round}: {trouble}"));
        }
        self.tally.cuts += 1;
        self.tally.durable += heard.durable;
        *self.tally.fell.entry(format!("{} {}", round.kind, round.fell)).or_default() += 1;
    }

    fn judge(&mut self, round: &Round, verdict: &guest::Verdict) {
        let line = format!("{round}: {} ({:.1} s)", verdict.words, verdict.seconds);
        println!("{} {line}", if verdict.ok { "right" } else { "WRONG" });
        if !verdict.ok {
            self.tally.wrong.push(line);
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cuts, in_recovery, cached, gone, torn, durable, .. } = self;
        write!(f, "{cuts} cuts (")?;
        for (number, (moment, count)) in self.fell.iter().enumerate() {
            write!(f, "{}{count} {moment}", if number == 0 { "" } else { ", " })?;
        }
        write!(
            f,
            "), {in_recovery} more in recovery; of {cached} unflushed writes {gone} lost, {torn} \
             torn; {durable} durable writes during merges"
        )
    }
}
