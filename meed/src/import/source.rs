//! The lines of a file as JSON objects, with bounded memory: NDJSON as it is, CSV by its header.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;
use std::str::FromStr;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Map, Value};

use meed_host::body::{self, many::without_mark};

use super::lines::Lines;
use super::{Arguments, Format};

/// The largest line of NDJSON and the largest record of CSV.
const LIMIT: usize = body::LIMIT;
/// What the CSV reader may have read ahead.
const READ_AHEAD: usize = 64 << 10;

/// `MEMBER=COLUMN`
#[derive(Clone, Debug)]
pub(super) struct Column {
    member: String,
    column: String,
}

impl FromStr for Column {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((member, column)) if !member.is_empty() && !column.is_empty() => Ok(Self {
                member: member.to_owned(),
                column: column.to_owned(),
            }),
            _ => Err("use MEMBER=COLUMN, such as externalId=customer_no".to_owned()),
        }
    }
}

/// One item of the file.
pub(super) struct Line {
    /// Counted from 1; of a CSV record, its first line.
    pub(super) number: u64,
    /// A JSON object, or why the line is none.
    pub(super) json: Result<Vec<u8>, String>,
}

pub(super) enum Source {
    Ndjson {
        reader: Box<dyn BufRead>,
        number: u64,
    },
    Csv {
        reader: Box<csv::Reader<Bounded>>,
        left: Rc<Cell<usize>>,
        lines: Rc<RefCell<Lines>>,
        /// The member that each column is, if it is one.
        members: Vec<Option<String>>,
    },
}

impl Source {
    pub(super) fn open(arguments: &Arguments) -> anyhow::Result<Self> {
        let path = &arguments.file;
        let file: Box<dyn Read> = if path.as_os_str() == "-" {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(path).with_context(|| format!("open {}", path.display()))?)
        };
        let is_csv = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        let by_name = if is_csv { Format::Csv } else { Format::Ndjson };
        match arguments.format.unwrap_or(by_name) {
            Format::Ndjson => {
                ensure!(
                    arguments.map.is_empty(),
                    "--map is for CSV; the members of NDJSON have names"
                );
                Ok(Self::Ndjson {
                    reader: Box::new(BufReader::new(file)),
                    number: 0,
                })
            }
            Format::Csv => Self::csv(file, arguments),
        }
    }

    fn csv(file: Box<dyn Read>, arguments: &Arguments) -> anyhow::Result<Self> {
        let delimiter = u8::try_from(arguments.delimiter).context("--delimiter must be an ASCII character")?;
        let left = Rc::new(Cell::new(LIMIT + READ_AHEAD));
        let lines = Rc::<RefCell<Lines>>::default();
        let bounded = Bounded {
            inner: file,
            left: Rc::clone(&left),
            lines: Rc::clone(&lines),
        };
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .flexible(true)
            .buffer_capacity(READ_AHEAD)
            .from_reader(bounded);
        let header = reader.headers().context("read the header of the CSV file")?.clone();
        ensure!(
            !header.is_empty(),
            "the CSV file is empty; its first line must be a header"
        );
        let mut members: Vec<Option<String>> = vec![None; header.len()];
        if arguments.map.is_empty() {
            members = header.iter().map(|name| Some(name.trim().to_owned())).collect();
        }
        for Column { member, column } in &arguments.map {
            let mut places = (0..).zip(&header).filter(|(_, name)| name.trim() == column);
            let Some((index, _)) = places.next() else {
                let names: Vec<&str> = header.iter().collect();
                bail!("the CSV file has no column {column:?}; its header is {names:?}");
            };
            ensure!(
                places.next().is_none(),
                "the CSV file has two columns {column:?}; rename one in its header"
            );
            let before: &mut Option<String> = &mut members[index];
            ensure!(before.is_none(), "--map names the column {column:?} twice");
            *before = Some(member.clone());
        }
        let mut seen = HashSet::new();
        if let Some(member) = members.iter().flatten().find(|member| !seen.insert(*member)) {
            bail!("two columns are {member:?}; rename one in the header, or choose one with --map {member}=COLUMN");
        }
        Ok(Self::Csv {
            reader: Box::new(reader),
            left,
            lines,
            members,
        })
    }

    /// The next line that is not blank.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Line>> {
        match self {
            Self::Ndjson { reader, number } => next_line(reader, number),
            Self::Csv {
                reader,
                left,
                lines,
                members,
            } => {
                left.set(LIMIT + READ_AHEAD);
                let mut record = csv::ByteRecord::new();
                // The csv crate notes where the record before ended: blank lines and a line feed may follow.
                let before = reader.position().byte();
                let read = reader.read_byte_record(&mut record);
                let number = lines.borrow_mut().first_from(before);
                let more = read.with_context(|| format!("read the CSV record at line {number}"))?;
                Ok(more.then(|| Line {
                    number,
                    json: object(&record, members),
                }))
            }
        }
    }
}

