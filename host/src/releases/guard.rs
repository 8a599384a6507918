//! The guard of a ramp: from what was counted in a step to a verdict. Pure: numbers in, verdict out.
//!
//! It judges nothing before a minimum sample, and may look as often as it likes: each test is a mixture sequential
//! probability ratio test (R. Johari, P. Koomen, L. Pekelis, D. Walsh, *Always Valid Inference: Continuous Monitoring of A/B
//! Tests*, Operations Research 70(3), 2022, arXiv:1512.04922; the mixture is that of H. Robbins, 1970). Its ratio exceeds
//! `1 / ALPHA` at any look with a probability of about `ALPHA` if the candidate is within its bounds. The samples are users'
//! decisions: a user who repeats a claim counts once. Must not know: where numbers come from, and what follows from a verdict.

use std::fmt;
use std::time::Duration;

use garde::Validate;
use serde::{Deserialize, Serialize};
use strum::Display;
use utoipa::ToSchema;

use crate::trials::{FUEL_PARTS, Kind, Totals};

/// The probability with which a metric that is within its bound fails a step.
const ALPHA: f64 = 0.01;
/// The same for the sample ratio, which says that the counting is wrong.
const ALPHA_RATIO: f64 = 0.001;
/// The scale of the excess that is looked for: of a rate, and of the ratio to a forecast.
const TAU: f64 = 0.05;
const TAU_FORECAST: f64 = 0.5;
/// Fuel is judged at its 99th percentile.
const ABOVE_P99: f64 = 0.01;
/// Flips above the forecast that are tolerated, if no bound is set.
const FLIPS_ABOVE_FORECAST: f64 = 0.02;

/// The bounds of a ramp. Part of what is approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schema(as = ReleaseGuard)]
pub struct Bounds {
    /// The decisions of the candidate before anything is judged
    #[garde(range(min = 20, max = 1_000_000))]
    #[schema(minimum = 20, maximum = 1_000_000, default = 200)]
    pub min_decisions: u32,
    /// The users before anything is judged
    #[garde(range(min = 5, max = 200))]
    #[schema(minimum = 5, maximum = 200, default = 50)]
    pub min_users: u32,
    /// Failures of the candidate above those of the event's condition, in thousandths of the decisions
    #[garde(range(max = 1000))]
    #[schema(maximum = 1000, default = 10)]
    pub failures: u16,
    /// The 99th percentile of the fuel of the candidate, in percent of its limit, in steps of five
    #[garde(range(min = 5, max = 100))]
    #[schema(minimum = 5, maximum = 100, default = 80)]
    pub fuel: u8,
    /// Claims that the event's condition grants and the candidate does not, in thousandths of those compared. Without it: the
    /// forecast and 20 more, or no bound without a forecast
    #[garde(range(max = 1000))]
    #[schema(maximum = 1000)]
    pub allow_to_deny: Option<u16>,
    /// The reverse
    #[garde(range(max = 1000))]
    #[schema(maximum = 1000)]
    pub deny_to_allow: Option<u16>,
    /// Grants and value per hour, in percent of the forecast
    #[garde(range(min = 100, max = 10_000))]
    #[schema(minimum = 100, maximum = 10_000, default = 150)]
    pub forecast: u16,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            min_decisions: 200,
            min_users: 50,
            failures: 10,
            fuel: 80,
            allow_to_deny: None,
            deny_to_allow: None,
            forecast: 150,
        }
    }
}

/// What a backtest predicts for the candidate, if it decides for all users.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Forecast {
    pub grants_per_hour: f64,
    pub value_per_hour: f64,
    /// Shares of the decisions.
    pub allow_to_deny: f64,
    pub deny_to_allow: f64,
}

/// One step at one instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look<'a> {
    pub bounds: &'a Bounds,
    pub stable: &'a Totals,
    pub candidate: &'a Totals,
    /// 0: a shadow, whose counts are of all users.
    pub permille: u16,
    /// No candidate decided claims of this event before this step. Later, users who were granted do not come back, so the
    /// parts have other sizes.
    pub is_first_canary: bool,
    pub elapsed: Duration,
    pub length: Duration,
    pub forecast: Option<Forecast>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Display)]
#[strum(serialize_all = "kebab-case")]
pub(super) enum Metric {
    Sample,
    SampleRatio,
    Failures,
    Fuel,
    AllowToDeny,
    DenyToAllow,
    Grants,
    Value,
}

