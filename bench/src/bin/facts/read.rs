//! How long building takes, and how long reads take by the size of the user.

use std::time::Instant;

use anyhow::Context as _;
use meed_host::clock::Timestamp;
use meed_host::contract::{Query, Subject, Window};
use meed_host::facts::{FactContext, Instants, Period, Plan, Zone};
use uuid::Uuid;

use crate::site::{BEGIN, Site, YEAR, of_items, queries, user};

const WINDOWS: [(&str, Window); 4] = [
    ("7 d", Window::LastDays(7)),
    ("30 d", Window::LastDays(30)),
    ("10 y", Window::LastDays(3660)),
    ("all", Window::AllTime),
];
/// Activities of an invitee.
const EACH: u64 = 1_000;
/// The number of the first inviter.
const INVITERS: u64 = 101;

pub(crate) async fn run(site: &Site, sizes: &[u64], invitees: &[u64], rounds: usize) -> anyhow::Result<()> {
    let zone: Zone = "Asia/Seoul".parse()?;
    site.users(20_000).await?;
    for (number, size) in (1..).zip(sizes) {
        site.fill(number, *size).await?;
    }
    site.db.update_statistics().await?;
    build(site, "own", (Subject::Claimant, 3), sizes.iter().sum(), &zone).await?;
    let columns: Vec<(u64, Uuid)> = (1..).zip(sizes).map(|(number, size)| (*size, user(number))).collect();
    println!("{}: by the activities of the user", site.engine);
    compare(site, &columns, Subject::Claimant, &zone, rounds).await?;

    println!("{}: with 50 filters, by the activities of the user", site.engine);
    for items in [0..25, 25..50] {
        site.need(of_items(items, Window::AllTime), &zone).await?;
    }
    site.facts.finish().await?;
    head(&columns);
    for (name, queries) in [
        ("one of 50 filters", of_items(7..8, Window::AllTime)),
        ("25 of 50 filters", of_items(0..25, Window::AllTime)),
    ] {
        line(site, name, &columns, &Plan::try_from(queries)?, &zone, rounds).await?;
    }

    let mut first = 100_000;
    for (number, count) in (INVITERS..).zip(invitees) {
        site.fill_invitees(number, first, *count, EACH).await?;
        first += count;
    }
    site.db.update_statistics().await?;
    let all = invitees.iter().sum::<u64>() * EACH;
    build(site, "invitees'", (Subject::Invitees, 3), all, &zone).await?;
    let columns: Vec<(u64, Uuid)> = (INVITERS..)
        .zip(invitees)
        .map(|(number, count)| (*count, user(number)))
        .collect();
    println!("{}: by the invitees, each with {EACH} activities", site.engine);
    compare(site, &columns, Subject::Invitees, &zone, rounds).await
}

/// Builds the series of all queries, and tells how long that takes.
async fn build(
    site: &Site,
    name: &str,
    (subject, series): (Subject, u32),
    activities: u64,
    zone: &Zone,
) -> anyhow::Result<()> {
    let all: Vec<Query> = queries(Window::AllTime, subject)
        .into_iter()
        .map(|(_, query)| query)
        .collect();
    let before = site.maintained_bytes().await?;
    site.need(all, zone).await?;
    let started = Instant::now();
    site.facts.finish().await?;
    let took = started.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "sizes are small")]
    let (millions, bytes) = (
        activities as f64 / 1e6 * f64::from(series),
        (site.maintained_bytes().await? - before) as f64,
    );
    println!(
        "{}: built {series} {name} series of {:.2} million activities each: {:.1} s and {:.0} kB per million",
        site.engine,
        millions / f64::from(series),
        took / millions,
        bytes / 1e3 / millions
    );
    Ok(())
}

/// Every query over every window, for users of different sizes.
async fn compare(
    site: &Site,
    columns: &[(u64, Uuid)],
    subject: Subject,
    zone: &Zone,
    rounds: usize,
) -> anyhow::Result<()> {
    head(columns);
    for (window_name, window) in WINDOWS {
        for (name, query) in queries(window, subject) {
            let plan = Plan::try_from(vec![query])?;
            line(site, &format!("{name}, {window_name}"), columns, &plan, zone, rounds).await?;
        }
    }
    Ok(())
}

fn head(columns: &[(u64, Uuid)]) {
    let sizes = columns.iter().map(|(size, _)| format!("{size:>10}"));
    println!("{:24} {}", "median µs", sizes.collect::<Vec<_>>().concat());
}

async fn line(
    site: &Site,
    name: &str,
    columns: &[(u64, Uuid)],
    plan: &Plan,
    zone: &Zone,
    rounds: usize,
) -> anyhow::Result<()> {
    let mut took: Vec<Vec<f64>> = columns.iter().map(|_| Vec::new()).collect();
    for round in 0..=rounds {
        for ((_, user_id), took) in columns.iter().zip(&mut took) {
            let started = Instant::now();
            ask(site, *user_id, zone, plan, round).await?;
            // The first round warms up.
            if round > 0 {
                took.push(started.elapsed().as_secs_f64() * 1e6);
            }
        }
    }
    let medians: Vec<f64> = took.iter_mut().map(|took| median(took)).collect();
    let cells = medians.iter().map(|median| format!("{median:>10.0}"));
    let cells = cells.collect::<Vec<_>>().concat();
    let ratio = medians.last().zip(medians.first());
    let ratio = ratio.map_or(0.0, |(last, first)| last / first);
    println!("{name:24} {cells}   ratio {ratio:.2}");
    Ok(())
}

async fn ask(site: &Site, user_id: Uuid, zone: &Zone, plan: &Plan, round: usize) -> anyhow::Result<()> {
    // An instant of the last third of the year.
    let step = i64::try_from(round)? * 7_919_000 % (YEAR / 3);
    let now = Timestamp::from_millis(BEGIN + YEAR - step).context("an instant")?;
    let context = FactContext {
        user_id,
        event_id: Uuid::nil(),
        event_starts: Timestamp::EPOCH,
        zone,
        period: Period::Once,
        budget: None,
        group: None,
        instants: Instants::of_claim(now),
    };
    site.reader.gather(&context, plan).await?;
    Ok(())
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
