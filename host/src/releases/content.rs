//! What an approval is for: the hash of everything that decides what users get, and how, and of the title that says why.
//! Computed here only, and always from the stored content. Must not know: states and people.

use aws_lc_rs::digest;
use serde_json::json;

use super::store::ReleaseRow;
use crate::canonical;

/// The SHA-256 of the canonical content.
pub(super) fn hash(row: &ReleaseRow) -> Result<String, serde_json::Error> {
    let content = json!({
        "format": "meed-release/1",
        "title": row.title,
        "eventId": row.event_id,
        "eventRevision": row.event_revision,
        "event": row.content.0,
        "pluginDigest": row.plugin_digest,
        "plan": row.plan.0,
        "backtestId": row.backtest_id,
        "reportDigest": row.report_digest,
        "waiver": row.waiver,
    });
    let text = canonical::to_string(&content)?;
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    Ok(format!("sha256:{}", hex::encode(hash)))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::clock::Timestamp;
    use crate::db::Json;
    use crate::releases::plan::{Plan, Step};
    use crate::releases::state::State;
    use crate::sandbox::Digest;

    fn release() -> ReleaseRow {
        let content = json!({
            "title": "t", "startDate": "2026-03-01T00:00:00Z", "endDate": "2026-04-01T00:00:00Z",
            "rewardIds": [Uuid::from_u128(1)], "condition": {"plugin": "p", "version": "1.0.0", "params": {"days": 7}},
        });
        let at = Timestamp::from_millis(0).unwrap();
        ReleaseRow {
            id: Uuid::from_u128(1),
            event_id: Uuid::from_u128(2),
            revision: 1,
            state: State::Review,
            title: "t".to_owned(),
            content: Json(serde_json::from_value(content).unwrap()),
            event_revision: 3,
            plugin_digest: Digest::of(b"module"),
            plan: Json(Plan::default()),
            backtest_id: None,
            report_digest: None,
            waiver: None,
            waived_by: None,
            authors: Json(vec![]),
            created_by: Uuid::nil(),
            created_at: at,
            updated_at: at,
            approved_hash: None,
            approved_by: None,
            approved_at: None,
            step: 0,
            step_at: None,
            trial_revision: None,
            previous_revision: None,
            reason: None,
            entries: 0,
            due_at: None,
        }
    }

    #[test]
    fn every_part_of_what_is_approved_is_in_the_hash() {
        type Change = (&'static str, fn(&mut ReleaseRow));
        let changes: [Change; 11] = [
            ("title", |row| row.title = "u".to_owned()),
            ("event", |row| row.event_id = Uuid::from_u128(9)),
            ("revision of the event", |row| row.event_revision = 4),
            ("bytes of the plugin", |row| row.plugin_digest = Digest::of(b"other")),
            ("params", |row| row.content.0.condition.params = json!({"days": 6})),
            ("terms", |row| row.content.0.max_quantity = 2),
            ("plan", |row| {
                row.plan.0.steps.push(Step {
                    permille: 0,
                    seconds: 60,
                });
            }),
            ("guard", |row| row.plan.0.guard = None),
            ("activation", |row| row.plan.0.activate_when_approved = true),
            ("report", |row| row.report_digest = Some("sha256:00".to_owned())),
            ("waiver", |row| row.waiver = Some("no history".to_owned())),
        ];
        let mut hashes = vec![hash(&release()).unwrap()];
        for (what, change) in changes {
            let mut row = release();
            change(&mut row);
            let changed = hash(&row).unwrap();
            assert!(!hashes.contains(&changed), "{what}");
            hashes.push(changed);
        }
    }

    #[test]
    fn what_happens_to_a_release_is_not_in_its_hash() {
        let before = hash(&release()).unwrap();
        let mut row = release();
        (row.revision, row.state, row.step, row.entries) = (7, State::Ramping, 2, 9);
        (row.trial_revision, row.reason) = (Some(5), Some("looked fine".to_owned()));
        assert_eq!(hash(&row).unwrap(), before);
    }
}
