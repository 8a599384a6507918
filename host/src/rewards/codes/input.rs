//! The codes of an import: NDJSON, CSV with a column `code`, or one code per line.
//!
//! Must not know: HTTP, the database.

use serde::Deserialize;

use super::RewardCode;
use crate::body::parse_object;
use crate::problem::{FieldError, Problem};

/// Codes of one import.
pub(in crate::rewards) const MAX_CODES: usize = 100_000;
/// Faulty lines that a refusal names.
const NAMED_FAULTS: usize = 20;

/// The form of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rewards) enum Form {
    Ndjson,
    Csv,
    Lines,
}

impl Form {
    /// Every form by its media type.
    pub(in crate::rewards) const ALL: [(&'static str, Self); 3] = [
        ("application/x-ndjson", Self::Ndjson),
        ("text/csv", Self::Csv),
        ("text/plain", Self::Lines),
    ];
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    code: String,
}

/// The number of a line, and its code or its fault.
type NumberedLine = (usize, Result<String, String>);

/// The codes, or the faulty lines by their numbers. Blank lines do not count. A refusal never repeats a code.
pub(in crate::rewards) fn parse(form: Form, body: &[u8]) -> Result<Vec<RewardCode>, Problem> {
    let text = std::str::from_utf8(body).map_err(|_| Problem::field("", "must be UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = match form {
        Form::Csv => csv(text)?,
        Form::Lines => lines(text)
            .map(|(number, line)| (number, Ok(line.to_owned())))
            .collect(),
        Form::Ndjson => lines(text).map(|(number, line)| (number, json(line))).collect(),
    };
    if lines.len() > MAX_CODES {
        let message = format!(
            "has {} codes, and an import has at most {MAX_CODES}; send several",
            lines.len()
        );
        return Err(Problem::field("", message));
    }
    let (mut codes, mut faults) = (Vec::with_capacity(lines.len()), Vec::new());
    for (number, line) in lines {
        match line.and_then(RewardCode::try_from) {
            Ok(code) => codes.push(code),
            Err(message) if faults.len() < NAMED_FAULTS => faults.push(FieldError {
                pointer: format!("/{number}"),
                message,
            }),
            Err(_) => {}
        }
    }
    if !faults.is_empty() {
        return Err(Problem::fields(faults));
    }
    if codes.is_empty() {
        return Err(Problem::field("", "has no codes"));
    }
    Ok(codes)
}

/// The lines that are not blank, by their numbers from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().map(str::trim).zip(1..);
    lines
        .filter(|(line, _)| !line.is_empty())
        .map(|(line, number)| (number, line))
}

fn json(line: &str) -> Result<String, String> {
    let line = parse_object::<Line>(line.as_bytes());
    // The fault's own text may repeat a part of the line.
    line.map(|line| line.code)
        .map_err(|_| "is not an object like {\"code\": \"SUMMER-7K2M\"}".to_owned())
}

fn csv(text: &str) -> Result<Vec<NumberedLine>, Problem> {
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let headers = reader
        .headers()
        .map_err(|_| Problem::field("/1", "is not a line of CSV"))?;
    let Some(column) = headers.iter().position(|name| name.eq_ignore_ascii_case("code")) else {
        return Err(Problem::field("/1", "is the header and must name a column \"code\""));
    };
    let mut lines = Vec::new();
    for record in reader.into_records() {
        lines.push(match record {
            Ok(record) => {
                let number = record.position().map_or(0, csv::Position::line);
                let code = record.get(column).unwrap_or_default().to_owned();
                (usize::try_from(number).unwrap_or_default(), Ok(code))
            }
            Err(error) => {
                let number = error.position().map_or(0, csv::Position::line);
                let message = "is not a line of CSV".to_owned();
                (usize::try_from(number).unwrap_or_default(), Err(message))
            }
        });
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(form: Form, body: &str) -> Vec<String> {
        let codes = parse(form, body.as_bytes()).unwrap();
        codes.iter().map(|code| code.as_str().to_owned()).collect()
    }

    fn faults(form: Form, body: &str) -> Vec<String> {
        let problem = parse(form, body.as_bytes()).unwrap_err();
        problem.errors().iter().map(|error| error.pointer.clone()).collect()
    }

    #[test]
    fn the_three_forms_have_the_same_codes() {
        let expected = ["A-1", "B,2", "\u{c4}3"];
        assert_eq!(parsed(Form::Lines, "A-1\r\n\nB,2\n  \u{c4}3"), expected);
        assert_eq!(
            parsed(
                Form::Ndjson,
                "{\"code\": \"A-1\"}\n{\"code\":\"B,2\"}\n\n{\"code\":\"\\u00c43\"}"
            ),
            expected
        );
        assert_eq!(
            parsed(Form::Csv, "\u{feff}note,Code\nx, A-1\n\"a\nb\",\"B,2\"\ny,\u{c4}3\n"),
            expected
        );
    }

    #[test]
    fn faulty_lines_are_named_by_number_and_never_repeated() {
        let long = "x".repeat(129);
        assert_eq!(
            faults(Form::Lines, &format!("A\n{long}\nB\nC D\nE\u{200b}")),
            ["/2", "/4", "/5"]
        );
        assert_eq!(
            faults(
                Form::Ndjson,
                "{\"code\":\"A\"}\n[\"B\"]\n{\"code\":7}\n{\"code\":\"C\",\"x\":1}\n{\"code\":\"\"}"
            ),
            ["/2", "/3", "/4", "/5"]
        );
        assert_eq!(faults(Form::Csv, "code,note\nA,1\n,2\n"), ["/3"]);
        assert_eq!(faults(Form::Csv, "codes\nA\n"), ["/1"]);
        for form in [Form::Lines, Form::Ndjson, Form::Csv] {
            let problem = format!("{:?}", parse(form, b"code\nSECRET CODE\nSECRET\x07\n").unwrap_err());
            assert!(!problem.contains("SECRET"), "{problem}");
        }
        assert_eq!(faults(Form::Lines, " \n"), [""]);
        assert_eq!(faults(Form::Lines, &"x y\n".repeat(50)).len(), NAMED_FAULTS);
    }

    #[test]
    fn an_import_is_bounded() {
        assert_eq!(parsed(Form::Lines, &"x\n".repeat(MAX_CODES)).len(), MAX_CODES);
        assert_eq!(faults(Form::Lines, &"x\n".repeat(MAX_CODES + 1)), [""]);
        assert!(parse(Form::Lines, b"\xff").is_err());
    }
}
