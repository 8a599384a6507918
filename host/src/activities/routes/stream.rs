//! NDJSON of any length over HTTP: lines are recorded in parts as they arrive, and the response has one line per part.
//!
//! Memory is bounded by the size of a part. The response begins before the body ends.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use tokio::time::{Instant, timeout};
use tokio_util::codec::{AnyDelimiterCodec, AnyDelimiterCodecError, FramedRead};
use tokio_util::io::StreamReader;
use utoipa::ToSchema;

use crate::activities::batch::{Line, MAX_BATCH};
use crate::activities::calls::{IDLE, MAX_DURATION, MAX_STREAM_ERRORS};
use crate::activities::open_streams::StreamPermit;
use crate::activities::service::{ActivityService, ItemOutcome};
use crate::auth::{LongLived, Principal};
use crate::body::many::without_mark;
use crate::http::prefer;
use crate::problem::{BODY_TIMEOUT, BODY_TOO_LARGE, FieldError, INVALID_PARAMETER, MALFORMED_JSON, Problem, TIMED_OUT};

const NDJSON: &str = "application/x-ndjson";
/// The longest line.
const MAX_LINE_BYTES: usize = 256 << 10;
/// A part has at most so many bytes, unless one line has more.
const MAX_PART_BYTES: usize = 1 << 20;
/// More lines than anyone has, and far from where counting overflows.
const MAX_FIRST_LINE: u64 = 1_000_000_000_000;
/// A part is recorded if no line follows for so long.
const PAUSE: Duration = Duration::from_millis(500);

/// Whether the route reads the body of this request as it arrives.
pub fn is_streamed(parts: &Parts) -> bool {
    parts.method == Method::POST && parts.uri.path() == "/activities" && is_lenient(&parts.headers)
}

/// NDJSON with `Prefer: handling=lenient`.
pub(super) fn is_lenient(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|text| text.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(NDJSON) && wants_lenience(headers)
}

/// `Prefer: handling=lenient` (RFC 7240).
pub(super) fn wants_lenience(headers: &HeaderMap) -> bool {
    prefer::has_value(headers, "handling", "lenient")
}

/// Answers while it records the lines of a body. `first_line`: the number of the first one in the client's file.
pub(super) fn record(
    service: ActivityService,
    (by, long_lived): (Principal, LongLived),
    body: Body,
    first_line: Option<u64>,
) -> Result<Response, Problem> {
    let first_line = checked(first_line)?;
    let permit = service.open_stream(&by, long_lived)?;
    Ok(Ingestion::new(service, by, body, first_line).into_response(permit))
}

fn checked(first_line: Option<u64>) -> Result<u64, Problem> {
    let first_line = first_line.unwrap_or(1);
    if !(1..=MAX_FIRST_LINE).contains(&first_line) {
        let detail = format!("firstLine is {first_line}; send 1 to {MAX_FIRST_LINE}.");
        return Err(Problem::new(INVALID_PARAMETER, detail));
    }
    Ok(first_line)
}

