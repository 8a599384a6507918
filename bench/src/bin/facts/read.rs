//! How long building takes, and how long reads take by the size of the user.

use std::time::Instant;

use anyhow::Context as _;
use meed_host::clock::Timestamp;
use meed_host::contract::{Query, Window};
use meed_host::facts::{FactContext, Instants, Period, Plan, Zone, gather};
use uuid::Uuid;

use crate::site::{BEGIN, Site, YEAR, queries, user};

const WINDOWS: [(&str, Window); 4] = [
    ("7 d", Window::LastDays(7)),
    ("30 d", Window::LastDays(30)),
    ("10 y", Window::LastDays(3660)),
    ("all", Window::AllTime),
];

pub(crate) async fn run(site: &Site, sizes: &[u64], rounds: usize) -> anyhow::Result<()> {
    let zone: Zone = "Asia/Seoul".parse()?;
    site.users(20_000).await?;
    for (number, size) in (1..).zip(sizes) {
        site.fill(number, *size).await?;
    }
    site.db.update_statistics().await?;
    let all: Vec<Query> = queries(Window::AllTime).into_iter().map(|(_, query)| query).collect();
    let series = 3.0;
    site.need(all, &zone).await?;
    let started = Instant::now();
    site.facts.finish().await?;
    let took = started.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "sizes are small")]
    let millions = sizes.iter().sum::<u64>() as f64 / 1e6 * series;
    #[expect(clippy::cast_precision_loss, reason = "sizes are small")]
    let bytes = site.maintained_bytes().await? as f64;
    println!(
        "{}: built {series} series of {:.2} million activities each: {:.1} s and {:.0} kB per million",
        site.engine,
        millions / series,
        took / millions,
        bytes / 1e3 / millions
    );
    println!(
        "{:24} {}",
        "median µs",
        sizes
            .iter()
            .map(|size| format!("{size:>10}"))
            .collect::<Vec<_>>()
            .concat()
    );
    for (window_name, window) in WINDOWS {
        for (name, query) in queries(window) {
            let plan = Plan::try_from(vec![query])?;
            let mut took: Vec<Vec<f64>> = sizes.iter().map(|_| Vec::new()).collect();
            for round in 0..=rounds {
                for (number, took) in (1..).zip(&mut took) {
                    let started = Instant::now();
                    ask(site, user(number), &zone, &plan, round).await?;
                    // The first round warms up.
                    if round > 0 {
                        took.push(started.elapsed().as_secs_f64() * 1e6);
                    }
                }
            }
            let medians: Vec<f64> = took.iter_mut().map(|took| median(took)).collect();
            let cells = medians
                .iter()
                .map(|median| format!("{median:>10.0}"))
                .collect::<Vec<_>>()
                .concat();
            let ratio = medians
                .last()
                .zip(medians.first())
                .map_or(0.0, |(last, first)| last / first);
            println!("{:24} {cells}   ratio {ratio:.2}", format!("{name}, {window_name}"));
        }
    }
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
    gather(&site.db, &context, plan).await?;
    Ok(())
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
