//! The kernel and both databases give the same answers: random batches pass the ingestion, concurrent, late and repeated,
//! and random plans are asked as of any instant and known by any instant.
//!
//! A failing case prints its seed; `SEED=… cargo xtask test facts::kernel` repeats it. `MEED_TEST_LONG=1` runs many more.

#![allow(clippy::print_stderr, reason = "the output of a failed run shows its seed")]

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use futures_util::future::join_all;
use meed_host::activities::NewActivity;
use meed_host::attributes::Attributes;
use meed_host::clock::Timestamp;
use meed_host::contract::{Fact, Filter, Query, Selection, Subject, Window};
use meed_host::facts::kernel::{Activity, AttributeChange, Grant, Invitee, KnownBy, Log, Scope, answer};
use meed_host::facts::{FactContext, FactError, Instants, NeededBy, Period, Plan, TooLarge, Zone, need};
use rstest_reuse::apply;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{at, filter, selection, zone};
use crate::faults::seed;
use crate::service_keys::secret;
use crate::support::{TestApp, on_both_engines, text};

const DAY: i64 = 86_400_000;

/// Zones of whole, half and quarter hours; with clock changes of half an hour, and at midnight.
const ZONES: [&str; 12] = [
    "UTC",
    "Asia/Seoul",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "America/New_York",
    "America/St_Johns",
    "America/Havana",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
];
const KINDS: [&str; 3] = ["shop.purchase", "match.won", "a"];
const NAMES: [&str; 6] = ["category", "a.b", "0", "-1", "null", "1e1"];
const VALUES: [&str; 6] = ["", "hats", "서울 😀", "it's \"$.x\"", "null", "two\nlines"];

#[apply(on_both_engines)]
async fn the_kernel_and_the_database_agree(app: TestApp) {
    let first = seed::first();
    let mut next = at("2023-09-20T00:00:00Z");
    for case in 0..seed::size(5, 100) {
        let seed = first.wrapping_add(case);
        // Shown if the test fails.
        eprintln!("SEED={seed}");
        let mut run = Run::new(&app, seed, next).await;
        let mut answered = 0;
        for _ in 0..7 {
            run.pass_time();
            run.record().await;
            run.change().await;
            for _ in 0..5 {
                answered += run.compare().await;
            }
        }
        assert!(answered > 100, "{answered} answers");
        next = moved(app.clock.now(), DAY);
    }
}

fn moved(instant: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(instant.as_millis() + millis).expect("an instant")
}

/// Events need the facts of some selections until this instant.
async fn maintain(app: &TestApp, zone: &Zone, until: Timestamp) {
    let hats = [filter("category", "hats")];
    let mut queries = Vec::new();
    for kind in KINDS {
        for filters in [&[][..], &hats] {
            for subject in [Subject::Claimant, Subject::Invitees] {
                let selection = selection(kind, subject, Window::AllTime, filters);
                queries.extend([Query::Count(selection.clone()), Query::Streak(selection)]);
            }
        }
    }
    let plan = Plan::try_from(queries).expect("a plan within its limits");
    let mut tx = app.begin().await;
    let by = NeededBy {
        event_id: app.clock.new_id(),
        event_starts: app.clock.now(),
        until,
        zone,
        now: app.clock.now(),
    };
    need(&mut tx, &by, &plan).await.expect("series");
    tx.commit().await.expect("a commit");
}

/// One owner, their invitees and an event, in the database and as a log in memory.
struct Run<'a> {
    app: &'a TestApp,
    seed: u64,
    random: Rng,
    /// The users have many activities, for which the database maintains facts.
    is_busy: bool,
    zone: Zone,
    key: String,
    event_id: Uuid,
    event_starts: Timestamp,
    owner: Uuid,
    invitees: Vec<Uuid>,
    log: Log,
    /// Those of the owner.
    attributes_now: BTreeMap<String, String>,
    /// Everything that was reported.
    reported: Vec<NewActivity>,
    /// Claims that stand, with the index of their grant.
    standing: Vec<(Value, usize)>,
}

