//! The operations that are measured.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use crate::lists::List;
use crate::receiver::Receiver;
use crate::site::Site;

/// A round of each so many in which the outbox is swept: it looks at every old message.
const SWEPT_EVERY: usize = 7;
/// Messages that a step of that sweep looks at.
const STEP: u64 = 500;

#[derive(Clone, Debug)]
pub(crate) enum Operation {
    List(List),
    /// A claim that is granted, until its answer.
    Grant,
    Rejection,
    /// The same rejection again.
    Repeat,
    /// A claim that is answered with 202, until its decision.
    Pending,
    /// From the answer of a granted claim until a webhook receiver has it.
    Delivery,
    Progress,
    Receipt,
    Reversal,
    Acknowledgement,
    Activity,
    Attributes,
    RoleChange,
    Refresh,
    /// A step of the sweep of the outbox.
    OutboxStep,
    /// The other sweeps, with nothing to delete.
    Sweeps,
}

impl Operation {
    /// All but the lists.
    pub(crate) fn all() -> Vec<Self> {
        vec![
            Self::Grant,
            Self::Rejection,
            Self::Repeat,
            Self::Pending,
            Self::Delivery,
            Self::Progress,
            Self::Receipt,
            Self::Reversal,
            Self::Acknowledgement,
            Self::Activity,
            Self::Attributes,
            Self::RoleChange,
            Self::Refresh,
            Self::OutboxStep,
            Self::Sweeps,
        ]
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::List(list) => {
                // A time differs between runs.
                let filter = |(name, value): &(String, String)| match name.as_str() {
                    "from" | "to" | "at" | "eventId" | "userId" | "actor" => name.clone(),
                    _ => format!("{name}={value}"),
                };
                let filters: Vec<String> = list.filters.iter().map(filter).collect();
                format!("GET {}?{}", list.path, filters.join("&"))
            }
            Self::Grant => "claim, granted".to_owned(),
            Self::Rejection => "claim, rejected".to_owned(),
            Self::Repeat => "claim, rejected again".to_owned(),
            Self::Pending => "claim, 202 until it is decided".to_owned(),
            Self::Delivery => "delivery to a webhook".to_owned(),
            Self::Progress => "progress".to_owned(),
            Self::Receipt => "request and receipt by id".to_owned(),
            Self::Reversal => "reversal".to_owned(),
            Self::Acknowledgement => "acknowledgement".to_owned(),
            Self::Activity => "activity".to_owned(),
            Self::Attributes => "attributes".to_owned(),
            Self::RoleChange => "role change".to_owned(),
            Self::Refresh => "refresh of a session".to_owned(),
            Self::OutboxStep => "sweep of the outbox, per 500 messages".to_owned(),
            Self::Sweeps => "other sweeps, nothing to delete".to_owned(),
        }
    }

    /// How long it took; `None`: not in this round.
    #[expect(clippy::too_many_lines, reason = "every operation, in order")]
    pub(crate) async fn measure(
        &self,
        site: &mut Site,
        receiver: &Receiver,
        round: usize,
    ) -> anyhow::Result<Option<Duration>> {
        let event = site.fixtures.event.clone();
        let rejecting = site.fixtures.rejecting.clone();
        let took = match self {
            Self::List(list) => {
                let started = Instant::now();
                let (status, page) = site.list(list).await?;
                ensure!(status == 200, "{status} {page:#}");
                started.elapsed()
            }
            Self::Grant => {
                let (_, token) = site.next_user().await?;
                let started = Instant::now();
                claim(site, &token, &event, "GRANTED").await?;
                started.elapsed()
            }
            Self::Rejection => {
                let (_, token) = site.next_user().await?;
                let started = Instant::now();
                claim(site, &token, &rejecting, "REJECTED").await?;
                started.elapsed()
            }
            Self::Repeat => {
                let (_, token) = site.next_user().await?;
                claim(site, &token, &rejecting, "REJECTED").await?;
                let started = Instant::now();
                claim(site, &token, &rejecting, "REJECTED").await?;
                started.elapsed()
            }
            Self::Pending => pending(site, &event).await?,
            Self::Delivery => {
                let (_, token) = site.next_user().await?;
                let granted = claim(site, &token, &event, "GRANTED").await?;
                let started = Instant::now();
                let arrived = receiver.wait_for(id(&granted)?).await?;
                arrived.saturating_duration_since(started)
            }
            Self::Progress => {
                let (_, token) = site.next_user().await?;
                let path = format!("/events/{rejecting}/progress");
                timed(site, Method::GET, &path, &token, None).await?
            }
            Self::Receipt => {
                let (_, token) = site.next_user().await?;
                let granted = claim(site, &token, &event, "GRANTED").await?;
                let path = format!("/reward-requests/{}", id(&granted)?);
                timed(site, Method::GET, &path, &token, None).await?
                    + timed(site, Method::GET, &format!("{path}/receipt"), &token, None).await?
            }
            Self::Reversal => {
                let (_, token) = site.next_user().await?;
                let granted = claim(site, &token, &event, "GRANTED").await?;
                let path = format!("/reward-requests/{}/reversal", id(&granted)?);
                let body = json!({"reason": "Measured"});
                timed(site, Method::POST, &path, &site.operator, Some(body)).await?
            }
            Self::Acknowledgement => {
                let (_, token) = site.next_user().await?;
                let granted = claim(site, &token, &event, "GRANTED").await?;
                let path = format!("/grants/{}/acknowledgement", id(&granted["grants"][0])?);
                let body = json!({"state": "DELIVERED"});
                timed(site, Method::POST, &path, &site.operator, Some(body)).await?
            }
            Self::Activity => {
                let (user, _) = site.next_user().await?;
                let body = json!([{
                    "source": "bench", "id": user, "userId": user, "kind": "shop.purchase",
                    "occurredAt": site.app.clock.now(),
                }]);
                timed(site, Method::POST, "/activities", &site.operator, Some(body)).await?
            }
            Self::Attributes => {
                let (user, _) = site.next_user().await?;
                let path = format!("/users/{user}/attributes");
                timed(site, Method::PUT, &path, &site.operator, Some(json!({"level": "8"}))).await?
            }
            Self::RoleChange => {
                let (user, _) = site.next_user().await?;
                let path = format!("/users/{user}");
                timed(
                    site,
                    Method::PATCH,
                    &path,
                    &site.admin,
                    Some(json!({"role": "AUDITOR"})),
                )
                .await?
            }
            Self::Refresh => {
                let (user, _) = site.next_user().await?;
                let tokens = site.app.logins.open_session(user.parse()?, None).await?;
                let body = json!({"refreshToken": tokens.refresh_token});
                timed(site, Method::POST, "/auth/refresh", "", Some(body)).await?
            }
            Self::OutboxStep => {
                if !round.is_multiple_of(SWEPT_EVERY) {
                    return Ok(None);
                }
                let started = Instant::now();
                site.app.webhooks.sweep().await?;
                let steps = u32::try_from(site.old_messages().div_ceil(STEP))?;
                started.elapsed() / steps.max(1)
            }
            Self::Sweeps => {
                let started = Instant::now();
                site.app.claims.sweep().await?;
                site.app.claims.prune().await?;
                site.app.auth.prune().await?;
                site.app.audit.sweep().await?;
                started.elapsed()
            }
        };
        Ok(Some(took))
    }
}

async fn timed(site: &Site, method: Method, path: &str, token: &str, body: Option<Value>) -> anyhow::Result<Duration> {
    let started = Instant::now();
    site.expect(method, path, token, body.as_ref()).await?;
    Ok(started.elapsed())
}

async fn claim(site: &Site, token: &str, event: &str, status: &str) -> anyhow::Result<Value> {
    let body = json!({"eventId": event});
    let request = site
        .expect(Method::POST, "/reward-requests", token, Some(&body))
        .await?;
    ensure!(request["status"] == status, "{request:#}");
    Ok(request)
}

async fn pending(site: &mut Site, event: &str) -> anyhow::Result<Duration> {
    let (_, token) = site.next_user().await?;
    let started = Instant::now();
    let mut request = site.pending_claim(&token, event).await?;
    let path = format!("/reward-requests/{}", id(&request)?);
    while request["status"] == "RECEIVED" {
        tokio::time::sleep(Duration::from_millis(2)).await;
        request = site.expect(Method::GET, &path, &token, None).await?;
    }
    ensure!(request["status"] == "GRANTED", "{request:#}");
    Ok(started.elapsed())
}

fn id(body: &Value) -> anyhow::Result<&str> {
    body["id"].as_str().context("an id")
}
