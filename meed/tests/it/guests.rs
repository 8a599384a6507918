//! Conditions for tests: a valid one by default, whose answers and code can be replaced in parts.

#![expect(clippy::unwrap_used, reason = "a guest that cannot be made is a broken test")]

use std::fmt::Write as _;
use std::path::Path;

use meed_host::clock::Timestamp;
use meed_host::contract::{
    Arguments, Award, Awards, Binding, Decision, Filter, Issue, Outcome, Query, Reason, Selection, Subject, Window,
};
use wit_component::StringEncoding;
use wit_parser::Resolve;

/// The address of the answers in a guest's memory.
const BASE: usize = 1024;
const PAGE: usize = 64 << 10;

/// The keys of progress entries and their labels.
pub(crate) type Labels = Vec<(&'static str, String)>;

pub(crate) struct Manifest {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) labels: Labels,
    /// Language, title and labels; the description is "Description".
    pub(crate) translations: Vec<(&'static str, &'static str, Labels)>,
    pub(crate) params_schema: String,
}

/// The answers of a guest, and the WebAssembly text that it runs before it returns them.
pub(crate) struct Condition {
    pub(crate) manifest: Manifest,
    pub(crate) binding: Result<Binding, Vec<Issue>>,
    pub(crate) decision: Result<Decision, String>,
    pub(crate) imports: &'static str,
    pub(crate) items: String,
    pub(crate) realloc: &'static str,
    pub(crate) describe: &'static str,
    pub(crate) bind: &'static str,
    pub(crate) evaluate: &'static str,
    /// Pages of memory in addition to those for the answers.
    pub(crate) spare_pages: usize,
}

pub(crate) const IMPORT_NOTE: &str = r#"(import "meed:condition/log@1.0.0" "note" (func $note (param i32 i32)))"#;
pub(crate) const ENDLESS: &str = "(loop $again (br $again))";

impl Default for Condition {
    fn default() -> Self {
        Self {
            manifest: Manifest {
                name: "honest".to_owned(),
                version: "1.2.3".to_owned(),
                title: "Honest".to_owned(),
                description: "Answers what it was made to answer.".to_owned(),
                labels: Vec::new(),
                translations: Vec::new(),
                params_schema: r#"{"type":"object"}"#.to_owned(),
            },
            binding: Ok(Binding {
                queries: vec![Query::Streak(logins(Window::LastDays(7)))],
                state: vec![7],
            }),
            decision: Ok(Decision {
                outcome: Outcome::Eligible,
                reasons: vec![Reason {
                    code: "enough".to_owned(),
                    message: "You did it.".to_owned(),
                    args: Arguments::new(),
                }],
                progress: Vec::new(),
                awards: Awards::Chosen(vec![Award {
                    reward_id: "gold".to_owned(),
                    quantity: 1,
                }]),
                retry_at: None,
            }),
            imports: "",
            items: String::new(),
            realloc: "",
            describe: "",
            bind: "",
            evaluate: "",
            spare_pages: 1,
        }
    }
}

pub(crate) fn logins(window: Window) -> Selection {
    Selection {
        kind: "auth.login".to_owned(),
        subject: Subject::Claimant,
        window,
        filters: vec![Filter {
            attribute: "device".to_owned(),
            equals: "phone".to_owned(),
        }],
    }
}

impl Condition {
    /// A core module with embedded component metadata, like the output of a compiler with wit-bindgen.
    pub(crate) fn module(&self) -> Vec<u8> {
        with_metadata(&self.text())
    }

    pub(crate) fn component(&self) -> Vec<u8> {
        let module = self.module();
        wit_component::ComponentEncoder::default()
            .module(&module)
            .unwrap()
            .encode()
            .unwrap()
    }

    pub(crate) fn text(&self) -> String {
        let mut image = Image(Vec::new());
        let manifest = image.manifest(&self.manifest);
        let binding = image.binding(&self.binding);
        let decision = image.decision(&self.decision);
        let heap = (BASE + image.0.len()).next_multiple_of(PAGE);
        let template = include_str!("../guests/condition.wat");
        let numbers = [
            ("{pages}", heap / PAGE + self.spare_pages),
            ("{heap}", heap),
            ("{manifest}", manifest),
            ("{binding}", binding),
            ("{decision}", decision),
            ("{base}", BASE),
        ];
        let parts = [
            ("{imports}", self.imports),
            ("{items}", &self.items),
            ("{realloc}", self.realloc),
            ("{describe}", self.describe),
            ("{bind}", self.bind),
            ("{evaluate}", self.evaluate),
            ("{image}", &image.escaped()),
        ];
        let text = parts
            .into_iter()
            .fold(template.to_owned(), |text, (hole, part)| text.replace(hole, part));
        numbers
            .into_iter()
            .fold(text, |text, (hole, number)| text.replace(hole, &number.to_string()))
    }
}

/// Embeds the metadata of the condition world into a core module.
pub(crate) fn with_metadata(module: &str) -> Vec<u8> {
    with_metadata_in(module, StringEncoding::UTF8)
}

/// The same for a module that declares this string encoding.
pub(crate) fn with_metadata_in(module: &str, strings: StringEncoding) -> Vec<u8> {
    let mut module = wat::parse_str(module).unwrap_or_else(|error| panic!("{error}"));
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin-sdk/wit/v1");
    let (package, _) = resolve.push_dir(wit).unwrap();
    let world = resolve.select_world(&[package], Some("condition")).unwrap();
    wit_component::embed_component_metadata(&mut module, &resolve, world, strings).unwrap();
    module
}

/// A guest's memory from `BASE`, with records in the layout of the canonical ABI. Every function returns the
/// address of what it placed.
struct Image(Vec<u8>);

