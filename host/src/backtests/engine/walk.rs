//! One condition and one owner: the questions in the order of time, and what they would have been answered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::fuel::FuelHistogram;
use super::owner::{Owner, prior};
use crate::claims::{Reason, Source};
use crate::clock::Timestamp;
use crate::contract::Fact;
use crate::text;

/// The most characters of a reason's message that a report quotes.
const QUOTED: usize = 200;
/// The most reasons of an answer that a report quotes.
const REASONS: usize = 4;

/// The answer to one question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    pub at: Timestamp,
    /// `GRANTED`, `HELD`, `REJECTED`, `FAILED`, or `ALREADY_GRANTED`; `NOT_ASKED` if there was no question yet.
    pub status: String,
    pub reasons: Vec<Said>,
}

/// A reason of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    pub source: Source,
    pub code: String,
    pub message: String,
}

impl Answer {
    pub fn new(at: Timestamp, status: &str, reasons: &[Reason]) -> Self {
        let said = |reason: &Reason| Said {
            source: reason.source,
            code: reason.code.clone(),
            message: quoted(&reason.message),
        };
        Self {
            at,
            status: status.to_owned(),
            reasons: reasons.iter().take(REASONS).map(said).collect(),
        }
    }

    pub fn not_asked(at: Timestamp) -> Self {
        Self::new(at, "NOT_ASKED", &[])
    }

    pub fn is_granted(&self) -> bool {
        self.status == "GRANTED"
    }

    /// The status, or the code of the first reason: what histograms count.
    pub fn key(&self) -> String {
        match self.reasons.first().filter(|_| !self.is_granted()) {
            Some(reason) => reason.code.clone(),
            None => self.status.to_ascii_lowercase().replace('_', "-"),
        }
    }

    fn says(&self, other: &Self) -> bool {
        self.status == other.status && self.reasons == other.reasons
    }
}

/// A grant that the condition and all limits allow.
#[derive(Clone, Debug)]
pub(super) struct Granted {
    pub at: Timestamp,
    pub period: String,
    pub slot: u32,
    pub awards: Vec<(Uuid, u32)>,
    pub value: i64,
    pub reversed_at: Option<Timestamp>,
    pub claimed: bool,
}

/// Everything but the time that an answer depends on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Question {
    pub facts: Vec<Fact>,
    pub seed: [u8; 32],
    pub max_quantities: Vec<u32>,
    pub budget_amount: Option<i64>,
}

/// How the owner fared under one condition.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub grants: Vec<Granted>,
    /// Held claims without a review: from when on, with period, slot and number in the group.
    pub held: Vec<(Timestamp, String, u32)>,
    /// In the order of time. Of a user who never claimed only those that differ from the one before.
    pub answers: Vec<Answer>,
    pub asks: u64,
    /// Questions that were equal to the one before, so that the answer was known.
    pub equal: u64,
    pub last_ask: Option<Timestamp>,
    pub fuel: FuelHistogram,
    pub failures: BTreeMap<String, u64>,
    /// It ended early, because the condition failed too often.
    pub stopped: bool,
    /// The user holds all grants of the period.
    pub(super) is_full: bool,
    pub(super) last_question: Option<Question>,
    pub(super) retry_at: Option<Timestamp>,
}

impl Walk {
    /// Adds an answer. `claimed`: the user really asked.
    pub(super) fn answer(&mut self, answer: Answer, claimed: bool) {
        if claimed || self.answers.last().is_none_or(|last| !last.says(&answer)) {
            self.answers.push(answer);
        }
    }

    /// The answer that held at an instant.
    pub(super) fn answer_at(&self, at: Timestamp) -> Answer {
        let next = self.answers.partition_point(|answer| answer.at <= at);
        self.answers[..next]
            .last()
            .cloned()
            .unwrap_or_else(|| Answer::not_asked(at))
    }

    /// The slots of a period that the user's grants and held claims occupy.
    pub(super) fn slots(
        &self,
        owner: &Owner,
        from: Timestamp,
        period: &str,
        at: Timestamp,
    ) -> impl Iterator<Item = u32> {
        let prior = prior(owner, from).filter(move |claim| claim.period == period && claim.stands_at(at));
        let granted = self.grants.iter();
        let granted = granted.filter(move |grant| grant.period == period && stands(grant, at));
        let held = self.held.iter().filter(move |(_, held, _)| held == period);
        let slots: Vec<u32> = prior
            .map(|claim| claim.slot)
            .chain(granted.map(|grant| grant.slot))
            .chain(held.map(|(_, _, slot)| *slot))
            .collect();
        slots.into_iter()
    }

    /// How many grants of the event stand, which is the answer to the query `grants`.
    pub(super) fn standing(&self, owner: &Owner, from: Timestamp, at: Timestamp) -> usize {
        prior(owner, from).filter(|claim| claim.stands_at(at)).count()
            + self.grants.iter().filter(|grant| stands(grant, at)).count()
    }
}

/// One line, without characters that hide or reorder others.
fn quoted(message: &str) -> String {
    let plain = |letter: char| {
        let is_plain = !letter.is_control() && text::deceptive(letter.encode_utf8(&mut [0; 4])).is_none();
        if is_plain { letter } else { '\u{fffd}' }
    };
    message.chars().take(QUOTED).map(plain).collect()
}

fn stands(grant: &Granted, at: Timestamp) -> bool {
    grant.at <= at && grant.reversed_at.is_none_or(|reversed| reversed > at)
}
