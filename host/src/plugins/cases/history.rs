//! Computes the facts of a case's history with the queries that claims use.

use tempfile::TempDir;
use uuid::Uuid;

use super::{Case, store};
use crate::clock::Clock;
use crate::contract::{Context, Fact, Query};
use crate::db::{Db, DbError};
use crate::facts::{FactContext, FactError, FactReader, Instants, Period, Plan, Zone};

/// A temporary database, which is deleted on drop. Every case gets its own user in it.
pub struct History {
    db: Db,
    reader: FactReader,
    clock: Clock,
    _directory: TempDir,
}

#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("cannot create a directory for the case's history: {0}")]
    Directory(#[from] std::io::Error),
    #[error("cannot create the tables for the case's history: {0}")]
    Migrate(String),
    #[error("cannot write the case's history: {0}")]
    Db(#[from] DbError),
    #[error("cannot compute the case's facts: {0}")]
    Facts(#[from] FactError),
}

impl History {
    pub async fn open(clock: Clock) -> Result<Self, HistoryError> {
        let directory = tempfile::tempdir()?;
        let db = Db::connect(&format!("sqlite:{}", directory.path().join("cases.db").display()), 1).await?;
        db.migrate()
            .await
            .map_err(|error| HistoryError::Migrate(error.to_string()))?;
        Ok(Self {
            reader: FactReader::new(db.clone()),
            db,
            clock,
            _directory: directory,
        })
    }

    /// The facts that a claim in this context would have.
    pub(super) async fn facts(
        &self,
        case: &Case,
        context: &Context,
        zone: &Zone,
        plan: &Plan,
    ) -> Result<Vec<Fact>, HistoryError> {
        let user_id = self.clock.new_id();
        self.write(user_id, case, context).await?;
        let fact_context = FactContext {
            user_id,
            event_id: Uuid::nil(),
            event_starts: context.event.starts,
            zone,
            period: Period::Once,
            budget: None,
            group: None,
            instants: Instants::of_claim(context.now),
        };
        let mut facts = self.reader.gather(&fact_context, plan).await?.facts;
        // A case has no event, so the number of grants comes from the case itself.
        for (fact, query) in facts.iter_mut().zip(plan.queries()) {
            if *query == Query::Grants {
                *fact = Fact::Integer(case.grants.into());
            }
        }
        Ok(facts)
    }

    async fn write(&self, user_id: Uuid, case: &Case, context: &Context) -> Result<(), DbError> {
        let registered = context.user.registered;
        let mut tx = self.db.begin().await?;
        store::add_user(&mut tx, user_id, None, registered).await?;
        for (name, value) in case.attributes.0.clone() {
            store::add_attribute(&mut tx, self.clock.new_id(), user_id, name, value, registered).await?;
        }
        for activity in case.activities.clone() {
            store::add_activity(&mut tx, self.clock.new_id(), user_id, activity).await?;
        }
        for activities in case.invitees.clone() {
            let invitee = self.clock.new_id();
            store::add_user(&mut tx, invitee, Some(user_id), registered).await?;
            for activity in activities {
                store::add_activity(&mut tx, self.clock.new_id(), invitee, activity).await?;
            }
        }
        tx.commit().await
    }
}
