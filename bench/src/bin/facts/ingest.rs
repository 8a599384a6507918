//! How fast activities are recorded with everything maintained, compared with a plain insert.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use meed_host::activities::NewActivity;
use meed_host::attributes::Attributes;
use meed_host::clock::Timestamp;
use meed_host::db::{Engine, Json};

use crate::read::median;
use crate::site::{BEGIN, KIND, Site, YEAR, user};

const BATCH: u64 = 1_000;

/// Which users, and how many of a hundred activities are late.
const LOADS: [(&str, u64, u64); 6] = [
    ("20,000 users, in order", 20_000, 0),
    ("20,000 users, 5 % late", 20_000, 5),
    ("200 users, in order", 200, 0),
    ("200 users, 5 % late", 200, 5),
    ("one hot user, in order", 1, 0),
    ("one hot user, 5 % late", 1, 5),
];

pub(crate) async fn run(site: &Site, batches: u64) -> anyhow::Result<()> {
    println!("{}: rows per second", site.engine);
    println!("{:28} {:>10} {:>12} {:>7}", "", "insert", "maintained", "ratio");
    let over = Arc::new(AtomicBool::new(false));
    let builder = tokio::spawn({
        let (facts, over) = (site.facts.clone(), over.clone());
        async move {
            while !over.load(Ordering::SeqCst) {
                facts.run().await?;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            anyhow::Ok(())
        }
    });
    let mut next = 1_u64;
    for (name, users, late) in LOADS {
        let (mut plain, mut maintained) = (Vec::new(), Vec::new());
        // In turn, so that both meet the same tables and the same noise.
        for batch in 0..batches {
            for (is_plain, rates) in [(true, &mut plain), (false, &mut maintained)] {
                let activities = batch_of(&mut next, users, late, is_plain)?;
                let started = Instant::now();
                if is_plain {
                    insert(site, &activities).await?;
                } else {
                    let recorded = site.activities.record(activities, None).await?;
                    ensure!(recorded.recorded == usize::try_from(BATCH)?, "not all are new");
                }
                if batch > 1 {
                    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
                    rates.push(BATCH as f64 / started.elapsed().as_secs_f64());
                }
            }
        }
        let (plain, maintained) = (median(&mut plain), median(&mut maintained));
        println!("{name:28} {plain:>10.0} {maintained:>12.0} {:>7.2}", maintained / plain);
    }
    over.store(true, Ordering::SeqCst);
    builder.await??;
    Ok(())
}

/// In order: after all that were there. Late: anywhere before. Plain rows are of another kind, which nothing maintains.
fn batch_of(next: &mut u64, users: u64, late: u64, is_plain: bool) -> anyhow::Result<Vec<NewActivity>> {
    let kind = if is_plain { "plain" } else { KIND };
    (0..BATCH)
        .map(|_| {
            let number = *next;
            *next += 1;
            let scattered = number.wrapping_mul(6_364_136_223_846_793_005) >> 16;
            let at = if scattered % 100 < late {
                BEGIN + i64::try_from(scattered)? % YEAR
            } else {
                BEGIN + YEAR + i64::try_from(number)? * 10
            };
            let first = if users == 1 { 4 } else { 5 };
            Ok(NewActivity {
                source: "bench".to_owned(),
                id: number.to_string(),
                user_id: Some(user(first + scattered % users.min(19_000))),
                external_user_id: None,
                kind: kind.to_owned(),
                occurred_at: Some(Timestamp::from_millis(at).context("an instant")?),
                amount: Some(1),
                attributes: Attributes(BTreeMap::from([("category".to_owned(), "hats".to_owned())])),
            })
        })
        .collect()
}

/// Several rows with one statement for each table, and nothing else.
async fn insert(site: &Site, activities: &[NewActivity]) -> anyhow::Result<()> {
    const POSTGRES: [&str; 2] = [
        "INSERT INTO activity_directory (source, source_id, user_id) SELECT source, source_id, user_id \
            FROM jsonb_to_recordset($1) AS i (source TEXT, source_id TEXT, user_id UUID)",
        "INSERT INTO activities (id, source, source_id, user_id, kind, amount, attributes, occurred_at, recorded_at) \
            SELECT id, source, source_id, user_id, kind, amount, attributes, occurred_at, recorded_at \
            FROM jsonb_to_recordset($1) AS i (id UUID, source TEXT, source_id TEXT, user_id UUID, kind TEXT, \
                amount BIGINT, attributes JSONB, occurred_at BIGINT, recorded_at BIGINT)",
    ];
    const SQLITE: [&str; 2] = [
        "INSERT INTO activity_directory (source, source_id, user_id) \
            SELECT value ->> 'source', value ->> 'source_id', unhex(value ->> 'user_id') FROM json_each($1)",
        "INSERT INTO activities (id, source, source_id, user_id, kind, amount, attributes, occurred_at, recorded_at) \
            SELECT unhex(value ->> 'id'), value ->> 'source', value ->> 'source_id', unhex(value ->> 'user_id'), \
            value ->> 'kind', value ->> 'amount', value -> 'attributes', value ->> 'occurred_at', value ->> 'recorded_at' \
            FROM json_each($1)",
    ];
    let now = site.clock.now().as_millis();
    let rows = activities.iter().map(|activity| {
        serde_json::json!({
            "id": site.clock.new_id().simple().to_string(),
            "source": activity.source, "source_id": activity.id,
            "user_id": activity.user_id.map(|id| id.simple().to_string()),
            "kind": activity.kind, "amount": activity.amount, "attributes": activity.attributes.0,
            "occurred_at": activity.occurred_at.map(Timestamp::as_millis), "recorded_at": now,
        })
    });
    let rows: serde_json::Value = rows.collect();
    let mut tx = site.db.begin().await?;
    let statements = match site.db.engine() {
        Engine::Postgres => POSTGRES,
        Engine::Sqlite => SQLITE,
    };
    for sql in statements {
        tx.query(sql).bind(Json(rows.clone())).execute(&mut tx).await?;
    }
    tx.commit().await?;
    Ok(())
}
