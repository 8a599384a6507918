//! The fragment over `user_attributes`: the newest value as of now.

use super::{Assembly, Value};

impl Assembly {
    pub(super) fn add_attribute(&mut self, index: usize, name: &str) {
        let name = self.bind(Value::Text(name.to_owned()));
        self.push(&format!(
            " UNION ALL SELECT {index}, NULL, value, NULL FROM (SELECT value FROM user_attributes \
             WHERE user_id = $1 AND name = {name} AND set_at <= $2 ORDER BY set_at DESC, id DESC LIMIT 1) AS latest"
        ));
    }
}
