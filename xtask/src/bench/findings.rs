//! What a bench has found: the tables of its section, and its lines of the summary.

use std::fmt::Write as _;

use super::machine::Stamp;

/// What came of a bench.
pub(super) struct Findings {
    /// How it was measured, in short phrases: rounds, the kernel of a VM.
    pub(super) how: Vec<String>,
    /// Tables and sentences, in Markdown.
    pub(super) body: String,
    /// What is worth a line in the summary.
    pub(super) claims: Vec<Claim>,
}

/// A figure that somebody would ask for, and what it was to be.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Claim {
    pub(super) what: String,
    pub(super) aim: Option<String>,
    pub(super) figure: String,
    /// Whether the aim is met; none where there is no aim, or it cannot be said.
    pub(super) met: Option<bool>,
}

impl Claim {
    /// A figure without an aim.
    pub(super) fn plain(what: impl Into<String>, figure: impl Into<String>) -> Self {
        Self { what: what.into(), aim: None, figure: figure.into(), met: None }
    }

    /// A figure that was to be `aim`.
    pub(super) fn judged(
        what: impl Into<String>,
        aim: impl Into<String>,
        figure: impl Into<String>,
        met: bool,
    ) -> Self {
        Self { what: what.into(), aim: Some(aim.into()), figure: figure.into(), met: Some(met) }
    }

    /// The aim, and whether it is met.
    pub(super) fn judgement(&self) -> String {
        match (&self.aim, self.met) {
            (Some(aim), Some(true)) => format!("{aim}: met"),
            (Some(aim), Some(false)) => format!("{aim}: **missed**"),
            (Some(aim), None) => aim.clone(),
            (None, _) => String::new(),
        }
    }
}

impl Findings {
    /// The section's result as it is printed and published.
    pub(super) fn result(&self, stamp: &Stamp) -> String {
        let mut text = format!("{}\n\n{}\n", stamp.line(&self.how), self.body.trim());
        let judged: Vec<_> = self.claims.iter().filter(|claim| claim.met.is_some()).collect();
        if !judged.is_empty() {
            text.push('\n');
        }
        for claim in judged {
            // Writing into a String cannot fail.
            let _ =
                writeln!(text, "* {}: {} (aim {})", claim.what, claim.figure, claim.judgement());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_aim_stands_out() {
        let claim = Claim::judged("kept", "≥ 0.95", "0.88", false);
        assert_eq!(claim.judgement(), "≥ 0.95: **missed**");
        assert_eq!(Claim::plain("x", "1").judgement(), "");
        let findings = Findings { how: vec![], body: "table\n".into(), claims: vec![claim] };
        let text = findings.result(&Stamp::for_tests());
        assert!(text.ends_with("table\n\n* kept: 0.88 (aim ≥ 0.95: **missed**)\n"), "{text}");
    }
}