fn next_line(reader: &mut Box<dyn BufRead>, number: &mut u64) -> anyhow::Result<Option<Line>> {
    loop {
        let mut bytes = Vec::new();
        let most = u64::try_from(LIMIT + 1)?;
        let read = reader.by_ref().take(most).read_until(b'\n', &mut bytes);
        if read.context("read the file")? == 0 {
            return Ok(None);
        }
        *number += 1;
        if bytes.len() > LIMIT && !bytes.ends_with(b"\n") {
            skip_line(reader)?;
            return Ok(Some(Line {
                number: *number,
                json: Err(format!("the line is longer than {LIMIT} bytes")),
            }));
        }
        let line: &[u8] = if *number == 1 { without_mark(&bytes) } else { &bytes };
        let line = line.trim_ascii();
        if !line.is_empty() {
            return Ok(Some(Line {
                number: *number,
                json: Ok(line.to_vec()),
            }));
        }
    }
}

fn skip_line(reader: &mut Box<dyn BufRead>) -> anyhow::Result<()> {
    loop {
        let buffer = reader.fill_buf().context("read the file")?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(buffer.len(), |end| end + 1);
        reader.consume(length);
        if end.is_some() {
            return Ok(());
        }
    }
}

/// The object of a CSV record. An empty cell is a member that is not there.
fn object(record: &csv::ByteRecord, members: &[Option<String>]) -> Result<Vec<u8>, String> {
    if record.len() != members.len() {
        return Err(format!(
            "has {} columns; the header has {}",
            record.len(),
            members.len()
        ));
    }
    let mut object = Map::new();
    for (cell, member) in record.iter().zip(members) {
        let Some(member) = member else { continue };
        let text = std::str::from_utf8(cell).map_err(|_| format!("{member} is not UTF-8"))?;
        if text.is_empty() {
            continue;
        }
        match member.split_once('.') {
            Some(("attributes", name)) => {
                let attributes = object.entry("attributes").or_insert_with(|| Value::Object(Map::new()));
                if let Some(attributes) = attributes.as_object_mut() {
                    attributes.insert(name.to_owned(), Value::from(text));
                }
            }
            _ => _ = object.insert(member.clone(), typed(member, text)?),
        }
    }
    serde_json::to_vec(&object).map_err(|error| error.to_string())
}

/// CSV has only texts; `amount` is a number.
fn typed(member: &str, text: &str) -> Result<Value, String> {
    if member != "amount" {
        return Ok(Value::from(text));
    }
    let number: i64 = text
        .trim()
        .parse()
        .map_err(|_| format!("amount is {text:?}, not an integer"))?;
    Ok(Value::from(number))
}

/// Fails when a record is too large, so that an unclosed quote does not read the whole file into memory.
pub(super) struct Bounded {
    inner: Box<dyn Read>,
    left: Rc<Cell<usize>>,
    lines: Rc<RefCell<Lines>>,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a record is longer than {LIMIT} bytes; is a quote not closed?"),
            ));
        }
        let most = left.min(buffer.len());
        let read = self.inner.read(&mut buffer[..most])?;
        self.left.set(left - read);
        self.lines.borrow_mut().note(&buffer[..read]);
        Ok(read)
    }
}
