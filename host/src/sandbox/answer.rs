//! Checks that a plugin's answer keeps the contract, so that the rest of the host can rely on it.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use super::limits::CallLimits;
use super::params;
use super::run::Failure;
use crate::contract::{Awards, Binding, Context, Decision, Issue, MAX_INTEGER, Manifest, Reason, Texts};
use crate::text::deceptive;

const ENTRIES: usize = 32;
/// Arguments of one reason.
const ARGUMENTS: usize = 16;
/// All labels and translations of a manifest together, in bytes of text.
const TEXTS_BYTES: usize = 64 << 10;
const NAME_BYTES: usize = 64;
const TITLE_BYTES: usize = 200;
const MESSAGE_BYTES: usize = 1024;

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
const PATTERNS: usize = 64;

type Check = Result<(), Failure>;

macro_rules! require {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err(Failure::Malformed(format!($($message)+)));
        }
    };
}

pub(super) fn check_manifest(manifest: &Manifest, limits: &CallLimits) -> Check {
    require!(
        is_kebab(&manifest.name),
        "name {:?} must be kebab-case, at most {NAME_BYTES} bytes",
        short(&manifest.name)
    );
    require!(
        manifest.version.len() <= NAME_BYTES && semver::Version::parse(&manifest.version).is_ok(),
        "version {:?} must be semver 2.0.0, such as 1.0.0",
        short(&manifest.version)
    );
    check_about(&manifest.title, &manifest.description)?;
    check_texts(&manifest.texts)?;
    check_schema(&manifest.params_schema, limits)
}

fn check_about(title: &str, description: &str) -> Check {
    require!(!title.trim().is_empty(), "title must not be empty");
    text("title", title, TITLE_BYTES)?;
    text("description", description, MESSAGE_BYTES)
}

fn check_texts(texts: &Texts) -> Check {
    check_labels(&texts.labels)?;
    count("translations", texts.translations.len(), ENTRIES)?;
    let mut bytes = label_bytes(&texts.labels);
    let mut seen = HashSet::new();
    for (language, translation) in &texts.translations {
        require!(
            is_language(language),
            "language {:?} must be a BCP 47 tag, such as ko or pt-BR",
            short(language)
        );
        require!(
            seen.insert(language.to_ascii_lowercase()),
            "language {language:?} is there twice"
        );
        check_about(&translation.title, &translation.description)?;
        check_labels(&translation.labels)?;
        bytes += translation.title.len() + translation.description.len() + label_bytes(&translation.labels);
    }
    require!(
        bytes <= TEXTS_BYTES,
        "labels and translations have {bytes} bytes of text, the limit is {TEXTS_BYTES}"
    );
    Ok(())
}

fn check_labels(labels: &BTreeMap<String, String>) -> Check {
    count("labels", labels.len(), ENTRIES)?;
    labels.iter().try_for_each(|(key, label)| {
        name("label key", key)?;
        text("label", label, TITLE_BYTES)
    })
}

fn label_bytes(labels: &BTreeMap<String, String>) -> usize {
    labels.iter().map(|(key, label)| key.len() + label.len()).sum()
}

