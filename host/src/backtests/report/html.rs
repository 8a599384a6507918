//! The report as one HTML page: no script, nothing from elsewhere, every text escaped.

use std::fmt::Write as _;

use super::SignedReport;
use super::document::{Count, FlipReport, Report, SideReport};
use super::escape::escape;
use super::svg;
use crate::backtests::engine::{Answer, Exhausted, Outcomes};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1c2733}\
    table{border-collapse:collapse;margin:1rem 0;width:100%}th,td{border-bottom:1px solid #d5dbe3;padding:.25rem .5rem;\
    text-align:left;vertical-align:top;overflow-wrap:anywhere}td.n{text-align:right;font-variant-numeric:tabular-nums}\
    svg{width:100%;height:auto}svg text{font:12px system-ui,sans-serif}code{overflow-wrap:anywhere}\
    .warn{background:#fff3cd;padding:.5rem 1rem}@media(prefers-color-scheme:dark){body{background:#14191f;color:#dfe6ee}\
    .warn{background:#4d3f0f}}";

/// The report as HTML.
pub fn html(signed: &SignedReport) -> String {
    let report = &signed.report;
    let mut page = Page::default();
    page.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">");
    page.raw("<meta name=\"viewport\" content=\"width=device-width\"><title>");
    page.text(&format!("Backtest of {}", report.header.event.title));
    page.raw("</title><style>");
    page.raw(STYLE);
    page.raw("</style></head><body>");
    page.heading("h1", &format!("Backtest of {}", report.header.event.title));
    header(&mut page, signed);
    warnings(&mut page, report);
    outcomes(&mut page, report);
    flips(&mut page, report);
    charts(&mut page, report);
    sides(&mut page, report);
    coverage(&mut page, report);
    page.heading("h2", "What this cannot tell");
    page.list(&report.cannot_tell);
    page.raw("</body></html>\n");
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn raw(&mut self, html: &str) {
        self.0.push_str(html);
    }

    fn text(&mut self, text: &str) {
        self.0.push_str(&escape(text));
    }

    fn heading(&mut self, tag: &str, text: &str) {
        let _ = write!(self.0, "<{tag}>{}</{tag}>", escape(text));
    }

    fn list(&mut self, items: &[String]) {
        self.raw("<ul>");
        for item in items {
            let _ = write!(self.0, "<li>{}</li>", escape(item));
        }
        self.raw("</ul>");
    }

    fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        if rows.is_empty() {
            self.raw("<p>None.</p>");
            return;
        }
        self.raw("<table><thead><tr>");
        for cell in head {
            let _ = write!(self.0, "<th>{}</th>", escape(cell));
        }
        self.raw("</tr></thead><tbody>");
        for row in rows {
            self.raw("<tr>");
            for cell in row {
                let class = if cell.parse::<i64>().is_ok() {
                    " class=\"n\""
                } else {
                    ""
                };
                let _ = write!(self.0, "<td{class}>{}</td>", escape(cell));
            }
            self.raw("</tr>");
        }
        self.raw("</tbody></table>");
    }
}

fn header(page: &mut Page, signed: &SignedReport) {
    let header = &signed.report.header;
    let condition = |side: &super::document::ConditionHeader| {
        format!(
            "{} {} ({}) with {}",
            side.plugin, side.version, side.digest, side.params
        )
    };
    let key = signed
        .signature
        .as_ref()
        .map_or("not signed", |signature| &signature.key_id);
    let rows = [
        ("Baseline", condition(&header.baseline)),
        ("Candidate", condition(&header.candidate)),
        (
            "Event",
            format!("{}, revision {}", header.event.id, header.event.revision),
        ),
        (
            "Period",
            format!("{} to {}, {}", header.from, header.to, header.event.time_zone),
        ),
        ("Population", header.population.to_string()),
        ("As of", header.as_of.clone()),
        ("Known by", header.known_by.clone()),
        ("Draws", header.seeds.clone()),
        ("Engine", format!("{}, time zones {}", header.engine, header.time_zones)),
        ("Digest", signed.digest.clone()),
        ("Signed by", key.to_owned()),
    ];
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    page.table(&["", ""], &rows);
}

