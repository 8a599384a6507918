//! The fragment over `user_attributes`: the newest value at an instant. A value counts from the time at which it was set.

use super::{Assembly, Value};
use crate::facts::FactContext;

impl Assembly {
    pub(super) fn add_attribute(&mut self, context: &FactContext<'_>, index: usize, name: &str) {
        let until = self.happened_and_known_by(context);
        let name = self.bind(Value::Text(name.to_owned()));
        self.push(&format!(
            " UNION ALL SELECT {index}, NULL, value, NULL FROM (SELECT value FROM user_attributes \
             WHERE user_id = $1 AND name = {name} AND set_at <= {until} ORDER BY set_at DESC, id DESC LIMIT 1) AS latest"
        ));
    }
}
