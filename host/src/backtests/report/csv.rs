//! The numbers of a report as CSV (RFC 4180): section, name, baseline, candidate.

use std::collections::BTreeMap;

use super::SignedReport;
use super::document::{Count, FlipReport, SideReport};

/// The report as CSV.
pub fn csv(signed: &SignedReport) -> String {
    let report = &signed.report;
    let mut rows = Rows::default();
    rows.row(["section", "name", "baseline", "candidate"]);
    let (baseline, candidate) = (&report.header.baseline, &report.header.candidate);
    rows.row(["header", "digest", "", &signed.digest]);
    rows.row(["header", "plugin", &baseline.plugin, &candidate.plugin]);
    rows.row(["header", "version", &baseline.version, &candidate.version]);
    rows.row([
        "header",
        "plugin digest",
        &baseline.digest.to_string(),
        &candidate.digest.to_string(),
    ]);
    rows.row([
        "header",
        "params",
        &baseline.params.to_string(),
        &candidate.params.to_string(),
    ]);
    let period = [report.header.from.to_string(), report.header.to.to_string()];
    rows.row(["header", "period from", &period[0], &period[0]]);
    rows.row(["header", "period to", &period[1], &period[1]]);
    let coverage = &report.coverage;
    for (name, number) in [
        ("users seen", coverage.seen),
        ("users with claims", coverage.claimants),
        ("users without claims", coverage.silent),
        ("questions ended early", coverage.stopped),
        ("claims", coverage.claims),
        ("activities", coverage.activities),
    ] {
        rows.both("coverage", name, number);
    }
    for (reason, users) in &coverage.skipped {
        rows.both("skipped", reason, *users);
    }
    let sides = [&report.baseline, &report.candidate];
    rows.outcomes(sides);
    for (section, name, of) in NUMBERS {
        rows.pair(section, name, sides.map(|side| of(side).to_string()));
    }
    for (section, sides) in [
        ("reasons", sides.map(|side| by_reason(&side.reasons))),
        ("failures", sides.map(|side| side.failures.clone())),
        (
            "first eligible",
            sides.map(|side| {
                side.first_eligible
                    .iter()
                    .map(|day| (day.day.clone(), day.users))
                    .collect()
            }),
        ),
    ] {
        rows.maps(section, &sides);
    }
    for (kind, flip) in [
        ("gained", &report.flips.gained),
        ("lost", &report.flips.lost),
        ("changed", &report.flips.changed),
        ("moved", &report.flips.moved),
    ] {
        rows.flip(kind, flip);
    }
    for step in &report.forecast.steps {
        let from = step.from.to_string();
        rows.pair(
            "grants of claims",
            &from,
            [step.baseline_grants, step.grants].map(|n| n.to_string()),
        );
        let silent = [step.baseline_silent_grants, step.silent_grants];
        rows.pair("grants of silent users", &from, silent.map(|n| n.to_string()));
    }
    for text in &report.cannot_tell {
        rows.row(["cannot tell", text, "", ""]);
    }
    rows.0
}

type Number = fn(&SideReport) -> i64;

const NUMBERS: &[(&str, &str, Number)] = &[
    ("grants", "grants", |side| number(side.grants)),
    ("grants", "value", |side| side.value),
    ("grants", "users", |side| number(side.users)),
    ("concentration", "top users", |side| {
        number(side.concentration.top_users)
    }),
    ("concentration", "share of grants in thousandths", |side| {
        number(side.concentration.top_grants_permille)
    }),
    ("concentration", "share of value in thousandths", |side| {
        number(side.concentration.top_value_permille)
    }),
    ("concentration", "most grants of a user", |side| {
        number(side.concentration.most_grants_of_a_user)
    }),
    ("concentration", "grants to new accounts", |side| {
        number(side.concentration.new_account_grants)
    }),
    ("concentration", "grants to invited users", |side| {
        number(side.concentration.invited_grants)
    }),
    ("fuel", "p50", |side| number(side.fuel.p50)),
    ("fuel", "p99", |side| number(side.fuel.p99)),
    ("fuel", "max", |side| number(side.fuel.max)),
    ("fuel", "limit", |side| number(side.fuel.limit)),
    ("questions", "asked", |side| number(side.questions.asked)),
    ("questions", "evaluated", |side| number(side.questions.evaluated)),
];

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn by_reason(counts: &[Count]) -> BTreeMap<String, u64> {
    counts.iter().map(|count| (count.reason.clone(), count.count)).collect()
}

#[derive(Default)]
struct Rows(String);

impl Rows {
    fn row(&mut self, cells: [&str; 4]) {
        let cells = cells.map(cell);
        self.0.push_str(&cells.join(","));
        self.0.push_str("\r\n");
    }

    fn both(&mut self, section: &str, name: &str, number: u64) {
        let number = number.to_string();
        self.row([section, name, &number, &number]);
    }

    fn pair(&mut self, section: &str, name: &str, [baseline, candidate]: [String; 2]) {
        self.row([section, name, &baseline, &candidate]);
    }

    fn maps(&mut self, section: &str, [baseline, candidate]: &[BTreeMap<String, u64>; 2]) {
        let added = candidate.keys().filter(|key| !baseline.contains_key(*key));
        for key in baseline.keys().chain(added) {
            let of = |map: &BTreeMap<String, u64>| map.get(key).copied().unwrap_or(0).to_string();
            self.pair(section, key, [of(baseline), of(candidate)]);
        }
    }

    fn outcomes(&mut self, sides: [&SideReport; 2]) {
        for (section, of) in [
            ("claims", sides.map(|side| side.claims)),
            ("silent users", sides.map(|side| side.silent_users)),
        ] {
            self.pair(section, "granted", of.map(|side| side.granted.to_string()));
            self.pair(section, "refused", of.map(|side| side.refused.to_string()));
            self.pair(section, "failed", of.map(|side| side.failed.to_string()));
            self.pair(section, "held", of.map(|side| side.held.to_string()));
            self.pair(section, "value", of.map(|side| side.value.to_string()));
        }
    }

    fn flip(&mut self, kind: &str, flip: &FlipReport) {
        let section = format!("flips {kind}");
        self.row([&section, "users", "", &flip.users.to_string()]);
        self.row([&section, "grants", "", &flip.grants.to_string()]);
        self.row([&section, "value", "", &flip.value.to_string()]);
        for count in &flip.reasons {
            self.row([&section, &count.reason, "", &count.count.to_string()]);
        }
        for example in &flip.examples {
            let name = format!("{} {}", example.user_id, example.as_of);
            self.row([&section, &name, &example.before.key(), &example.after.key()]);
        }
    }
}

/// One cell. Spreadsheets run texts that begin like a formula, so these get an apostrophe.
fn cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text.parse::<i64>().is_err();
    let text = if is_formula {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_no_formula() {
        assert_eq!(cell("plain"), "plain");
        assert_eq!(cell("a,b \"c\"\n"), "\"a,b \"\"c\"\"\n\"");
        assert_eq!(cell("=HYPERLINK(1)"), "'=HYPERLINK(1)");
        assert_eq!(cell("@x"), "'@x");
        assert_eq!(cell("-5"), "-5");
    }
}