fn warnings(page: &mut Page, report: &Report) {
    let mut warnings = Vec::new();
    let skipped: u64 = report.coverage.skipped.values().sum();
    if skipped > 0 {
        warnings.push(format!("{skipped} users were skipped; see the coverage."));
    }
    if !report.rounds.settled {
        let [baseline, candidate] = report.rounds.unsettled_grants;
        warnings.push(format!(
            "The limits did not settle in {} rounds: {baseline} grants of the baseline and {candidate} of the candidate are beyond them.",
            report.rounds.rounds
        ));
    }
    if report.reproduction.different > 0 {
        warnings.push(format!(
            "The baseline decides {} of the real claims otherwise than they were decided.",
            report.reproduction.different
        ));
    }
    for warning in warnings {
        let _ = write!(page.0, "<p class=\"warn\">{}</p>", escape(&warning));
    }
}

fn outcomes(page: &mut Page, report: &Report) {
    page.heading("h2", "Outcome");
    let sides = [&report.baseline, &report.candidate];
    let row = |name: &str, of: &dyn Fn(&SideReport) -> i128| {
        let [baseline, candidate] = sides.map(of);
        vec![
            name.to_owned(),
            baseline.to_string(),
            candidate.to_string(),
            (candidate - baseline).to_string(),
        ]
    };
    let outcome = |outcomes: &Outcomes| i128::from(outcomes.granted);
    let rows = vec![
        row("Claims granted", &|side| outcome(&side.claims)),
        row("Claims refused", &|side| side.claims.refused.into()),
        row("Claims failed", &|side| side.claims.failed.into()),
        row("Claims held", &|side| side.claims.held.into()),
        row("Users without a claim who would be granted", &|side| {
            outcome(&side.silent_users)
        }),
        row("Users without a claim who would not", &|side| {
            side.silent_users.refused.into()
        }),
        row("Grants", &|side| side.grants.into()),
        row("Value", &|side| side.value.into()),
        row("Users with grants", &|side| side.users.into()),
        row("Most grants of a user", &|side| {
            side.concentration.most_grants_of_a_user.into()
        }),
        row("Share of the top 1 % of users, in thousandths of the grants", &|side| {
            side.concentration.top_grants_permille.into()
        }),
        row("Share of the top 1 % of users, in thousandths of the value", &|side| {
            side.concentration.top_value_permille.into()
        }),
        row("Grants to accounts younger than a day", &|side| {
            side.concentration.new_account_grants.into()
        }),
        row("Invited users with grants", &|side| {
            side.concentration.invited_users.into()
        }),
        row("Grants to invited users", &|side| {
            side.concentration.invited_grants.into()
        }),
    ];
    page.table(&["", "Baseline", "Candidate", "Difference"], &rows);
    page.heading("h3", "What runs out");
    let mut rows = Vec::new();
    for (name, side) in [("Baseline", sides[0]), ("Candidate", sides[1])] {
        rows.extend(side.exhausted.iter().map(|exhausted| exhausted_row(name, exhausted)));
    }
    page.table(&["", "What", "When"], &rows);
}

fn exhausted_row(side: &str, exhausted: &Exhausted) -> Vec<String> {
    let what = match (&exhausted.reward_id, &exhausted.budget_period) {
        (Some(id), _) => format!("stock of the reward {id}"),
        (None, Some(period)) => format!("budget of {period}"),
        (None, None) => String::new(),
    };
    vec![side.to_owned(), what, exhausted.at.to_string()]
}

fn flips(page: &mut Page, report: &Report) {
    for (title, flip) in [
        ("Gained: only the candidate grants", &report.flips.gained),
        ("Lost: only the baseline grants", &report.flips.lost),
        ("Changed: other rewards", &report.flips.changed),
        ("Moved: at another time", &report.flips.moved),
    ] {
        page.heading("h2", title);
        show_flip(page, flip);
    }
}

fn show_flip(page: &mut Page, flip: &FlipReport) {
    let _ = write!(
        page.0,
        "<p>{} users, {} grants, value {}.</p>",
        flip.users, flip.grants, flip.value
    );
    if flip.users == 0 {
        return;
    }
    page.table(&["Reasons", "Users"], &counts(&flip.reasons));
    let rows: Vec<Vec<String>> = flip
        .examples
        .iter()
        .map(|example| {
            vec![
                example.user_id.to_string(),
                example.as_of.to_string(),
                said(&example.before),
                said(&example.after),
            ]
        })
        .collect();
    page.table(&["User", "As of", "Before", "After"], &rows);
}

