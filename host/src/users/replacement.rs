//! The rows that replace all attributes of a user. Must not know: the database.

use uuid::Uuid;

use super::store::attributes::AttributeRow;
use crate::attributes::Attributes;
use crate::audit::Entry;
use crate::clock::Clock;

/// The rows of the attributes that change.
pub(super) struct Replacement {
    pub rows: Vec<AttributeRow>,
}

impl Replacement {
    /// `current` are the newest rows of the user's attributes.
    pub(super) fn of(clock: &Clock, user_id: Uuid, current: Vec<AttributeRow>, new: Attributes) -> Self {
        let Attributes(mut new) = new;
        let now = clock.now();
        let mut rows = Vec::new();
        for current in current {
            let value = new.remove(&current.name);
            if value != current.value {
                rows.push(current.followed_by(value, now, clock.new_id()));
            }
        }
        rows.extend(new.into_iter().map(|(name, value)| AttributeRow {
            user_id,
            id: clock.new_id(),
            name,
            value: Some(value),
            set_at: now,
        }));
        Self { rows }
    }

    /// Names the changed attributes. Their values are in `user_attributes`, with their authors; the audit log holds no data
    /// of users, which must be erasable.
    pub(super) fn note(&self, entry: Entry) -> Entry {
        if self.rows.is_empty() {
            return entry;
        }
        let mut names: Vec<&str> = self.rows.iter().map(|row| row.name.as_str()).collect();
        names.sort_unstable();
        entry.field("attributesChanged", None::<&str>, names)
    }
}