/// Why a step failed or is inconclusive.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Finding {
    pub metric: Metric,
    text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// The step goes on.
    Waiting,
    /// The step is over, and everything is within its bounds.
    Successful,
    /// Something is beyond its bound, beyond chance.
    Failed(Finding),
    /// The step is over and does not show that everything is within its bounds; or the counting is wrong.
    Inconclusive(Finding),
}

/// A metric: by how much it exceeds its bound, and the variance of that number.
struct Measured {
    metric: Metric,
    excess: f64,
    variance: f64,
    tau: f64,
    text: String,
}

impl Measured {
    /// The logarithm of the mixture's likelihood ratio of "another value" to "the bound".
    fn evidence(&self) -> f64 {
        log_ratio(self.excess, self.variance, self.tau)
    }

    fn finding(self) -> Finding {
        Finding {
            metric: self.metric,
            text: self.text,
        }
    }
}

pub(super) fn judge(look: &Look<'_>) -> Verdict {
    let is_over = look.elapsed >= look.length;
    let (decisions, users) = (look.candidate.decisions, look.candidate.users());
    let (min_decisions, min_users) = (u64::from(look.bounds.min_decisions), u64::from(look.bounds.min_users));
    let inconclusive = |metric, text| Verdict::Inconclusive(Finding { metric, text });
    if decisions < min_decisions || users < min_users {
        if !is_over {
            return Verdict::Waiting;
        }
        let text = format!(
            "The step is over with {decisions} decisions of {users} users; the guard needs {min_decisions} of {min_users}."
        );
        return inconclusive(Metric::Sample, text);
    }
    if let Some(ratio) = sample_ratio(look)
        && log_ratio(ratio.excess, ratio.variance, ratio.tau) >= (1.0 / ALPHA_RATIO).ln()
    {
        return Verdict::Inconclusive(ratio.finding());
    }
    let measured = measure(look);
    let mut beyond = measured.into_iter().filter(|measured| measured.excess > 0.0);
    let mut first = None;
    for measured in beyond.by_ref() {
        if measured.evidence() >= (1.0 / ALPHA).ln() {
            return Verdict::Failed(measured.finding());
        }
        first = first.or(Some(measured));
    }
    if !is_over {
        return Verdict::Waiting;
    }
    if look.candidate.dropped > decisions {
        let text = format!(
            "{} claims were not compared because too many waited, and {decisions} were.",
            look.candidate.dropped
        );
        return inconclusive(Metric::Sample, text);
    }
    first.map_or(Verdict::Successful, |measured| {
        Verdict::Inconclusive(measured.finding())
    })
}

/// Every metric that has a bound.
fn measure(look: &Look<'_>) -> Vec<Measured> {
    let Look {
        bounds,
        stable,
        candidate,
        forecast,
        ..
    } = *look;
    let mut all = vec![failures(bounds, stable, candidate)];
    if let Some(fuel) = fuel(bounds, candidate) {
        all.push(fuel);
    }
    let flips = [
        (
            Metric::AllowToDeny,
            Kind::AllowToDeny,
            bounds.allow_to_deny,
            forecast.map(|forecast| forecast.allow_to_deny),
            "that the event's condition grants and the candidate does not",
        ),
        (
            Metric::DenyToAllow,
            Kind::DenyToAllow,
            bounds.deny_to_allow,
            forecast.map(|forecast| forecast.deny_to_allow),
            "that the candidate grants and the event's condition does not",
        ),
    ];
    for (metric, kind, bound, forecast, what) in flips {
        let bound = bound
            .map(|permille| f64::from(permille) / 1000.0)
            .or(forecast.map(|rate| rate + FLIPS_ABOVE_FORECAST));
        let (count, of) = (candidate.diverged(kind), candidate.compared);
        let Some(bound) = bound.filter(|_| of > 0) else {
            continue;
        };
        all.push(Measured {
            metric,
            excess: rate(count, of) - bound,
            variance: variance(count, of),
            tau: TAU,
            text: format!(
                "{} of the compared claims are claims {what}; the bound is {}.",
                percent(rate(count, of)),
                percent(bound)
            ),
        });
    }
    if let Some(forecast) = forecast {
        all.extend(against_forecast(look, forecast));
    }
    all
}