impl Image {
    fn place(&mut self, bytes: &[u8]) -> usize {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        self.0.extend_from_slice(bytes);
        BASE + self.0.len() - bytes.len()
    }

    /// Pointer and length, the layout of a string or a list.
    fn span(&mut self, bytes: &[u8], items: usize) -> [u8; 8] {
        let mut span = [0; 8];
        span[..4].copy_from_slice(&u32::try_from(self.place(bytes)).unwrap().to_le_bytes());
        span[4..].copy_from_slice(&u32::try_from(items).unwrap().to_le_bytes());
        span
    }

    fn text(&mut self, text: &str) -> [u8; 8] {
        self.span(text.as_bytes(), text.len())
    }

    fn list<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T) -> Vec<u8>) -> [u8; 8] {
        let bytes: Vec<u8> = items.iter().flat_map(|value| item(self, value)).collect();
        self.span(&bytes, items.len())
    }

    fn manifest(&mut self, manifest: &Manifest) -> usize {
        let Manifest {
            name,
            version,
            title,
            description,
            labels,
            translations,
            params_schema,
        } = manifest;
        let mut record = [name, version, title, description].map(|text| self.text(text)).concat();
        record.extend(self.labels(labels));
        record.extend(self.list(translations, |image, (language, title, labels)| {
            let texts = [language, title, "Description"].map(|text| image.text(text));
            [texts.concat(), image.labels(labels).to_vec()].concat()
        }));
        record.extend(self.text(params_schema));
        self.place(&record)
    }

    fn labels(&mut self, labels: &[(&str, String)]) -> [u8; 8] {
        self.list(labels, |image, (key, text)| {
            [image.text(key), image.text(text)].concat()
        })
    }

    fn binding(&mut self, binding: &Result<Binding, Vec<Issue>>) -> usize {
        let record = match binding {
            Ok(binding) => {
                let queries = self.list(&binding.queries, Self::query);
                let state = self.span(&binding.state, binding.state.len());
                [&[0, 0, 0, 0], &queries[..], &state[..]].concat()
            }
            Err(issues) => {
                let issues = self.list(issues, |image, issue| {
                    [image.text(&issue.path), image.text(&issue.message)].concat()
                });
                [&[1, 0, 0, 0], &issues[..], &[0; 8]].concat()
            }
        };
        self.place(&record)
    }

    /// Discriminant in 8 bytes, then the largest payload: a selection, 40 bytes.
    fn query(&mut self, query: &Query) -> Vec<u8> {
        let (case, payload) = match query {
            Query::Count(of) => (0, self.selection(of)),
            Query::Sum(of) => (1, self.selection(of)),
            Query::DistinctDays(of) => (2, self.selection(of)),
            Query::Streak(of) => (3, self.selection(of)),
            Query::First(of) => (4, self.selection(of)),
            Query::Last(of) => (5, self.selection(of)),
            Query::Attribute(name) => (6, self.text(name).to_vec()),
            Query::Grants => (7, Vec::new()),
        };
        let mut record = vec![case, 0, 0, 0, 0, 0, 0, 0];
        record.extend(payload);
        record.resize(48, 0);
        record
    }

    fn selection(&mut self, selection: &Selection) -> Vec<u8> {
        let mut record = self.text(&selection.kind).to_vec();
        record.extend([u8::from(selection.subject == Subject::Invitees), 0, 0, 0, 0, 0, 0, 0]);
        let (case, payload) = match selection.window {
            Window::EventPeriod => (0, 0),
            Window::AllTime => (1, 0),
            Window::LastDays(days) => (2, i64::from(days)),
            Window::Since(instant) => (3, instant.as_millis()),
        };
        record.extend([case, 0, 0, 0, 0, 0, 0, 0]);
        record.extend(payload.to_le_bytes());
        let filters = self.list(&selection.filters, |image, filter| {
            [image.text(&filter.attribute), image.text(&filter.equals)].concat()
        });
        record.extend(filters);
        record
    }

    fn decision(&mut self, decision: &Result<Decision, String>) -> usize {
        let mut record = Vec::new();
        match decision {
            Ok(decision) => {
                let outcome = match decision.outcome {
                    Outcome::Eligible => 0,
                    Outcome::NotEligible => 1,
                    Outcome::NeedsReview => 2,
                };
                record.extend([0, 0, 0, 0, 0, 0, 0, 0, outcome, 0, 0, 0]);
                record.extend(self.list(&decision.reasons, |image, reason| {
                    let args: Vec<_> = reason.args.iter().collect();
                    let args = image.list(&args, |image, (name, value)| {
                        [image.text(name), image.text(value)].concat()
                    });
                    [image.text(&reason.code), image.text(&reason.message), args].concat()
                }));
                record.extend(self.list(&decision.progress, |image, progress| {
                    [
                        image.text(&progress.key),
                        progress.current.to_le_bytes(),
                        progress.target.to_le_bytes(),
                    ]
                    .concat()
                }));
                let (case, awards) = match &decision.awards {
                    Awards::All => (0, [0; 8]),
                    Awards::Chosen(awards) => (
                        1,
                        self.list(awards, |image, award| {
                            [&image.text(&award.reward_id)[..], &award.quantity.to_le_bytes()].concat()
                        }),
                    ),
                };
                record.extend([case, 0, 0, 0]);
                record.extend(awards);
                record.extend([u8::from(decision.retry_at.is_some()), 0, 0, 0, 0, 0, 0, 0]);
                record.extend(decision.retry_at.map_or(0, Timestamp::as_millis).to_le_bytes());
            }
            Err(message) => {
                record.extend([1, 0, 0, 0, 0, 0, 0, 0]);
                record.extend(self.text(message));
                record.resize(56, 0);
            }
        }
        self.place(&record)
    }

    fn escaped(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "\\{byte:02x}");
            text
        })
    }
}