impl<'a> Run<'a> {
    async fn new(app: &'a TestApp, seed: u64, begin: Timestamp) -> Self {
        let mut random = Rng::with_seed(seed);
        app.clock.set(begin);
        let key = secret(app, &format!("run-{seed}"), &["attributes:write", "claims:write"]).await;
        let event_starts = moved(begin, -random.i64(0..20 * DAY));
        let changes = json!({
            "startDate": event_starts, "endDate": moved(begin, 400 * DAY),
            "recurrence": {"period": "DAILY", "count": 9},
        });
        let event = app.event("first-come", json!({}), changes).await;
        let owner = app.insert_user(begin, None).await;
        let zone = zone(ZONES[random.usize(..ZONES.len())]);
        maintain(app, &zone, moved(begin, 400 * DAY)).await;
        Self {
            zone,
            // At least one of the cases of a run.
            is_busy: seed.is_multiple_of(4),
            app,
            seed,
            random,
            key,
            event_id: text(&event, "id").parse().expect("an id"),
            event_starts,
            owner,
            invitees: Vec::new(),
            log: Log::default(),
            attributes_now: BTreeMap::new(),
            reported: Vec::new(),
            standing: Vec::new(),
        }
    }

    /// Some time, often until about midnight.
    fn pass_time(&mut self) {
        let now = self.app.clock.now();
        let later = moved(now, self.random.i64(1..9 * DAY));
        let later = match self.random.u8(..3) {
            0 => moved(
                self.zone.start_of(self.zone.date(later)).expect("a midnight"),
                self.random.i64(-1..=1),
            ),
            _ => later,
        };
        self.app.clock.set(later.max(now));
    }

    /// An instant at or before the latest that may be reported.
    fn occurred(&mut self) -> Timestamp {
        let now = self.app.clock.now();
        let earlier = moved(now, -self.random.i64(0..50 * DAY));
        match self.random.u8(..7) {
            0 => now,
            // Ahead of the server's clock.
            1 => moved(now, self.random.i64(1..=300_000)),
            2 => moved(
                self.zone.start_of(self.zone.date(now)).expect("a midnight"),
                self.random.i64(-1..=0),
            ),
            3 => moved(
                self.zone.start_of(self.zone.date(earlier)).expect("a midnight"),
                self.random.i64(-1..=1),
            ),
            // A tie.
            4 => self.entry().map_or(now, |activity| activity.occurred_at),
            _ => earlier,
        }
    }

    fn entry(&mut self) -> Option<&Activity> {
        let count = self.log.activities.len();
        let index = (count > 0).then(|| self.random.usize(..count))?;
        self.log.activities.get(index)
    }

