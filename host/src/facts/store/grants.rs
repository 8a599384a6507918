//! Fragments over earlier claims and what limits further grants: the number of grants, the granted slots of the period,
//! the held claim, the newest rejection, the stock, the budget and the event group.

use super::{Assembly, Value};
use crate::clock::Timestamp;
use crate::facts::FactContext;

/// For a claim. Slots, stock, last reversal, held claim and newest rejection are current values, independent of `$2`
/// (`as_of`).
const GRANTS: &str = " \
    UNION ALL SELECT -2, COUNT(*), NULL, NULL FROM reward_requests \
        WHERE event_id = $3 AND user_id = $1 AND status = 'GRANTED' AND received_at <= $2 \
    UNION ALL SELECT -3, slot, NULL, NULL FROM reward_requests \
        WHERE event_id = $3 AND user_id = $1 AND status = 'GRANTED' AND period = $4 \
    UNION ALL SELECT -4, s.remaining, NULL, s.reward_id \
        FROM event_rewards e JOIN reward_stock s ON s.reward_id = e.reward_id WHERE e.event_id = $3 \
    UNION ALL SELECT -7, MAX(reversed_at), NULL, NULL FROM reversals WHERE user_id = $1 \
    UNION ALL SELECT -8, NULL, NULL, id FROM reward_requests WHERE event_id = $3 AND user_id = $1 AND status = 'HELD' \
    UNION ALL SELECT -9, decided_at, refusal, id FROM (SELECT decided_at, refusal, id FROM reward_requests \
        WHERE user_id = $1 AND event_id = $3 AND refusal IS NOT NULL ORDER BY id DESC LIMIT 1) AS rejection";

impl Assembly {
    pub(super) fn add_grants(&mut self, context: &FactContext<'_>) {
        match context.instants.known_by {
            None => self.push(GRANTS),
            Some(known_by) => self.add_past_grants(known_by),
        }
    }

    /// The grants that stood at `as_of`, as far as they were known: claims that had arrived and were decided, without
    /// those that were reversed by then. What only a claim needs is left out.
    fn add_past_grants(&mut self, known_by: Timestamp) {
        let known_by = self.bind(Value::Number(known_by.as_millis()));
        for (part, column, period) in [(-2, "COUNT(*)", ""), (-3, "slot", " AND period = $4")] {
            self.push(&format!(
                " UNION ALL SELECT {part}, {column}, NULL, NULL FROM (\
                    SELECT slot FROM reward_requests WHERE user_id = $1 AND event_id = $3 AND status = 'GRANTED' \
                        AND received_at <= $2 AND decided_at <= {known_by}{period} \
                    UNION ALL SELECT q.slot FROM reversals r \
                        JOIN reward_requests q ON q.user_id = r.user_id AND q.id = r.request_id \
                        WHERE r.user_id = $1 AND (r.reversed_at > $2 OR r.reversed_at > {known_by}) \
                        AND q.event_id = $3 AND q.received_at <= $2 AND q.decided_at <= {known_by}{period}) AS standing"
            ));
        }
    }

    /// The numbers that the user's grants and held claims of any event have in the group, as the commit sees them.
    pub(super) fn add_group(&mut self, group: String) {
        let group = self.bind(Value::Text(group));
        self.push(&format!(
            " UNION ALL SELECT -10, max_per_user, NULL, NULL FROM event_groups WHERE name = {group} \
             UNION ALL SELECT -11, group_slot, NULL, NULL FROM reward_requests WHERE user_id = $1 \
                AND group_name = {group} AND (status = 'GRANTED' OR status = 'HELD')"
        ));
    }

    pub(super) fn add_budget(&mut self, period: String) {
        let period = self.bind(Value::Text(period));
        self.push(&format!(
            " UNION ALL SELECT -5, grants, NULL, NULL FROM event_budgets WHERE event_id = $3 AND period = {period} \
             UNION ALL SELECT -6, amount, NULL, NULL FROM event_budgets WHERE event_id = $3 AND period = {period}"
        ));
    }
}
