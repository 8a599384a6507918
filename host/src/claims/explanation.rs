//! Explanations: why a claim was decided as it was, in words, and which other facts would have led to another decision.
//!
//! About a stored request, the facts are those of its receipt and are never read again. About an event, they are read as of
//! an instant, as for the progress. `asked` makes both. `search` finds the counterfactuals: `ways` says how a fact can differ, `hints` where a
//! change is likely, `runs` bounds the work. `words` tells both. Nothing is stored, and no run counts for the plugin. What
//! the host decides without the condition is told by its reason; nothing is run for it.
//!
//! Users get their own explanations. Facts about their invitees, counts aside, are not in them, and they do not learn how
//! they would have avoided a review. Must not know: HTTP.

mod asked;
mod hints;
mod model;
mod runs;
mod search;
mod source;
mod ways;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use self::hints::Hints;
pub(super) use self::model::Explanation;
use self::model::{Counterfactual, ExplainedFact, FactChange, LabelledProgress, SearchReport, Skipped};
use self::runs::{MAX_RUNS, Run, Runs};
use self::search::{Found, search};
use self::source::{Ran, Source};
use self::ways::Part;
use super::decision::Judge;
use super::error::ClaimError;
use super::model::Source as SaidBy;
use super::verdict::Verdict;
use crate::clock::Clock;
use crate::contract::{Fact, Outcome, Query, Subject};
use crate::events::EventService;
use crate::plugins::{PluginError, PluginService, PluginState, PluginVersion};

/// Searches that run at the same time, so that claims keep their share of the processor.
const SEARCHES: usize = 2;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who reads the explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// The user, or a program on the user's behalf.
    User,
    /// With the scope `audit:read`.
    Staff,
}

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Explanations {
    clock: Clock,
    events: EventService,
    judge: Judge,
    plugins: PluginService,
    searches: Arc<Semaphore>,
}

impl Explanations {
    pub(super) fn new(clock: Clock, events: EventService, judge: Judge, plugins: PluginService) -> Self {
        Self {
            clock,
            events,
            judge,
            plugins,
            searches: Arc::new(Semaphore::new(SEARCHES)),
        }
    }

    async fn explain(&self, source: Source, reader: Reader) -> Result<Explanation, ClaimError> {
        let plugin = self.plugin(&source).await?;
        let (found, search) = self.counterfactuals(&source, plugin.as_ref(), reader).await?;
        let ran = source.ran.as_ref();
        let base = ran
            .and_then(|ran| ran.decision.as_ref())
            .map(|decision| decision.outcome);
        let facts = ran.map(|ran| {
            let told = ran.queries().iter().zip(&ran.facts).enumerate();
            let told = told.map(|(index, (query, fact))| {
                if is_hidden(query, reader) {
                    let words = words::hidden(query, &ran.context);
                    let (query, value) = (query.clone(), None);
                    return ExplainedFact { words, query, value };
                }
                let target = found.iter().filter(|_| base == Some(Outcome::NotEligible));
                let target = target.filter_map(|found| target_of(found, index, fact)).min();
                ExplainedFact {
                    words: words::fact(query, fact, target, &ran.context),
                    query: query.clone(),
                    value: Some(fact.clone()),
                }
            });
            told.collect()
        });
        let counterfactuals = ran.map(|ran| {
            let told = found.into_iter().map(|found| told(ran, &source, found));
            told.collect()
        });
        Ok(Explanation {
            request_id: source.request_id,
            event_id: source.event_id,
            event_revision: source.event_revision,
            user_id: source.user_id,
            basis: source.basis,
            as_of: source.as_of,
            known_by: source.known_by,
            verdict: source.verdict,
            decided_by: source.decided_by(),
            progress: labelled(&source, plugin.as_ref()),
            reasons: source.reasons.clone(),
            retry_at: source.retry_at,
            facts: facts.unwrap_or_default(),
            counterfactuals: counterfactuals.unwrap_or_default(),
            search,
            details: (reader == Reader::Staff).then(|| source.details()),
        })
    }