fn failures(bounds: &Bounds, stable: &Totals, candidate: &Totals) -> Measured {
    let bound = f64::from(bounds.failures) / 1000.0;
    let failed = rate(candidate.faults(), candidate.decisions);
    let usual = rate(stable.faults(), stable.decisions);
    Measured {
        metric: Metric::Failures,
        excess: failed - usual - bound,
        variance: variance(candidate.faults(), candidate.decisions)
            + if stable.decisions == 0 {
                0.0
            } else {
                variance(stable.faults(), stable.decisions)
            },
        tau: TAU,
        text: format!(
            "The candidate fails for {} of its decisions, and the event's condition for {}; the bound is {} more.",
            percent(failed),
            percent(usual),
            percent(bound)
        ),
    }
}

fn fuel(bounds: &Bounds, candidate: &Totals) -> Option<Measured> {
    let measured = candidate.measured();
    let part = usize::from(bounds.fuel) * FUEL_PARTS / 100;
    if measured == 0 || part >= FUEL_PARTS {
        return None;
    }
    let above = candidate.above(part);
    Some(Measured {
        metric: Metric::Fuel,
        excess: rate(above, measured) - ABOVE_P99,
        variance: variance(above, measured),
        tau: TAU,
        text: format!(
            "{} of the candidate's runs use more than {} % of their fuel; at most {} may.",
            percent(rate(above, measured)),
            bounds.fuel,
            percent(ABOVE_P99)
        ),
    })
}

/// Grants and their value, against what was predicted by now. Grants come one by one, so their number varies like its mean.
fn against_forecast(look: &Look<'_>, forecast: Forecast) -> Vec<Measured> {
    let share = match look.permille {
        0 => 1.0,
        permille => f64::from(permille) / 1000.0,
    };
    let hours = look.elapsed.as_secs_f64() / 3600.0 * share;
    let factor = f64::from(look.bounds.forecast) / 100.0;
    let granted = float(look.candidate.granted);
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let value = look.candidate.value as f64;
    [
        (Metric::Grants, granted, forecast.grants_per_hour * hours, "grants"),
        (
            Metric::Value,
            value,
            forecast.value_per_hour * hours,
            "as the value of its grants",
        ),
    ]
    .into_iter()
    .filter(|(_, _, expected, _)| *expected >= 1.0)
    .map(|(metric, found, expected, what)| {
        let ratio = found / expected;
        Measured {
            metric,
            excess: ratio - factor,
            // Of the mean, at the bound or above.
            variance: ratio.max(factor).powi(2) / granted.max(1.0),
            tau: TAU_FORECAST,
            text: format!(
                "The forecast is {expected:.0} {what} by now, and it is {found:.0}; the bound is {} % of the forecast.",
                look.bounds.forecast
            ),
        }
    })
    .collect()
}

/// Whether the parts of the users have the planned sizes.
fn sample_ratio(look: &Look<'_>) -> Option<Measured> {
    if look.permille == 0 || !look.is_first_canary {
        return None;
    }
    let (candidate, stable) = (look.candidate.first_decisions, look.stable.first_decisions);
    let planned = f64::from(look.permille) / 1000.0;
    let found = rate(candidate, candidate + stable);
    Some(Measured {
        metric: Metric::SampleRatio,
        excess: found - planned,
        variance: planned * (1.0 - planned) / float((candidate + stable).max(1)),
        tau: TAU,
        text: format!(
            "{} of the users are in the canary, and {} should be: the counts cannot be trusted.",
            percent(found),
            percent(planned)
        ),
    })
}

/// The mixture over all alternatives, normal around the bound with the standard deviation `tau`, for an estimate that is
/// normal with this variance.
fn log_ratio(excess: f64, variance: f64, tau: f64) -> f64 {
    let (variance, tau2) = (variance.max(f64::MIN_POSITIVE), tau * tau);
    let sum = variance + tau2;
    0.5 * (variance / sum).ln() + tau2 * excess * excess / (2.0 * variance * sum)
}

/// Of a rate. With one success and one failure more than there were, so that it is never zero.
fn variance(count: u64, of: u64) -> f64 {
    let p = (float(count) + 1.0) / (float(of) + 2.0);
    p * (1.0 - p) / float(of.max(1))
}

fn rate(count: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { float(count) / float(of) }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests;
