//! Validates an event beyond the schema of its body: dates, time zone, budget, plugin and params.

use std::time::Duration;

use super::error::EventError;
use super::model::{NewCondition, NewEvent};
use super::service::EventService;
use crate::facts::{UnknownZone, Zone};
use crate::plugins::{BoundCondition, PluginError};

/// The maximum duration of an event.
const MAX_DURATION: Duration = Duration::from_hours(10 * 366 * 24);

impl EventService {
    /// Validates dates, time zone, budget, plugin and params of an event, and binds the params. `kept` is the
    /// plugin version of the event that is replaced: it may keep that one even if no new event could use it.
    pub(super) async fn check(
        &self,
        mut new: NewEvent,
        kept: Option<(&str, &str)>,
    ) -> Result<(NewEvent, BoundCondition), EventError> {
        if new.end_date <= new.start_date {
            let message = format!("must be after startDate ({})", new.start_date);
            return Err(EventError::Field {
                pointer: "/endDate",
                message,
            });
        }
        if new.start_date.plus(MAX_DURATION) < new.end_date {
            let message = "must be within ten years of startDate".to_owned();
            return Err(EventError::Field {
                pointer: "/endDate",
                message,
            });
        }
        let zone: Zone = new.time_zone.parse().map_err(|error: UnknownZone| EventError::Field {
            pointer: "/timeZone",
            message: error.to_string(),
        })?;
        // Store the canonical spelling of the name.
        zone.name().clone_into(&mut new.time_zone);
        if let Some(budget) = new.budget {
            budget.check()?;
        }
        let NewCondition {
            plugin,
            version,
            params,
        } = &new.condition;
        let condition = if kept == Some((plugin, version)) {
            self.plugins.bind_again(plugin, version, params).await
        } else {
            self.plugins.bind(plugin, version, params).await
        };
        let condition = condition.map_err(|error| match error {
            PluginError::NoSuchPlugin { .. } => EventError::Field {
                pointer: "/condition/plugin",
                message: error.to_string(),
            },
            PluginError::NoSuchVersion { .. } | PluginError::NotActive { .. } | PluginError::NotTrusted { .. } => {
                EventError::Field {
                    pointer: "/condition/version",
                    message: error.to_string(),
                }
            }
            error => EventError::Plugin(error),
        })?;
        Ok((new, condition))
    }
}
