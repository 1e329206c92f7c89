//! `merge-ctl throttle`, and a throttle beside a live command.

use std::time::Duration;

use clap::{Args, ValueEnum};
use merge_ctl::throttle::goal::DEFAULT_FLOOR_PERCENT;
use merge_ctl::throttle::{Goal, Percentile, Profile, Target};

use super::values::{cost_ns, duration, percent};
use super::{LineOutput, NAMES, Probes};
use crate::exit::Usage;

/// `merge-ctl throttle`.
#[derive(Debug, Args)]
pub(crate) struct Throttle {
    /// The merging origin
    #[arg(help = format!("The merging origin, {NAMES}"))]
    pub(crate) origin: Option<String>,
    /// The share of the time in which copies may be under way: 30%; 100% is no throttle
    #[arg(value_parser = percent, conflicts_with_all = ["profile", "write_latency"])]
    pub(crate) percent: Option<u32>,
    /// A named target: gentle (99 % of the writes below 10 ms), balanced (30 ms), fast (95 % below
    /// 100 ms)
    #[arg(long, value_enum, conflicts_with = "write_latency")]
    pub(crate) profile: Option<ProfileName>,
    /// A latency to hold.
    #[command(flatten)]
    pub(crate) goal: ThrottleGoal,
    /// Put the setting back to what a dead throttler found, or to 100 %
    #[arg(long, conflicts_with_all = ["origin", "percent", "profile", "write_latency"])]
    pub(crate) reset: bool,
    /// What to print [default: plain]
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<LineOutput>,
    /// The same as --output json
    #[arg(long)]
    pub(crate) json: bool,
    /// What the eBPF programs may watch
    #[arg(long, value_enum, default_value_t = Probes::Full)]
    pub(crate) probes: Probes,
    /// Time between two lines
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1s")]
    pub(crate) interval: Duration,
}

impl Throttle {
    /// What is wanted; none where nothing is.
    ///
    /// # Errors
    /// Where it does not fit together.
    pub(crate) fn wanted(&self) -> Result<Option<(Goal, Option<Profile>)>, Usage> {
        let profile = self.profile.map(Wanted::Profile);
        self.goal.with(self.percent.map(Wanted::Percent).or(profile))
    }
}

/// A latency that a throttle is to hold.
#[derive(Debug, Args)]
pub(crate) struct ThrottleGoal {
    /// Keep application writes on the origin below this, and give the merge all the rest: 5ms
    #[arg(long, value_name = "DURATION", value_parser = cost_ns)]
    pub(crate) write_latency: Option<f64>,
    /// How many of a hundred writes must keep to it, from 50 to 99.9 [default: 99]
    #[arg(long, value_name = "PERCENT", value_parser = percentile, requires = "write_latency")]
    pub(crate) percentile: Option<Percentile>,
    /// The lowest setting that a loop may use, from 1%, so that the merge never starves [default: 5%,
    /// or the profile's]
    #[arg(long, value_name = "PERCENT", value_parser = floor)]
    pub(crate) floor: Option<u32>,
}

impl ThrottleGoal {
    /// What is wanted, with what was said elsewhere; none where nothing is.
    ///
    /// # Errors
    /// Where it does not fit together.
    pub(crate) fn with(
        &self,
        also: Option<Wanted>,
    ) -> Result<Option<(Goal, Option<Profile>)>, Usage> {
        let (target, profile) = match (also, self.write_latency) {
            (None, None) if self.floor.is_none() => return Ok(None),
            (Some(Wanted::Percent(percent)), None) if self.floor.is_none() => {
                return Ok(Some((Goal::Fixed { percent }, None)));
            }
            (Some(Wanted::Profile(name)), None) => {
                let profile = Profile::from(name);
                (profile.target(), Some(profile))
            }
            (None, Some(latency_ns)) => {
                let percentile = self.percentile.unwrap_or(Percentile::P99);
                let (latency_ns, floor_percent) = (latency_ns as u64, DEFAULT_FLOOR_PERCENT);
                (Target { latency_ns, percentile, floor_percent }, None)
            }
            _ => {
                return Err(Usage(
                    "give a percentage, or a profile, or a latency; a floor belongs to the last two"
                        .to_owned(),
                ));
            }
        };
        let floor_percent = self.floor.unwrap_or(target.floor_percent);
        Ok(Some((Goal::WriteLatency(Target { floor_percent, ..target }), profile)))
    }
}