/// One line of the response. The numbers count from the beginning of the body.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = IngestionProgress)]
pub(super) struct Progress {
    /// The lines up to this one are dealt with. After an interruption, send the lines that follow it
    #[schema(example = 2000)]
    through: u64,
    #[schema(example = 1990)]
    recorded: u64,
    #[schema(example = 8)]
    duplicates: u64,
    #[schema(example = 2)]
    rejected: u64,
    /// What is wrong with the rejected lines of this part; of the first 1000 errors of the body
    errors: Vec<LineError>,
    /// Whether this is the end of the body
    done: bool,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LineError {
    #[schema(example = 1203)]
    line: u64,
    #[schema(example = "/kind")]
    pointer: String,
    message: String,
}

/// The last line of a response that ends before its body does.
#[derive(Serialize)]
struct Interrupted {
    through: u64,
    code: &'static str,
    detail: String,
}

type Lines = FramedRead<StreamReader<BoxStream<'static, std::io::Result<Bytes>>, Bytes>, AnyDelimiterCodec>;

/// Records part after part, and counts.
struct Recorder {
    service: ActivityService,
    by: Principal,
    progress: Progress,
    told_errors: u64,
}

/// A body that is being recorded.
struct Ingestion {
    recorder: Recorder,
    lines: Lines,
    /// Of the last line that was read.
    line: u64,
    has_begun: bool,
    ends_at: Instant,
    is_over: bool,
    /// The body broke off after the lines of the last part.
    broken: Option<Problem>,
}

/// Lines that are recorded together, with their numbers.
#[derive(Default)]
struct Part {
    lines: Vec<(u64, Bytes)>,
    bytes: usize,
    is_last: bool,
}

/// Records the valid items of a batch, and returns the response. `items` begin with the number `first`.
pub(super) async fn record_batch(
    service: ActivityService,
    by: Principal,
    (form, items): (Line, Vec<Bytes>),
    first: Option<u64>,
) -> Result<Response, Problem> {
    let first = checked(first)?;
    let through = first - 1 + items.len() as u64;
    let items = (first..).zip(items).map(|(number, item)| (number, form, item));
    let mut recorder = Recorder::new(service, by, first - 1);
    recorder.record(items, through).await?;
    recorder.progress.done = true;
    let mut line = serde_json::to_vec(&recorder.progress).map_err(Problem::internal)?;
    line.push(b'\n');
    Ok(([(header::CONTENT_TYPE, NDJSON)], line).into_response())
}

impl Recorder {
    fn new(service: ActivityService, by: Principal, through: u64) -> Self {
        let progress = Progress {
            through,
            ..Progress::default()
        };
        Self {
            service,
            by,
            progress,
            told_errors: 0,
        }
    }

    /// Records the valid ones of these lines, the last of which is `through`.
    async fn record(&mut self, part: impl Iterator<Item = (u64, Line, Bytes)>, through: u64) -> Result<(), Problem> {
        self.progress.errors.clear();
        let (mut lines, mut activities) = (Vec::new(), Vec::new());
        for (number, line, bytes) in part {
            match line.parse(&bytes) {
                Ok(activity) => {
                    lines.push((number, line));
                    activities.push(activity);
                }
                Err(error) => self.reject(number, error),
            }
        }
        let outcomes = self
            .service
            .record_leniently(activities, &self.by)
            .await
            .map_err(Problem::from)?;
        for ((number, line), outcome) in lines.into_iter().zip(outcomes) {
            match outcome {
                Ok(ItemOutcome::Recorded) => self.progress.recorded += 1,
                Ok(ItemOutcome::Duplicate) => self.progress.duplicates += 1,
                Err((field, message)) => self.reject(
                    number,
                    FieldError {
                        pointer: line.pointer(field),
                        message,
                    },
                ),
            }
        }
        self.progress.errors.sort_by_key(|error| error.line);
        self.progress.through = through;
        Ok(())
    }

    fn reject(&mut self, line: u64, error: FieldError) {
        self.progress.rejected += 1;
        if self.told_errors < MAX_STREAM_ERRORS {
            self.told_errors += 1;
            let FieldError { pointer, message } = error;
            self.progress.errors.push(LineError { line, pointer, message });
        }
    }
}

impl Ingestion {
    /// `first_line`: the number of the first line of the body, in the client's file.
    fn new(service: ActivityService, by: Principal, body: Body, first_line: u64) -> Self {
        let pieces = body.into_data_stream().map_err(std::io::Error::other).boxed();
        let codec = AnyDelimiterCodec::new_with_max_length(b"\n".to_vec(), b"\n".to_vec(), MAX_LINE_BYTES);
        Self {
            recorder: Recorder::new(service, by, first_line - 1),
            lines: FramedRead::new(StreamReader::new(pieces), codec),
            line: first_line - 1,
            has_begun: false,
            ends_at: Instant::now() + MAX_DURATION,
            is_over: false,
            broken: None,
        }
    }

