//! Birthday: eligible on the user's birthday and on some days after it.
//!
//! Before you copy it:
//! - **The birthday is an attribute** that your systems set: a text like `1990-05-21`; other formats are not a date. Many
//!   users have none, so "missing" has a reason of its own that tells the user what to do.
//! - **Today is today in the event's zone**, not where the user lives. The days after the birthday allow for that, and for
//!   users who are not active on the day.
//! - **February 29** exists in one year of four. Users born on it celebrate on February 28 in other years.
//! - **The turn of the year**: two days after December 31 is January 2. Count days between dates; do not compare day and
//!   month numbers.
//! - **Once a year** is a matter of the event: make an event of one year with the recurrence `ONCE`. A birthday that is
//!   changed in between then gives no second grant.

use meed_plugin_sdk::prelude::*;

/// The attribute with the birthday, and the days after it.
#[derive(Params)]
#[param(example = {"days": 7})]
struct BirthdayParams {
    /// The attribute of the user that holds the birthday, e.g. `1990-05-21`.
    #[param(max_length = 64, pattern = "^[A-Za-z0-9._-]{1,64}$", default = "birthday")]
    attribute: String,
    /// Days after the birthday on which the user is still eligible.
    #[param(minimum = 0, maximum = 60, default = 0, example = 7)]
    days: u32,
}

struct Birthday;

impl Condition for Birthday {
    const TITLE: &'static str = "Birthday";
    const DESCRIPTION: &'static str = "It is the birthday of the user, or was a few days ago.";
    type Params = BirthdayParams;
    type Plan = Attribute;

    fn plan(params: &BirthdayParams) -> Attribute {
        attribute(&params.attribute)
    }

    fn decide(params: &BirthdayParams, context: &Context, birthday: Option<String>) -> Decision {
        let Some(text) = birthday else {
            return Decision::not_yet(
                "birthday-missing",
                "Your birthday is not known. Add it to your profile.",
            );
        };
        // The message does not repeat the text: a birthday is personal, and reasons appear in logs and lists.
        let Some(born) = Date::parse(&text) else {
            return Decision::not_yet(
                "birthday-not-a-date",
                "Your birthday must be a date, such as 1990-05-21.",
            );
        };
        let today = context.local.date;
        let this_year = celebrated(born, today.year);
        let (last, next) = if this_year <= today {
            (this_year, celebrated(born, today.year + 1))
        } else {
            (celebrated(born, today.year - 1), this_year)
        };
        if today.days_since(last) <= params.days.into() {
            return Decision::eligible().reason("happy-birthday", "Happy birthday!");
        }
        let ahead = u32::try_from(next.days_since(today)).unwrap_or_default();
        Decision::not_yet("not-your-birthday", "Come back on your birthday.").retry_at(context.start_of_day(ahead))
    }
}

/// The day of the celebration in this year.
fn celebrated(born: Date, year: i32) -> Date {
    Date::new(year, born.month, born.day).unwrap_or(Date {
        year,
        month: 2,
        day: 28,
    })
}

meed_plugin_sdk::export!(Birthday);

#[cfg(test)]
mod tests {
    use super::*;
    use meed_plugin_sdk::testing;

    /// The decision with seven days of grace.
    fn decide(now: &str, birthday: Option<&str>) -> Decision {
        let rule = testing::bind::<Birthday>(r#"{"days": 7}"#).unwrap();
        rule.decide(testing::context(now), birthday.map(str::to_owned))
    }

    fn code(now: &str, birthday: &str) -> String {
        decide(now, Some(birthday)).reasons[0].code.clone()
    }

    #[test]
    fn a_birthday_lasts_as_long_as_the_params_say() {
        for (now, expected) in [
            ("2026-05-20T23:59[Asia/Seoul]", "not-your-birthday"),
            ("2026-05-21T00:00[Asia/Seoul]", "happy-birthday"),
            ("2026-05-28T23:59[Asia/Seoul]", "happy-birthday"),
            ("2026-05-29T00:00[Asia/Seoul]", "not-your-birthday"),
        ] {
            assert_eq!(code(now, "1990-05-21"), expected, "{now}");
        }
    }

    #[test]
    fn a_birthday_in_december_lasts_into_january() {
        assert_eq!(code("2027-01-05T09:00[UTC]", "1990-12-30"), "happy-birthday");
        assert_eq!(code("2027-01-07T09:00[UTC]", "1990-12-30"), "not-your-birthday");
    }

    #[test]
    fn a_leap_day_birthday_is_celebrated_every_year() {
        assert_eq!(code("2026-02-27T09:00[UTC]", "2000-02-29"), "not-your-birthday");
        assert_eq!(code("2026-02-28T09:00[UTC]", "2000-02-29"), "happy-birthday");
        assert_eq!(code("2028-02-28T09:00[UTC]", "2000-02-29"), "not-your-birthday");
        assert_eq!(code("2028-02-29T09:00[UTC]", "2000-02-29"), "happy-birthday");
    }

    #[test]
    fn retry_at_is_the_next_birthday() {
        let next = Context::from(testing::context("2027-03-01T00:00[Asia/Seoul]")).now;
        let decision = decide("2026-03-20T18:30[Asia/Seoul]", Some("1990-03-01"));
        assert_eq!(decision.retry_at, Some(next.millis()));
    }

    #[test]
    fn an_invalid_date_is_not_a_failure() {
        assert_eq!(code("2026-05-21T09:00[UTC]", "21.05.1990"), "birthday-not-a-date");
        assert_eq!(code("2026-05-21T09:00[UTC]", "1990-02-30"), "birthday-not-a-date");
        let decision = decide("2026-05-21T09:00[UTC]", None);
        assert_eq!(decision.reasons[0].code, "birthday-missing");
    }
}