fn said(answer: &Answer) -> String {
    let reasons = answer
        .reasons
        .iter()
        .map(|reason| format!("{}: {}", reason.code, reason.message));
    let reasons: Vec<String> = reasons.collect();
    if reasons.is_empty() {
        answer.status.clone()
    } else {
        format!("{} ({})", answer.status, reasons.join("; "))
    }
}

fn charts(page: &mut Page, report: &Report) {
    let steps = &report.forecast.steps;
    page.heading("h2", "Grants by time");
    let cumulative = |of: &dyn Fn(&super::document::ForecastStep) -> u64| {
        let mut sum = 0;
        let line = steps.iter().map(|step| {
            sum += of(step);
            sum
        });
        line.collect::<Vec<u64>>()
    };
    let lines = [
        cumulative(&|step| step.baseline_grants),
        cumulative(&|step| step.grants),
        cumulative(&|step| step.baseline_silent_grants),
        cumulative(&|step| step.silent_grants),
    ];
    let names = [
        "baseline, claims",
        "candidate, claims",
        "baseline, silent",
        "candidate, silent",
    ];
    let (from, to) = (report.header.from.to_string(), report.header.to.to_string());
    page.raw(&svg::lines(&names, &lines, [&from, &to]));
    page.heading("h2", "Users by the day of their first grant");
    let mut days: Vec<&str> = Vec::new();
    for side in [&report.baseline, &report.candidate] {
        days.extend(side.first_eligible.iter().map(|day| day.day.as_str()));
    }
    days.sort_unstable();
    days.dedup();
    let line = |side: &SideReport| {
        let mut users = 0;
        let line = days.iter().map(|day| {
            users = side
                .first_eligible
                .iter()
                .find(|count| count.day == **day)
                .map_or(users, |count| count.cumulative);
            users
        });
        line.collect::<Vec<u64>>()
    };
    let lines = [line(&report.baseline), line(&report.candidate)];
    let ends = [days.first().copied().unwrap_or(""), days.last().copied().unwrap_or("")];
    page.raw(&svg::lines(&["baseline", "candidate"], &lines, ends));
}

fn sides(page: &mut Page, report: &Report) {
    for (title, side) in [("Baseline", &report.baseline), ("Candidate", &report.candidate)] {
        page.heading("h2", title);
        page.heading("h3", "Answers");
        page.table(&["Reason", "Count"], &counts(&side.reasons));
        page.heading("h3", "Failures");
        let failures: Vec<Vec<String>> = side
            .failures
            .iter()
            .map(|(code, count)| vec![code.clone(), count.to_string()])
            .collect();
        page.table(&["Code", "Runs"], &failures);
        let (fuel, questions) = (&side.fuel, &side.questions);
        let _ = write!(
            page.0,
            "<p>{} questions, {} of them equal to the one before, {} runs. Fuel: p50 {}, p99 {}, max {} of {} ({} ‰).</p>",
            questions.asked,
            questions.equal,
            questions.evaluated,
            fuel.p50,
            fuel.p99,
            fuel.max,
            fuel.limit,
            fuel.max_permille
        );
    }
}

fn coverage(page: &mut Page, report: &Report) {
    page.heading("h2", "Coverage");
    let coverage = &report.coverage;
    let mut rows: Vec<Vec<String>> = [
        ("Users seen", coverage.seen),
        ("with claims", coverage.claimants),
        ("without claims", coverage.silent),
        ("questions ended early, after failures", coverage.stopped),
        ("Claims", coverage.claims),
        ("Activities", coverage.activities),
        (
            "Claims that the baseline decides as they were decided",
            report.reproduction.same,
        ),
        ("otherwise", report.reproduction.different),
        ("not comparable", report.reproduction.not_comparable),
    ]
    .into_iter()
    .map(|(name, count)| vec![name.to_owned(), count.to_string()])
    .collect();
    for (reason, users) in &coverage.skipped {
        rows.push(vec![format!("skipped: {reason}"), users.to_string()]);
    }
    page.table(&["", ""], &rows);
}

fn counts(counts: &[Count]) -> Vec<Vec<String>> {
    let row = |count: &Count| vec![count.reason.clone(), count.count.to_string()];
    counts.iter().map(row).collect()
}
