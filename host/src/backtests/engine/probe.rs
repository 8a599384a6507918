//! Finds out whether a condition reads the time: it is asked about the same facts at other instants.
//!
//! A condition that does not read the time answers the same while its facts are the same, so it is asked only when they
//! change. One that does is asked at each local midnight, or at each hour.

use std::time::Duration;

use super::owner::Owner;
use super::pace::Pace;
use super::replay::{Engine, EngineError, Side};
use crate::clock::Timestamp;
use crate::contract::{Awards, Context, EventInfo, Fact, Outcome, RewardInfo, UserInfo};
use crate::events::Purpose;
use crate::facts::kernel::{Cursor, KnownBy, Scope};

/// Instants at which one owner's facts are probed.
const INSTANTS: usize = 8;
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

impl Engine {
    /// How often a condition must be asked, as far as this owner tells.
    pub async fn probe(&self, side: usize, owner: &Owner) -> Result<Pace, EngineError> {
        let side = &self.sides[side];
        let scope = Scope {
            event_starts: side.offer.event.start_date,
            zone: &side.offer.zone,
        };
        let mut cursor = Cursor::new(&owner.log, scope, side.condition.plan.queries(), KnownBy::AsOf);
        let mut next = Some(self.terms.from.max(side.offer.event.start_date).max(owner.registered));
        let mut pace = Pace::WhenFactsChange;
        for _ in 0..INSTANTS {
            let Some(at) = next.filter(|at| *at < self.terms.to) else {
                break;
            };
            cursor.seek(at);
            if let Ok(facts) = cursor.facts() {
                pace = pace.max(self.probe_at(side, owner, at, &facts).await?);
            }
            next = cursor.next_change();
        }
        Ok(pace)
    }

    async fn probe_at(&self, side: &Side, owner: &Owner, at: Timestamp, facts: &[Fact]) -> Result<Pace, EngineError> {
        let first = self.decided(side, owner, at, facts).await?;
        for hours in 1..24 {
            if self.decided(side, owner, at.plus(HOUR * hours), facts).await? != first {
                return Ok(Pace::EachHour);
            }
        }
        for days in 1..=7 {
            if self.decided(side, owner, at.plus(DAY * days), facts).await? != first {
                return Ok(Pace::EachDay);
            }
        }
        Ok(Pace::WhenFactsChange)
    }

    /// What the condition decides at an instant; `None`: it failed.
    async fn decided(
        &self,
        side: &Side,
        owner: &Owner,
        now: Timestamp,
        facts: &[Fact],
    ) -> Result<Option<(Outcome, Awards)>, EngineError> {
        let call = self.run(side, &context(side, owner, now), facts).await?;
        Ok(call.outcome.ok().map(|decision| (decision.outcome, decision.awards)))
    }
}

fn context(side: &Side, owner: &Owner, now: Timestamp) -> Context {
    let (event, zone) = (&side.offer.event, &side.offer.zone);
    let rewards = side.offer.rewards.iter().map(|reward| RewardInfo {
        id: reward.id.to_string(),
        kind: reward.type_.clone(),
        value: reward.value,
        max_quantity: event.max_quantity,
    });
    Context {
        now,
        local: zone.local(now),
        offsets: zone.offsets(now),
        time_zone: event.time_zone.clone(),
        event: EventInfo {
            id: event.id.to_string(),
            title: event.title.clone(),
            starts: event.start_date,
            ends: event.end_date,
        },
        user: UserInfo {
            id: owner.id.to_string(),
            registered: owner.registered,
        },
        rewards: rewards.collect(),
        seed: event.secret.seed(event.id, owner.id, "once", 1, Purpose::Backtest),
    }
}