/// The form of a BCP 47 tag: a language of 2 to 8 letters, then subtags of 1 to 8 letters or digits; at most 35 bytes.
fn is_language(tag: &str) -> bool {
    let mut subtags = tag.split('-');
    let language = subtags.next().unwrap_or_default();
    tag.len() <= 35
        && (2..=8).contains(&language.len())
        && language.bytes().all(|byte| byte.is_ascii_alphabetic())
        && subtags
            .all(|subtag| (1..=8).contains(&subtag.len()) && subtag.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

fn check_schema(schema: &Value, limits: &CallLimits) -> Check {
    let text = schema.to_string();
    require!(
        text.len() <= limits.schema_bytes,
        "params-schema has {} bytes, the limit is {}",
        text.len(),
        limits.schema_bytes
    );
    // PostgreSQL stores no NUL, not even an escaped one.
    require!(!text.contains("\\u0000"), "params-schema must not contain NUL");
    require!(
        schema.get("type") == Some(&Value::from("object")),
        "params-schema must say \"type\": \"object\" at its top level"
    );
    if let Some(dialect) = schema.get("$schema") {
        require!(
            dialect.as_str().is_some_and(|uri| uri.trim_end_matches('#') == DIALECT),
            "params-schema must be JSON Schema 2020-12, not {}",
            short(&dialect.to_string())
        );
    }
    count("patterns in params-schema", patterns(schema), PATTERNS)?;
    params::validator(schema)
        .map(drop)
        .map_err(|fault| Failure::Malformed(format!("params-schema: {fault}")))
}

/// How many regular expressions a schema makes its reader compile.
fn patterns(schema: &Value) -> usize {
    match schema {
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| {
                let here = match key.as_str() {
                    "pattern" => 1,
                    "patternProperties" => value.as_object().map_or(0, serde_json::Map::len),
                    _ => 0,
                };
                here + patterns(value)
            })
            .sum(),
        Value::Array(items) => items.iter().map(patterns).sum(),
        _ => 0,
    }
}

/// Checks only the size. The host decides elsewhere which queries are allowed (`facts/plan.rs`).
pub(super) fn check_binding(binding: &Binding, limits: &CallLimits) -> Check {
    require!(
        binding.state.len() <= limits.state_bytes,
        "state has {} bytes, the limit is {}",
        binding.state.len(),
        limits.state_bytes
    );
    Ok(())
}

pub(super) fn check_issues(issues: &[Issue]) -> Check {
    require!(!issues.is_empty(), "params were refused without an issue");
    count("issues", issues.len(), ENTRIES)?;
    issues.iter().try_for_each(|issue| {
        require!(
            issue.path.is_empty() || issue.path.starts_with('/'),
            "issue path {:?} is not a JSON Pointer",
            short(&issue.path)
        );
        text("issue path", &issue.path, MESSAGE_BYTES)?;
        text("issue message", &issue.message, MESSAGE_BYTES)
    })
}

pub(super) fn check_decision(decision: &Decision, context: &Context, limits: &CallLimits) -> Check {
    let mut bytes = 0;
    count("reasons", decision.reasons.len(), ENTRIES)?;
    for reason in &decision.reasons {
        bytes += check_reason(reason)?;
    }
    count("progress entries", decision.progress.len(), ENTRIES)?;
    for progress in &decision.progress {
        name("progress key", &progress.key)?;
        for value in [progress.current, progress.target] {
            require!(
                (-MAX_INTEGER..=MAX_INTEGER).contains(&value),
                "progress {} of {:?} is beyond 2^53 - 1",
                value,
                progress.key
            );
        }
        bytes += progress.key.len();
    }
    if let Awards::Chosen(awards) = &decision.awards {
        count("awards", awards.len(), ENTRIES)?;
        let mut seen = HashSet::new();
        for award in awards {
            let id = &award.reward_id;
            let reward = context.rewards.iter().find(|reward| reward.id == *id);
            require!(reward.is_some(), "award {:?} is not a reward of this event", short(id));
            require!(seen.insert(id), "award {id:?} is there twice");
            let most = reward.map_or(0, |reward| reward.max_quantity);
            require!(
                (1..=most).contains(&award.quantity),
                "award {id:?}: quantity {} must be within 1 to {most}",
                award.quantity
            );
            bytes += id.len();
        }
    }
    require!(
        bytes <= limits.decision_bytes,
        "the decision has {bytes} bytes of text, the limit is {}",
        limits.decision_bytes
    );
    Ok(())
}

/// The bytes of its texts.
fn check_reason(reason: &Reason) -> Result<usize, Failure> {
    require!(
        is_kebab(&reason.code),
        "reason code {:?} must be kebab-case",
        short(&reason.code)
    );
    text("reason message", &reason.message, MESSAGE_BYTES)?;
    count("arguments of a reason", reason.args.len(), ARGUMENTS)?;
    let mut bytes = reason.code.len() + reason.message.len();
    for (key, value) in &reason.args {
        name("argument name", key)?;
        text("argument value", value, MESSAGE_BYTES)?;
        bytes += key.len() + value.len();
    }
    Ok(bytes)
}

fn count(what: &str, found: usize, limit: usize) -> Check {
    require!(found <= limit, "{found} {what}, the limit is {limit}");
    Ok(())
}

/// Text for people: bounded, and without control characters other than a line break. (A database may refuse NUL.)
fn text(what: &str, value: &str, limit: usize) -> Check {
    require!(
        value.len() <= limit,
        "{what} has {} bytes, the limit is {limit}",
        value.len()
    );
    require!(
        !value.chars().any(|c| c.is_control() && c != '\n'),
        "{what} {:?} has control characters",
        short(value)
    );
    if let Some(letter) = deceptive(value) {
        let code = u32::from(letter);
        return Err(Failure::Malformed(format!(
            "{what} has the invisible or direction-changing character U+{code:04X}"
        )));
    }
    Ok(())
}

/// The form of progress keys and argument names.
fn name(what: &str, value: &str) -> Check {
    require!(
        (1..=NAME_BYTES).contains(&value.len())
            && value
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)),
        "{what} {:?} must be 1 to {NAME_BYTES} of A-Z a-z 0-9 . _ -",
        short(value)
    );
    Ok(())
}

/// Whether a plugin may have this name.
pub fn is_plugin_name(name: &str) -> bool {
    is_kebab(name)
}

fn is_kebab(value: &str) -> bool {
    value.len() <= NAME_BYTES
        && value.starts_with(|c: char| c.is_ascii_lowercase())
        && value.split('-').all(|word| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        })
}

fn short(value: &str) -> String {
    super::text::line(value, NAME_BYTES)
}
