//! Calendar arithmetic for rules. The type `Date` is the contract's. This module knows no time zones: the server has
//! already determined the local date.

use crate::{Date, Params};
use std::cmp::Ordering;
use std::fmt;

/// A day of the week. As a param it is written `"monday"` to `"sunday"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Params)]
pub enum Weekday {
    /// The first day of the week, also where `WEEKLY` recurrence begins.
    Monday,
    /// The second day.
    Tuesday,
    /// The third day.
    Wednesday,
    /// The fourth day.
    Thursday,
    /// The fifth day.
    Friday,
    /// The sixth day.
    Saturday,
    /// The seventh day.
    Sunday,
}

impl Weekday {
    const ALL: [Self; 7] = [
        Self::Monday,
        Self::Tuesday,
        Self::Wednesday,
        Self::Thursday,
        Self::Friday,
        Self::Saturday,
        Self::Sunday,
    ];

    /// How many days from this day to the next `day`, 0 to 6: 0 when it is the same.
    pub fn days_until(self, day: Self) -> u32 {
        (day as u32 + 7 - self as u32) % 7
    }
}

impl fmt::Display for Weekday {
    /// Its English name.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Monday => "Monday",
            Self::Tuesday => "Tuesday",
            Self::Wednesday => "Wednesday",
            Self::Thursday => "Thursday",
            Self::Friday => "Friday",
            Self::Saturday => "Saturday",
            Self::Sunday => "Sunday",
        })
    }
}

impl Date {
    /// A day of the calendar; `None` when there is no such day, e.g. February 29 in 2026.
    pub fn new(year: i32, month: u8, day: u8) -> Option<Self> {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        (1..=days).contains(&day).then_some(Self { year, month, day })
    }

    /// Parses only the format `2026-03-02`, in which a user's attribute should contain a date.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.as_bytes().split(|byte| *byte == b'-');
        let mut number = |length| {
            let digits = parts.next().filter(|digits| digits.len() == length)?;
            digits.iter().try_fold(0u16, |number, digit| {
                digit.is_ascii_digit().then(|| number * 10 + u16::from(digit - b'0'))
            })
        };
        let (year, month, day) = (number(4)?, number(2)?, number(2)?);
        if parts.next().is_some() {
            return None;
        }
        Self::new(year.into(), u8::try_from(month).ok()?, u8::try_from(day).ok()?)
    }

    /// Its day of the week.
    pub fn weekday(self) -> Weekday {
        // 1970-01-01 was a Thursday.
        let index = (self.number() + 3).rem_euclid(7);
        Weekday::ALL[usize::try_from(index).unwrap_or_default()]
    }

    /// How many days this one is after `earlier`; negative when it is before it.
    pub fn days_since(self, earlier: Self) -> i64 {
        self.number() - earlier.number()
    }

    /// Days since 1970-01-01. Years are counted from March, so that the leap day is a year's last.
    pub(crate) fn number(self) -> i64 {
        let (year, month) = match self.month {
            1 | 2 => (i64::from(self.year) - 1, i64::from(self.month) + 9),
            _ => (i64::from(self.year), i64::from(self.month) - 3),
        };
        let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
        let day_of_year = (153 * month + 2) / 5 + i64::from(self.day) - 1;
        year * 365 + leap_days + day_of_year - 719_468
    }
}

impl Eq for Date {}

impl Ord for Date {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.year, self.month, self.day).cmp(&(other.year, other.month, other.day))
    }
}

impl PartialOrd for Date {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> Date {
        Date::parse(text).unwrap_or_else(|| panic!("{text} is no date"))
    }

    #[test]
    fn every_day_of_four_centuries_equals_the_one_of_jiff() {
        let mut day = jiff::civil::date(1799, 12, 31);
        let mut before = date(&day.to_string());
        while day.year() < 2201 {
            day = day.tomorrow().unwrap();
            let ours = date(&day.to_string());
            assert_eq!(ours.weekday() as i8, day.weekday().to_monday_zero_offset(), "{day}");
            assert_eq!(ours.days_since(before), 1, "{day}");
            assert_eq!(before.days_since(ours), -1, "{day}");
            assert!(before < ours, "{day}");
            before = ours;
        }
        assert_eq!(date("1970-01-01").days_since(date("0000-02-29")), 719_469);
    }

    #[test]
    fn invalid_days_are_not_dates() {
        for text in [
            "2026-02-29",
            "1900-02-29",
            "2026-04-31",
            "2026-13-01",
            "2026-00-01",
            "2026-01-00",
            "2026-1-1",
            "02.03.2026",
            "2026-03-02T00:00:00Z",
            "+026-03-02",
            "2026-03-02-",
            "2026-03",
            "",
        ] {
            assert_eq!(Date::parse(text), None, "{text}");
        }
        for text in ["2024-02-29", "2000-02-29", "2026-12-31", "0000-01-01"] {
            assert!(Date::parse(text).is_some(), "{text}");
        }
    }

    #[test]
    fn weekdays_wrap_around() {
        assert_eq!(Weekday::Friday.days_until(Weekday::Friday), 0);
        assert_eq!(Weekday::Friday.days_until(Weekday::Saturday), 1);
        assert_eq!(Weekday::Sunday.days_until(Weekday::Saturday), 6);
        assert_eq!(date("2026-03-02").weekday().to_string(), "Monday");
    }
}
