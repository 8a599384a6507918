//! Creates the demo data: people, events, and 30 days of what they did.

use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::past::{DAY, Past};
use super::{history, incidents, offers, people};
use meed_host::config::Config;
use meed_host::db::Db;

/// The ids of the tour.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Demo {
    pub user_id: Uuid,
    pub quests: Uuid,
    pub streak: Uuid,
    pub coupons: Uuid,
}

pub(super) async fn fill(config: &Config, db: &Db, plugins: &Path) -> anyhow::Result<Demo> {
    let past = Box::pin(Past::open(config, db)).await?;
    past.ago(DAY * (history::DAYS + 1));
    past.app
        .plugins
        .install_bundled(plugins)
        .await
        .with_context(|| format!("install {}", plugins.display()))?;
    let people = people::create(&past).await?;
    let offers = offers::create(&past).await?;
    history::make(&past, &people, &offers).await?;
    incidents::refuse_delivery(&past, &people, &offers).await?;
    incidents::propose_release(&past, &offers).await?;
    // Counted in memory.
    past.app.plugins.write_usage().await?;
    Ok(Demo {
        user_id: people.user,
        quests: offers.quests,
        streak: offers.streak,
        coupons: offers.coupons,
    })
}
