//! Measures facts of users with many activities: how long they take to read, to keep true and to build.
//!
//! `cargo xtask bench facts` fills one database per engine with users of different sizes. **Reads** are the whole fact
//! statement of a claim with one query; each ratio is to the smallest user, and the aim is at most 1.2. **Ingestion** records
//! batches of 1,000 with everything maintained and the builder at work; each ratio is to a plain insert of several rows of the
//! same run, and the aim is at least 0.5. **Building** is told per million activities, with the bytes of what is maintained.
//! `SIZES=10,1000,100000` (activities of a user), `INVITEES=1,100` (each with 1,000 activities), `ROUNDS=n`, `BATCHES=n` and `ENGINES=sqlite` make it shorter.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

mod ingest;
mod read;
mod site;

use anyhow::Context as _;

use site::Site;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let sizes: Vec<u64> = text("SIZES", "10,1000,100000,1000000")
        .split(',')
        .map(|size| size.trim().parse())
        .collect::<Result<_, _>>()
        .context("SIZES")?;
    let invitees: Vec<u64> = text("INVITEES", "1,10,100,1000")
        .split(',')
        .map(|count| count.trim().parse())
        .collect::<Result<_, _>>()
        .context("INVITEES")?;
    let rounds: usize = text("ROUNDS", "101").parse().context("ROUNDS")?;
    let batches: u64 = text("BATCHES", "30").parse().context("BATCHES")?;
    for engine in text("ENGINES", "postgres,sqlite").split(',') {
        let site = Site::new(engine).await?;
        read::run(&site, &sizes, &invitees, rounds).await?;
        ingest::run(&site, batches).await?;
        site.close().await?;
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a separate program without the host's settings"
)]
fn text(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}