    fn into_response(self, permit: StreamPermit) -> Response {
        let lines = stream::unfold((self, permit), |(mut ingestion, permit)| async move {
            if ingestion.is_over {
                return None;
            }
            let line = ingestion.step(&permit).await;
            Some((Ok::<_, std::convert::Infallible>(line), (ingestion, permit)))
        });
        ([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response()
    }

    /// Records the next part, and returns the line of the response.
    async fn step(&mut self, permit: &StreamPermit) -> Bytes {
        let result = match self.record_part(permit).await {
            Ok(()) => serde_json::to_vec(&self.recorder.progress),
            Err(problem) => {
                self.is_over = true;
                serde_json::to_vec(&Interrupted {
                    through: self.recorder.progress.through,
                    code: problem.code().code,
                    detail: problem.to_line(),
                })
            }
        };
        let mut line = result.unwrap_or_else(|error| {
            tracing::error!(%error, "a line of a response was not serialized");
            b"{}".to_vec()
        });
        line.push(b'\n');
        line.into()
    }

    async fn record_part(&mut self, permit: &StreamPermit) -> Result<(), Problem> {
        let part = permit.while_valid(self.next_part()).await??;
        let lines = part.lines.into_iter();
        let lines = lines.map(|(number, bytes)| (number, Line::of(&bytes), bytes));
        self.recorder.record(lines, self.line).await?;
        self.recorder.progress.done = part.is_last;
        self.is_over = part.is_last;
        Ok(())
    }

    /// The lines until the part is full, the client pauses, or the body ends.
    async fn next_part(&mut self) -> Result<Part, Problem> {
        let mut part = Part::default();
        if let Some(problem) = self.broken.take() {
            return Err(problem);
        }
        if self.ends_at <= Instant::now() {
            let minutes = MAX_DURATION.as_secs() / 60;
            return Err(Problem::new(
                TIMED_OUT,
                format!(
                    "The body took more than {minutes} minutes; send the lines after {} again.",
                    self.line
                ),
            ));
        }
        while part.lines.len() < MAX_BATCH && part.bytes < MAX_PART_BYTES {
            let patience = if part.lines.is_empty() { IDLE } else { PAUSE };
            match timeout(patience, self.lines.next()).await {
                Err(_) if part.lines.is_empty() => {
                    return Err(Problem::new(
                        BODY_TIMEOUT,
                        format!("No line arrived within {} seconds.", IDLE.as_secs()),
                    ));
                }
                Err(_) => return Ok(part),
                Ok(None) => {
                    part.is_last = true;
                    return Ok(part);
                }
                Ok(Some(Ok(mut line))) => {
                    if !self.has_begun {
                        self.has_begun = true;
                        line = line.slice(line.len() - without_mark(&line).len()..);
                    }
                    self.line += 1;
                    part.bytes += line.len();
                    if !line.trim_ascii().is_empty() {
                        part.lines.push((self.line, line));
                    }
                }
                Ok(Some(Err(error))) => {
                    let problem = unreadable(self.line + 1, &error);
                    if part.lines.is_empty() {
                        return Err(problem);
                    }
                    // After the lines before it.
                    self.broken = Some(problem);
                    return Ok(part);
                }
            }
        }
        Ok(part)
    }
}

fn unreadable(line: u64, error: &AnyDelimiterCodecError) -> Problem {
    match error {
        AnyDelimiterCodecError::MaxChunkLengthExceeded => Problem::new(
            BODY_TOO_LARGE,
            format!(
                "Line {line} has more than {MAX_LINE_BYTES} bytes; make it shorter and send the lines from it again."
            ),
        ),
        AnyDelimiterCodecError::Io(error) => Problem::new(
            MALFORMED_JSON,
            format!("The body could not be read after line {}: {error}.", line - 1),
        ),
    }
}
