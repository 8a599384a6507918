//! Edits of releases and of reports with full access, and what finds each.

use rstest_reuse::apply;
use serde_json::json;

use super::tampering::{restore, run, save};
use super::{append, assert_good, verify};
use crate::releases::{People, act, five_days, propose, streak, why};
use crate::support::{TestApp, on_both_engines, text};

/// An edit: its name, its statement and a part of what finds it.
const EDITS: &[(&str, &str, &str)] = &[
    (
        "a release gets another title",
        "UPDATE releases SET title = 'Ten days'",
        "is not as its last entry left it",
    ),
    (
        "a release gets another reason",
        "UPDATE releases SET reason = 'None'",
        "is not as its last entry left it",
    ),
    (
        "a release was made from another revision",
        "UPDATE releases SET event_revision = event_revision + 1",
        "is not as its last entry left it",
    ),
    (
        "a release forgets that its backtest was waived",
        "UPDATE releases SET waiver = NULL, waived_by = NULL",
        "is not as its last entry left it",
    ),
    (
        "an author is taken out",
        "UPDATE releases SET authors = '[]'",
        "is not as its last entry left it",
    ),
    (
        "an entry names another person",
        "UPDATE release_entries SET made_by = NULL WHERE number = 1",
        "release-entry",
    ),
    (
        "an entry is said to be made later",
        "UPDATE release_entries SET made_at = made_at + 1 WHERE number = 1",
        "the row was changed",
    ),
    (
        "the last entry is deleted",
        "DELETE FROM release_entries WHERE number = (SELECT MAX(number) FROM release_entries)",
        "the row was deleted",
    ),
    (
        "a report is edited",
        "UPDATE backtests SET report = REPLACE(report, 'baseline', 'candidate')",
        "the report is not what was signed",
    ),
    (
        "what a backtest was asked is edited",
        "UPDATE backtests SET terms = '{}'",
        "the row was changed",
    ),
    (
        "a report is removed",
        "UPDATE backtests SET report = NULL",
        "the report is gone",
    ),
    (
        "a backtest says that its report has another digest",
        "UPDATE backtests SET report_digest = REPLACE(report_digest, '1', '2')",
        "the report has the digest",
    ),
    (
        "a backtest with its report is deleted",
        "DELETE FROM backtests",
        "the row was deleted",
    ),
];

#[apply(on_both_engines)]
async fn every_edit_of_a_release_or_a_report_is_found(app: TestApp) {
    let event = streak(&app).await;
    let people = People::of(&app).await;
    let release = propose(&app, &people.author, five_days(&event)).await;
    act(&app, &people.admin, &release, "waiver", why()).await.expect(200);
    let body = json!({"eventId": event["id"]});
    let call = app.post("/backtests").bearer(&people.author.token).json(&body);
    let backtest = call.send().await.expect(202);
    while app.app.backtests.advance().await.expect("a step") {}
    let done = app.read(&format!("/backtests/{}", text(&backtest, "id"))).await;
    assert_eq!(done["state"], "DONE", "{done:#}");
    append(&app).await;
    assert_good(&verify(&app, None).await);
    for (kind, least) in [("release-entry", 2), ("report", 1)] {
        let sql = match kind {
            "report" => "SELECT COUNT(*) FROM transparency_leaves WHERE kind = 'report'",
            _ => "SELECT COUNT(*) FROM transparency_leaves WHERE kind = 'release-entry'",
        };
        assert_eq!(app.count(sql).await, least, "{kind}");
    }
    save(&app).await;
    for (name, statement, expected) in EDITS {
        run(&app, &[(*statement).to_owned()]).await;
        let report = verify(&app, None).await;
        assert!(
            report.findings.iter().any(|finding| finding.contains(expected)),
            "{name}: {expected:?} is not in {:#?}",
            report.findings
        );
        restore(&app).await;
    }
    assert_good(&verify(&app, None).await);
}
