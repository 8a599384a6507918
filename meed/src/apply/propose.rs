//! A change that needs a second person: it becomes a release. Must not know: how a plan is made.

use anyhow::Context as _;
use meed_author::client::Client;
use reqwest::Method;
use serde_json::{Value, json};

use meed_host::sandbox::Digest;

use super::kind::Kind;
use super::plan::{Action, Change};

/// The states in which a release of the same content needs no other one.
const OPEN: &[&str] = &["DRAFT", "REVIEW", "APPROVED", "RAMPING", "HELD"];

/// How a change ended.
pub(super) enum Made {
    Done(Value),
    /// By which release.
    Proposed(String),
}

/// Proposes the content of a file, unless a release with it waits already.
pub(super) async fn propose(client: &Client, change: &Change, body: &Value) -> anyhow::Result<Made> {
    let (id, revision) = event(client, change, body).await?;
    let digest = Digest::of(body.to_string().as_bytes()).to_string();
    let short: String = digest.trim_start_matches("sha256:").chars().take(16).collect();
    let title = format!("meed apply {short}");
    let releases = client.list_where(&["releases"], &[("eventId", &id)]).await;
    let releases = releases.context("the event changes only by a release: read its releases")?;
    let same = releases
        .iter()
        .find(|release| release["title"] == title && OPEN.iter().any(|state| release["state"] == *state));
    let text = |release: &Value, member: &str| release[member].as_str().unwrap_or_default().to_owned();
    if let Some(release) = same {
        if release["state"] == "REVIEW" && release["eventRevision"].as_i64() != Some(revision) {
            let proposal = proposal(&id, revision, &title, body);
            let path = ["releases", &text(release, "id")];
            let edited = client
                .write(Method::PUT, &path, release["revision"].as_i64(), Some(&proposal))
                .await?;
            return Ok(Made::Proposed(format!(
                "release {}, made up to date",
                text(&edited, "id")
            )));
        }
        let (id, state) = (text(release, "id"), text(release, "state"));
        return Ok(Made::Proposed(format!("release {id}, which is {state}")));
    }
    let proposal = proposal(&id, revision, &title, body);
    let proposed = client.write(Method::POST, &["releases"], None, Some(&proposal)).await;
    let proposed = proposed.context("the event changes only by a release: propose it")?;
    Ok(Made::Proposed(format!("release {}", text(&proposed, "id"))))
}

fn proposal(event_id: &str, revision: i64, title: &str, body: &Value) -> Value {
    json!({"eventId": event_id, "eventRevision": revision, "title": title, "event": body})
}

/// The event that the release is for: a new one is created inactive.
async fn event(client: &Client, change: &Change, body: &Value) -> anyhow::Result<(String, i64)> {
    if change.action != Action::Create {
        return Ok((change.id.clone(), change.revision.unwrap_or_default()));
    }
    let mut inactive = body.clone();
    inactive["isActive"] = false.into();
    let created = client
        .write(Method::POST, &[Kind::Events.collection()], None, Some(&inactive))
        .await?;
    let id = created["id"]
        .as_str()
        .context("the server created an event without an id")?;
    Ok((id.to_owned(), created["revision"].as_i64().unwrap_or_default()))
}