    /// The plugin version; `None` if the condition did not run.
    async fn plugin(&self, source: &Source) -> Result<Option<PluginVersion>, ClaimError> {
        let Some(ran) = &source.ran else { return Ok(None) };
        match self.plugins.by_digest(ran.condition.digest).await {
            Ok(version) => Ok(Some(version)),
            Err(PluginError::ModuleMissing(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn counterfactuals(
        &self,
        source: &Source,
        plugin: Option<&PluginVersion>,
        reader: Reader,
    ) -> Result<(Vec<Found>, SearchReport), ClaimError> {
        let report = SearchReport {
            max_runs: MAX_RUNS,
            ..SearchReport::default()
        };
        let skipped = |skipped| {
            Ok((
                Vec::new(),
                SearchReport {
                    skipped: Some(skipped),
                    ..report.clone()
                },
            ))
        };
        let Some(ran) = &source.ran else {
            return skipped(Skipped::DecidedByHost);
        };
        let Some(decision) = &ran.decision else {
            return skipped(Skipped::ConditionFailed);
        };
        if reader == Reader::User && decision.outcome != Outcome::NotEligible {
            return skipped(Skipped::StaffOnly);
        }
        let Some(plugin) = plugin.filter(|plugin| plugin.state == PluginState::Active) else {
            return skipped(Skipped::PluginNotActive);
        };
        let hints = Hints::new(&ran.condition.params, &plugin.params_schema, &decision.progress);
        let facts = ran.queries().iter().zip(&ran.facts).enumerate();
        let shown = facts.filter(|(_, (query, _))| !is_hidden(query, reader));
        let ways: Vec<_> = shown
            .flat_map(|(index, (query, fact))| ways::ways(index, query, fact, &ran.context, &hints))
            .collect();
        if ways.is_empty() {
            return skipped(Skipped::NoFacts);
        }
        let turn = tokio::time::timeout(PATIENCE, self.searches.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(ClaimError::TooManyExplanations);
        };
        let runnable = self.plugins.runnable(ran.condition.digest).await?;
        let limit = self.plugins.limits(&runnable).evaluate_fuel;
        let mut runs = Runs::new(self.run(ran), decision.outcome, limit);
        // A receipt may be older than this release of the engine.
        if source.request_id.is_some() && runs.decide(&ran.facts).await.flatten() != Some(decision) {
            return skipped(Skipped::NotReproducible);
        }
        let found = search(&ran.facts, &ways, &mut runs).await;
        let report = SearchReport {
            runs: runs.count(),
            fuel: runs.fuel(),
            stopped_by: runs.stopped_by,
            ..report
        };
        Ok((found, report))
    }

    fn run<'a>(&'a self, ran: &'a Ran) -> Run<'a> {
        Box::new(move |facts| {
            Box::pin(async move {
                let ran = self.plugins.evaluate(&ran.condition, &ran.context, &facts).await;
                ran.map_or_else(|error| source::not_run(&error), |(call, _)| call)
            })
        })
    }
}

/// The number from which on the condition decides otherwise, if a change of this fact alone says so.
fn target_of(found: &Found, index: usize, fact: &Fact) -> Option<i64> {
    let [change] = found.changes.as_slice() else {
        return None;
    };
    if change.index != index || !found.is_minimal || change.part == Some(Part::LongestDays) {
        return None;
    }
    match (fact, &change.to) {
        (Fact::Integer(from), Fact::Integer(to)) => Some(*to).filter(|to| to > from),
        (Fact::Days(from), Fact::Days(to)) => Some(i64::from(to.current)).filter(|to| *to > i64::from(from.current)),
        _ => None,
    }
}

fn told(ran: &Ran, source: &Source, found: Found) -> Counterfactual {
    let verdict = Verdict::of_decision(&found.decision, &ran.context.rewards, ran.budget_amount);
    let changes: Vec<FactChange> = found
        .changes
        .into_iter()
        .filter_map(|change| {
            let (query, from) = (ran.queries().get(change.index)?, ran.facts.get(change.index)?.clone());
            let is_longest = change.part == Some(Part::LongestDays);
            Some(FactChange {
                words: words::change(query, &from, &change.to, is_longest, &ran.context),
                fact: change.index,
                from,
                to: change.to,
            })
        })
        .collect();
    let sentences: Vec<_> = changes.iter().map(|change| change.words.clone()).collect();
    let is_met = found.decision.outcome != Outcome::NotEligible;
    let refusal = verdict
        .reasons
        .first()
        .filter(|reason| is_met && reason.source == SaidBy::Host);
    let refusal = refusal.map(|reason| reason.code.as_str());
    Counterfactual {
        words: words::consequence(source.condition_verdict(), verdict.status, refusal, &sentences),
        changes,
        minimal: found.is_minimal,
        verdict: verdict.status,
        reasons: verdict.reasons,
    }
}

/// Facts about a user's invitees can tell what one of them did. Their number cannot.
fn is_hidden(query: &Query, reader: Reader) -> bool {
    let about_others =
        |query: &Query| words::selection_of(query).is_some_and(|selection| selection.subject == Subject::Invitees);
    reader == Reader::User && !matches!(query, Query::Count(_)) && about_others(query)
}

fn labelled(source: &Source, plugin: Option<&PluginVersion>) -> Vec<LabelledProgress> {
    let goals = source.progress.iter();
    let labelled = goals.map(|goal| LabelledProgress {
        key: goal.key.clone(),
        current: goal.current,
        target: goal.target,
        label: plugin.and_then(|plugin| plugin.labels.get(&goal.key).cloned()),
        labels: plugin.map_or_else(BTreeMap::new, |plugin| {
            let texts = plugin.translations.iter();
            let labels = texts.filter_map(|(tag, texts)| Some((tag.clone(), texts.labels.get(&goal.key)?.clone())));
            labels.collect()
        }),
    });
    labelled.collect()
}