    fn kind(&mut self) -> &'static str {
        if self.is_busy && self.random.u8(..4) > 0 {
            return KINDS[0];
        }
        KINDS[self.random.usize(..KINDS.len())]
    }

    fn attributes(&mut self) -> BTreeMap<String, String> {
        let mut attributes = BTreeMap::new();
        if self.random.bool() {
            attributes.insert("category".to_owned(), "hats".to_owned());
        }
        for _ in 0..self.random.u8(..3) {
            let (name, value) = (self.random.choice(NAMES), self.random.choice(VALUES));
            attributes.extend(name.zip(value).map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        attributes
    }

    /// Concurrent batches, which share some of their activities and repeat some of those before.
    async fn record(&mut self) {
        let now = self.app.clock.now();
        if self.random.u8(..3) == 0 {
            self.invitees.push(self.app.insert_user(now, Some(self.owner)).await);
            self.log.invitees.push(Invitee {
                registered: now,
                activities: Vec::new(),
            });
        }
        let mut batches = vec![Vec::new(); self.random.usize(1..4)];
        let count = if self.is_busy { 300..400 } else { 5..25 };
        for _ in 0..self.random.usize(count) {
            let invitee = self.random.usize(..2 * self.invitees.len() + 2);
            let invitee = Some(invitee).filter(|index| *index < self.invitees.len());
            let amount = match self.random.u8(..4) {
                0 => None,
                1 => Some(
                    *self
                        .random
                        .choice(&[1_000_000_000_000, -1_000_000_000_000, 0])
                        .expect("an amount"),
                ),
                _ => Some(self.random.i64(-500..10_000)),
            };
            let occurred_at = (self.random.u8(..8) > 0).then(|| self.occurred());
            let activity = NewActivity {
                source: "test".to_owned(),
                id: format!("{}-{}", self.seed, self.reported.len()),
                user_id: Some(invitee.map_or(self.owner, |index| self.invitees[index])),
                external_user_id: None,
                kind: self.kind().to_owned(),
                occurred_at,
                amount,
                attributes: Attributes(self.attributes()),
            };
            let entry = Activity {
                kind: activity.kind.clone(),
                occurred_at: occurred_at.unwrap_or(now),
                recorded_at: now,
                amount,
                attributes: activity.attributes.0.clone(),
            };
            match invitee {
                None => self.log.activities.push(entry),
                Some(index) => self.log.invitees[index].activities.push(entry),
            }
            self.reported.push(activity.clone());
            for _ in 0..self.random.usize(1..3) {
                let batch = self.random.usize(..batches.len());
                batches[batch].push(activity.clone());
            }
            if self.random.u8(..4) == 0 {
                let repeated = self.random.usize(..self.reported.len());
                batches[0].push(self.reported[repeated].clone());
            }
        }
        let activities = &self.app.app.activities;
        let recording = batches.into_iter().map(|batch| activities.record(batch, None));
        for recorded in join_all(recording).await {
            recorded.expect("recorded");
        }
        if self.is_busy {
            self.app.app.facts.run().await.expect("a run of the builder");
        }
    }

    /// Attributes, claims and reversals.
    async fn change(&mut self) {
        let now = self.app.clock.now();
        // Twice in one millisecond, sometimes.
        for _ in 0..self.random.u8(..3) {
            self.set_attributes().await;
        }
        if self.random.bool() {
            let body = json!({"eventId": self.event_id, "userId": self.owner});
            let claim = self.app.post("/reward-requests").bearer(&self.key).json(&body);
            let claimed = claim.send().await.expect(201);
            assert_eq!(claimed["status"], "GRANTED", "{claimed:#}");
            self.standing.push((claimed["id"].clone(), self.log.grants.len()));
            self.log.grants.push(Grant {
                received_at: at(text(&claimed, "receivedAt")),
                decided_at: at(text(&claimed, "decidedAt")),
                reversed_at: None,
            });
        }
        if self.random.u8(..3) == 0
            && let Some((request, grant)) = self.standing.pop()
        {
            let operator = self.app.operator().await;
            let path = format!("/reward-requests/{}/reversal", request.as_str().expect("an id"));
            let reverse = self
                .app
                .post(&path)
                .bearer(&operator)
                .json(&json!({"reason": "A return"}));
            let reversal = reverse.send().await.expect(201);
            self.log.grants[grant].reversed_at = Some(at(text(&reversal, "reversedAt")));
        }
        // A grant that follows a reversal, and a reversal that follows a grant, are a millisecond later.
        self.app.clock.set(moved(now, 5));
    }

    async fn set_attributes(&mut self) {
        let new = self.attributes();
        let path = format!("/users/{}/attributes", self.owner);
        let call = self.app.put(&path).bearer(&self.key).json(&json!(new));
        call.send().await.expect(200);
        let old = std::mem::replace(&mut self.attributes_now, new);
        let names: BTreeSet<&String> = old.keys().chain(self.attributes_now.keys()).collect();
        for name in names {
            let value = self.attributes_now.get(name);
            if old.get(name) != value {
                self.log.attributes.push(AttributeChange {
                    name: name.clone(),
                    set_at: self.app.clock.now(),
                    value: value.cloned(),
                });
            }
        }
    }

    fn selection(&mut self) -> Selection {
        let window = match self.random.u8(..6) {
            0 => Window::AllTime,
            1 => Window::EventPeriod,
            2 => Window::Since(self.occurred()),
            3 => Window::LastDays(1),
            _ => Window::LastDays(self.random.u32(2..70)),
        };
        let filters = self
            .attributes()
            .into_iter()
            .map(|(attribute, equals)| Filter { attribute, equals });
        let filters = filters.collect::<Vec<_>>();
        Selection {
            kind: self.kind().to_owned(),
            subject: if self.random.u8(..3) == 0 {
                Subject::Invitees
            } else {
                Subject::Claimant
            },
            window,
            // Most filters select little.
            filters: if self.random.bool() { filters } else { Vec::new() },
        }
    }

    fn plan(&mut self) -> Plan {
        let mut queries = vec![
            Query::Grants,
            Query::Attribute(NAMES[self.random.usize(..NAMES.len())].to_owned()),
        ];
        for make in [
            Query::Count,
            Query::Sum,
            Query::DistinctDays,
            Query::Streak,
            Query::First,
            Query::Last,
        ] {
            queries.push(make(self.selection()));
        }
        Plan::try_from(queries).expect("a plan within its limits")
    }

    /// Asks a random plan about two random instants, and as a claim does. Returns the number of answers.
    async fn compare(&mut self) -> usize {
        let now = self.app.clock.now();
        let plan = self.plan();
        let as_of = match self.random.u8(..6) {
            0 => now,
            1 => moved(now, self.random.i64(1..3 * DAY)),
            _ => moved(self.occurred(), self.random.i64(-1..=1)),
        };
        let known_by = match self.random.u8(..6) {
            0 => now,
            1 => as_of,
            2 => moved(now, -self.random.i64(0..60 * DAY)),
            _ => {
                let recorded = self.entry().map_or(now, |activity| activity.recorded_at);
                moved(recorded, self.random.i64(-1..=0))
            }
        };
        let asked = Instants {
            as_of,
            known_by: Some(known_by),
        };
        let mut answered = 0;
        let latest = as_of.max(now);
        for (instants, known_by) in [
            (asked, known_by),
            (Instants::of_claim(now), now),
            // A claim that waited.
            (Instants::of_claim(as_of), latest),
        ] {
            let context = FactContext {
                user_id: self.owner,
                event_id: self.event_id,
                event_starts: self.event_starts,
                zone: &self.zone,
                period: Period::Daily,
                budget: None,
                group: None,
                instants,
            };
            let read = self.app.app.fact_reader.gather(&context, &plan).await;
            let read: Result<Vec<Fact>, TooLarge> = match read {
                Ok(snapshot) => Ok(snapshot.facts),
                Err(FactError::TooLarge(too_large)) => Err(too_large),
                Err(error) => panic!("SEED={}: {error}", self.seed),
            };
            let scope = Scope {
                event_starts: self.event_starts,
                zone: &self.zone,
            };
            let known_by = KnownBy::Instant(known_by);
            let folded = answer(&self.log, scope, plan.queries(), instants.as_of, known_by);
            let what = format!("SEED={}, {}, {instants:?}", self.seed, self.zone);
            let (Ok(read), Ok(folded)) = (&read, &folded) else {
                assert_eq!(read, folded, "{what}");
                continue;
            };
            for (query, (read, folded)) in plan.queries().iter().zip(read.iter().zip(folded)) {
                // A claim counts the grants that stand when it is decided.
                if *query == Query::Grants && instants == Instants::of_claim(as_of) {
                    continue;
                }
                assert_eq!(
                    read, folded,
                    "{what}: {query:?}; the database is left, the kernel right"
                );
                answered += 1;
            }
        }
        answered
    }
}
