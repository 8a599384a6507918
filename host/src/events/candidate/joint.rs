//! The queries of two conditions in one plan, so that one read answers both.
//!
//! Must not know: why two conditions are evaluated.

use crate::contract::Fact;
use crate::facts::{InvalidPlan, MAX_QUERIES, Plan};

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "The condition of the event has {stable} queries and the candidate has {candidate}; {together} of them are different, \
     and one claim can read {MAX_QUERIES}. Use a candidate with fewer other queries, or activate it without shadow and canary."
)]
pub struct TooManyQueries {
    pub stable: usize,
    pub candidate: usize,
    pub together: usize,
}

/// The queries of a condition and, after them, those that only its candidate has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JointPlan {
    plan: Plan,
    stable: usize,
    /// The place of each query of the candidate.
    candidate: Vec<usize>,
}

impl JointPlan {
    pub fn new(stable: &Plan, candidate: &Plan) -> Result<Self, TooManyQueries> {
        let mut queries = stable.queries().to_vec();
        let mut places = Vec::with_capacity(candidate.queries().len());
        for query in candidate.queries() {
            let known = queries.iter().position(|other| other == query);
            places.push(known.unwrap_or(queries.len()));
            if known.is_none() {
                queries.push(query.clone());
            }
        }
        let together = queries.len();
        // Each query was checked with its own plan, so only their number can be wrong.
        let plan = Plan::try_from(queries).map_err(|_: InvalidPlan| TooManyQueries {
            stable: stable.queries().len(),
            candidate: candidate.queries().len(),
            together,
        })?;
        Ok(Self {
            plan,
            stable: stable.queries().len(),
            candidate: places,
        })
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The facts of the condition and those of the candidate, from the facts of the joint plan.
    pub fn split(&self, mut facts: Vec<Fact>) -> (Vec<Fact>, Vec<Fact>) {
        let candidate = self.candidate.iter().filter_map(|place| facts.get(*place).cloned());
        let candidate = candidate.collect();
        facts.truncate(self.stable);
        (facts, candidate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Query;

    fn plan(names: std::ops::Range<usize>) -> Plan {
        let queries: Vec<Query> = names.map(|name| Query::Attribute(format!("a{name}"))).collect();
        Plan::try_from(queries).unwrap()
    }

    fn facts_of(plan: &Plan) -> Vec<Fact> {
        let fact = |query: &Query| match query {
            Query::Attribute(name) => Fact::Text(name.clone()),
            _ => Fact::Absent,
        };
        plan.queries().iter().map(fact).collect()
    }

    #[test]
    fn each_condition_gets_the_facts_of_its_own_queries() {
        let cases = [
            (plan(0..3), plan(1..5)),
            (plan(0..2), plan(0..2)),
            (plan(0..0), plan(0..2)),
            (plan(0..2), plan(0..0)),
            (plan(4..6), plan(0..6)),
        ];
        for (stable, candidate) in cases {
            let joint = JointPlan::new(&stable, &candidate).unwrap();
            let split = joint.split(facts_of(joint.plan()));
            assert_eq!(split, (facts_of(&stable), facts_of(&candidate)));
        }
    }

    #[test]
    fn equal_queries_are_read_once() {
        let joint = JointPlan::new(&plan(0..20), &plan(0..30)).unwrap();
        assert_eq!(joint.plan().queries().len(), 30);
    }

    #[test]
    fn a_plan_beyond_the_limit_is_refused_with_its_numbers() {
        let refused = JointPlan::new(&plan(0..20), &plan(10..33)).unwrap_err();
        let expected = TooManyQueries {
            stable: 20,
            candidate: 23,
            together: 33,
        };
        assert_eq!(refused, expected);
        assert!(refused.to_string().contains("one claim can read 32"), "{refused}");
    }
}