/// The named targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProfileName {
    /// The applications come first: 99 % of the writes below 10 ms, floor 3 %
    Gentle,
    /// Both have their share: 99 % of the writes below 30 ms, floor 10 %
    Balanced,
    /// The merge comes first: 95 % of the writes below 100 ms, floor 30 %
    Fast,
}

impl From<ProfileName> for Profile {
    fn from(name: ProfileName) -> Self {
        match name {
            ProfileName::Gentle => Self::Gentle,
            ProfileName::Balanced => Self::Balanced,
            ProfileName::Fast => Self::Fast,
        }
    }
}

/// A percentage, or a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// This percentage.
    Percent(u32),
    /// This profile.
    Profile(ProfileName),
}

/// A percentage or a profile.
pub(super) fn wanted(text: &str) -> Result<Wanted, String> {
    match ProfileName::from_str(text, false) {
        Ok(profile) => Ok(Wanted::Profile(profile)),
        Err(_) => percent(text)
            .map(Wanted::Percent)
            .map_err(|_| "give a percentage (30%) or gentle, balanced or fast".to_owned()),
    }
}

fn floor(text: &str) -> Result<u32, String> {
    match percent(text)? {
        0 => Err("must be 1% at the least".to_owned()),
        percent => Ok(percent),
    }
}

fn percentile(text: &str) -> Result<Percentile, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse().unwrap_or(f64::NAN);
    Percentile::of_percent(number).ok_or_else(|| "give a number from 50 to 99.9".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    fn goal(words: &[&str]) -> Result<Option<(Goal, Option<Profile>)>, String> {
        let words = ["merge-ctl", "throttle", "vg/data"].iter().chain(words);
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        let Command::Throttle(options) = cli.command else { unreachable!() };
        options.wanted().map_err(|error| error.to_string())
    }

    #[test]
    fn a_live_command_takes_a_percentage_or_a_profile() {
        assert_eq!(wanted("30%"), Ok(Wanted::Percent(30)));
        assert_eq!(wanted("gentle"), Ok(Wanted::Profile(ProfileName::Gentle)));
        assert!(wanted("slowly").is_err() && wanted("300%").is_err());
    }

    #[test]
    fn a_throttle_has_one_goal() {
        assert_eq!(goal(&["30%"]), Ok(Some((Goal::Fixed { percent: 30 }, None))));
        assert_eq!(goal(&["0"]), Ok(Some((Goal::Fixed { percent: 0 }, None))));
        assert_eq!(goal(&[]), Ok(None));
        let target = |latency_ns, tenths: f64, floor_percent| {
            let percentile = Percentile::of_percent(tenths).unwrap();
            Goal::WriteLatency(Target { latency_ns, percentile, floor_percent })
        };
        let latency = ["--write-latency", "5ms"];
        assert_eq!(goal(&latency), Ok(Some((target(5_000_000, 99.0, 5), None))));
        let all = [&latency[..], &["--percentile", "99.9", "--floor", "20%"]].concat();
        assert_eq!(goal(&all), Ok(Some((target(5_000_000, 99.9, 20), None))));
        let fast = goal(&["--profile", "fast", "--floor", "40"]).unwrap().unwrap();
        assert_eq!(fast, (target(100_000_000, 95.0, 40), Some(Profile::Fast)));
        for nonsense in [
            &["101%"][..],
            &["-1%"],
            &["30%", "--profile", "fast"],
            &["30%", "--floor", "5%"],
            &["--floor", "0"],
            &["--write-latency", "5"],
            &["--write-latency", "5ms", "--percentile", "100"],
            &["--write-latency", "5ms", "--profile", "fast"],
            &["--percentile", "99"],
            &["30%", "--reset"],
        ] {
            assert!(goal(nonsense).is_err(), "{nonsense:?}");
        }
    }
}
