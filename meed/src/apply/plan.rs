//! What must change so that the server is as the files want it, and why it may not. Nothing changes here. Must not know: requests.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use garde::Validate;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use meed_host::body::{field_errors, parse_object};
use meed_host::clock::Timestamp;
use meed_host::events::{NewEvent, NewEventGroup, group_name};
use meed_host::facts::Zone;
use meed_host::rewards::NewReward;
use meed_host::service_keys::NewServiceKey;
use meed_host::webhooks::NewEndpoint;

use super::file::Content;
use super::kind::{Kind, Only, selects, selects_some};
use super::read::{Wanted, Wants};
use super::server::{Found, Inventory, body};

/// What a plan may do.
#[derive(Debug)]
pub(super) struct Permissions {
    pub only: Vec<Only>,
    /// Delete what files managed and no file has any more.
    pub prune: bool,
    /// Take over what files do not manage, and overwrite what others changed.
    pub overwrite: bool,
    pub create_keys: bool,
}

/// Only the server knows what an event can still give out.
const MAY_BE_PROPOSED: &str =
    "a change of an event that the server protects becomes a release, which waits for its approval";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    Create,
    Update,
    /// The content stays; from now on files manage it.
    Adopt,
    Delete,
}

/// One member that differs.
#[derive(Debug, Serialize)]
pub(super) struct Field {
    /// Such as `condition.params.days`.
    pub path: String,
    pub old: Option<Value>,
    pub new: Option<Value>,
}

/// One object that differs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Change {
    pub action: Action,
    #[serde(serialize_with = "as_text")]
    pub kind: Kind,
    pub name: String,
    /// The revision that the plan is based on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    pub fields: Vec<Field>,
    /// Why it may not be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What else to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'static str>,
    /// The last segment of its path.
    #[serde(skip)]
    pub id: String,
    #[serde(skip)]
    pub content: Content,
    #[serde(skip)]
    pub module: Option<PathBuf>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Plan {
    /// In the order in which they are made.
    pub changes: Vec<Change>,
    /// Why the plan cannot be carried out at all.
    pub faults: Vec<String>,
    pub notes: Vec<String>,
}

impl Plan {
    pub(super) fn is_possible(&self) -> bool {
        self.faults.is_empty() && self.changes.iter().all(|change| change.refused.is_none())
    }
}

/// The kinds that must be read from the server, and whether the plan needs each; otherwise only pruning wants it.
pub(super) fn kinds_to_read(wants: &Wants, permissions: &Permissions) -> Vec<(Kind, bool)> {
    let selected: BTreeSet<Kind> = wants.objects.iter().map(|wanted| wanted.kind).collect();
    let named: BTreeSet<Kind> = selected.iter().flat_map(|kind| kind.names()).copied().collect();
    let is_selected = |kind: Kind| selects_some(&permissions.only, kind);
    // Rewards and groups that an event uses are not pruned, and events name rewards.
    let prunable = |kind: Kind| match kind {
        Kind::Plugins => false,
        Kind::Rewards | Kind::Events => [Kind::Rewards, Kind::EventGroups, Kind::Events]
            .into_iter()
            .any(is_selected),
        kind => is_selected(kind),
    };
    Kind::ALL
        .into_iter()
        .filter_map(|kind| {
            let is_needed = selected.contains(&kind) || named.contains(&kind);
            (is_needed || (permissions.prune && prunable(kind))).then_some((kind, is_needed))
        })
        .collect()
}

/// Compares. `wants` has only what is selected.
pub(super) fn plan(wants: Wants, inventory: &Inventory, permissions: &Permissions, now: Timestamp) -> Plan {
    let mut planner = Planner {
        inventory,
        permissions,
        now,
        wanted: wants
            .objects
            .iter()
            .map(|wanted| (wanted.kind, wanted.name.clone()))
            .collect(),
        used: used(&wants, inventory, permissions),
        plan: Plan {
            faults: wants.faults,
            ..Plan::default()
        },
    };
    let mut objects = wants.objects;
    objects.sort_by(|one, other| (one.kind, &one.name).cmp(&(other.kind, &other.name)));
    for wanted in objects {
        planner.want(wanted);
    }
    if permissions.prune {
        planner.prune();
    }
    let changes_events =
        |change: &Change| change.kind == Kind::Events && matches!(change.action, Action::Create | Action::Update);
    if planner.plan.changes.iter().any(changes_events) {
        planner.plan.notes.push(MAY_BE_PROPOSED.to_owned());
    }
    planner.plan
}

/// The objects that events name after the plan.
fn used(wants: &Wants, inventory: &Inventory, permissions: &Permissions) -> BTreeSet<(Kind, String)> {
    let events = wants.objects.iter().filter(|wanted| wanted.kind == Kind::Events);
    let mut contents: HashMap<&str, &Content> = HashMap::new();
    for found in inventory.all().into_iter().filter(|found| found.kind == Kind::Events) {
        // One that pruning deletes uses nothing.
        let is_pruned = found.applied_revision.is_some() && selects(&permissions.only, Kind::Events, &found.name);
        if !is_pruned {
            contents.insert(&found.name, &found.content);
        }
    }
    contents.extend(events.map(|wanted| (wanted.name.as_str(), &wanted.content)));
    contents.into_values().flat_map(names_of).collect()
}

/// The objects that an event names.
fn names_of(event: &Content) -> Vec<(Kind, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rewards = event.get("rewards").and_then(Value::as_array).into_iter().flatten();
    let mut names: Vec<_> = rewards.map(|name| (Kind::Rewards, text(name))).collect();
    names.extend(event.get("group").map(|name| (Kind::EventGroups, text(name))));
    let plugin = event.get("condition").and_then(|condition| condition.get("plugin"));
    names.extend(plugin.map(|name| (Kind::Plugins, text(name))));
    names
}

struct Planner<'a> {
    inventory: &'a Inventory,
    permissions: &'a Permissions,
    now: Timestamp,
    wanted: BTreeSet<(Kind, String)>,
    used: BTreeSet<(Kind, String)>,
    plan: Plan,
}

impl Planner<'_> {
    fn want(&mut self, wanted: Wanted) {
        let found = self.inventory.get(wanted.kind, &wanted.name).cloned();
        if wanted.kind == Kind::Plugins {
            return self.want_plugin(wanted, found.as_ref());
        }
        for (kind, name) in names_of(&wanted.content) {
            let key = (kind, name);
            if !self.wanted.contains(&key) && self.inventory.get(kind, &key.1).is_none() {
                let (kind, name) = (kind.noun(), key.1);
                self.fault(
                    &wanted,
                    &format!("there is no {kind} {name:?}, neither in the files nor on the server"),
                );
            }
        }
        let Some(found) = found else {
            return self.create(wanted);
        };
        let fields = differences(&found.content, &wanted.content);
        let is_managed = found.is_as_applied();
        if fields.is_empty() && (is_managed || !self.permissions.overwrite) {
            return;
        }
        if !fields.is_empty() {
            self.check_change(&wanted, &found);
            self.check_body(&wanted);
        }
        let action = if fields.is_empty() {
            Action::Adopt
        } else {
            Action::Update
        };
        let refused = (!is_managed && !self.permissions.overwrite).then(|| refusal(&found));
        self.plan.changes.push(Change {
            action,
            kind: wanted.kind,
            name: wanted.name,
            revision: Some(found.revision),
            fields,
            refused,
            note: None,
            id: found.id,
            content: wanted.content,
            module: None,
        });
    }

    fn want_plugin(&mut self, wanted: Wanted, found: Option<&Found>) {
        let digest = |content: &Content| content.get("digest").cloned();
        match found {
            Some(found) => {
                let has = digest(&found.content);
                if digest(&wanted.content).is_some_and(|wants| Some(&wants) != has.as_ref()) {
                    let has = has.unwrap_or_default();
                    self.fault(
                        &wanted,
                        &format!(
                            "the server has other bytes under this version, {has}; raise the version of the plugin"
                        ),
                    );
                }
            }
            None if wanted.module.is_some() => self.create(wanted),
            None => self.fault(
                &wanted,
                "the server does not have this version; give its file, or upload it with `meed plugin push`",
            ),
        }
    }

    fn create(&mut self, wanted: Wanted) {
        self.check_body(&wanted);
        if wanted.kind == Kind::ServiceKeys && !self.permissions.create_keys {
            let note = format!(
                "the service key {:?} does not exist; --create-keys creates it",
                wanted.name
            );
            self.plan.notes.push(note);
            return;
        }
        self.plan.changes.push(Change {
            action: Action::Create,
            kind: wanted.kind,
            name: wanted.name,
            revision: None,
            fields: differences(&Content::new(), &wanted.content),
            refused: None,
            note: match wanted.kind {
                Kind::Plugins => Some("uploads the module"),
                Kind::Webhooks => Some("its signing secret goes to --secrets; without it, make one with POST …/secret"),
                _ => None,
            },
            id: String::new(),
            content: wanted.content,
            module: wanted.module,
        });
    }

    /// What the API cannot change.
    fn check_change(&mut self, wanted: &Wanted, found: &Found) {
        let (old, new) = (&found.content, &wanted.content);
        let differs = |member: &str| old.get(member) != new.get(member);
        match wanted.kind {
            Kind::Rewards => {
                if differs("codes") {
                    self.fault(wanted, "codes cannot change; make a reward with another name instead");
                }
                let number = |member: &str| found.shown[member].as_i64().unwrap_or_default();
                let granted = number("stock") - number("stockRemaining");
                if let Some(stock) = new.get("stock").and_then(Value::as_i64)
                    && stock < granted
                {
                    self.fault(
                        wanted,
                        &format!("the stock cannot be {stock}, because {granted} were granted already"),
                    );
                }
            }
            Kind::Events => {
                let instant = |member: &str| -> Option<Timestamp> { old.get(member)?.as_str()?.parse().ok() };
                let now = self.now;
                let has_passed = |member: &str| instant(member).is_some_and(|at| at <= now);
                let period = |content: &Content| content.get("recurrence").map(|value| value["period"].clone());
                let period = |content: &Content| period(content).unwrap_or_else(|| "ONCE".into());
                if has_passed("startDate")
                    && (differs("startDate") || differs("timeZone") || period(old) != period(new))
                {
                    self.fault(
                        wanted,
                        "the event has started, so startDate, timeZone and recurrence.period cannot change; make an event with \
                        another name instead",
                    );
                }
                if has_passed("endDate") && differs("endDate") {
                    self.fault(
                        wanted,
                        "the event has ended, so endDate cannot change; make an event with another name instead",
                    );
                }
            }
            _ => {}
        }
    }

    /// What the API refuses for its members alone.
    fn check_body(&mut self, wanted: &Wanted) {
        // Rewards may not exist yet: any distinct ids stand for them.
        let rewards = wanted
            .content
            .get("rewards")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let ids = rewards.filter_map(Value::as_str).zip(1..);
        let ids = ids.map(|(name, number)| (name.to_owned(), uuid::Uuid::from_u128(number).to_string()));
        let body = body(wanted.kind, &wanted.name, &wanted.content, &ids.collect()).to_string();
        let mut faults = match wanted.kind {
            Kind::Plugins => Vec::new(),
            Kind::Rewards => faults_of::<NewReward>(&body),
            Kind::EventGroups => faults_of::<NewEventGroup>(&body),
            Kind::Events => faults_of::<NewEvent>(&body),
            Kind::Webhooks => faults_of::<NewEndpoint>(&body),
            Kind::ServiceKeys => faults_of::<NewServiceKey>(&body),
        };
        if wanted.kind == Kind::EventGroups
            && let Err(fault) = group_name(&wanted.name, &())
        {
            faults.push(format!("the name {fault}"));
        }
        if let Some(Err(fault)) = wanted
            .content
            .get("timeZone")
            .and_then(Value::as_str)
            .map(str::parse::<Zone>)
        {
            faults.push(format!("/timeZone: {fault}"));
        }
        let instant = |member: &str| -> Option<Timestamp> { wanted.content.get(member)?.as_str()?.parse().ok() };
        if wanted.kind == Kind::Events
            && let Some((start, end)) = instant("startDate").zip(instant("endDate"))
            && end <= start
        {
            faults.push(format!("/endDate: {end} is not after the startDate {start}"));
        }
        let has = |member: &str| wanted.content.contains_key(member);
        if wanted.kind == Kind::Rewards && has("codes") && has("stock") {
            faults.push("/stock: is the number of imported codes; leave it out".to_owned());
        }
        for fault in faults {
            self.fault(wanted, &fault);
        }
    }

    fn prune(&mut self) {
        let mut gone: Vec<&Found> = self.inventory.all();
        gone.retain(|found| {
            found.kind != Kind::Plugins
                && found.applied_revision.is_some()
                && selects(&self.permissions.only, found.kind, &found.name)
                && !self.wanted.contains(&(found.kind, found.name.clone()))
        });
        gone.reverse();
        for found in gone {
            let (kind, name) = (found.kind, found.name.clone());
            if self.used.contains(&(kind, name.clone())) {
                let noun = kind.noun();
                let fault = format!("the {noun} {name:?} is in no file any more, but an event that stays uses it");
                self.plan.faults.push(fault);
                continue;
            }
            let may = found.is_as_applied() || self.permissions.overwrite;
            self.plan.changes.push(Change {
                action: Action::Delete,
                kind,
                name,
                revision: Some(found.revision),
                fields: differences(&found.content, &Content::new()),
                refused: (!may).then(|| refusal(found)),
                note: match kind {
                    Kind::Events => Some("its claims, grants and receipts stay; it cannot be claimed any more"),
                    Kind::Rewards => Some("grants of it stay"),
                    Kind::ServiceKeys => Some("it is revoked for ever"),
                    _ => None,
                },
                id: found.id.clone(),
                content: Content::new(),
                module: None,
            });
        }
    }

    fn fault(&mut self, wanted: &Wanted, what: &str) {
        let (place, noun, name) = (&wanted.place, wanted.kind.noun(), &wanted.name);
        self.plan.faults.push(format!("{place}: {noun} {name:?}: {what}"));
    }
}

fn faults_of<T: DeserializeOwned + Validate<Context = ()>>(body: &str) -> Vec<String> {
    match parse_object::<T>(body.as_bytes()) {
        Err(problem) => vec![problem.to_line()],
        Ok(value) => match value.validate() {
            Ok(()) => Vec::new(),
            Err(report) => field_errors(&report).iter().map(ToString::to_string).collect(),
        },
    }
}

/// Why a change of this object is refused.
fn refusal(found: &Found) -> String {
    let why = match found.applied_revision {
        None => "files do not manage it; --overwrite takes it over".to_owned(),
        Some(applied) => format!(
            "it was changed after the last apply, from revision {applied} to {}; take the change into the file, or use \
            --overwrite",
            found.revision
        ),
    };
    // The API keeps the revisions of rewards and events, with who made them: the caller asks for those.
    match (found.kind, found.shown["updatedAt"].as_str()) {
        (Kind::Rewards | Kind::Events, _) | (_, None) => why,
        (_, Some(at)) => format!("{why}. Last change: {at}"),
    }
}

/// The members that differ, in their order.
fn differences(old: &Content, new: &Content) -> Vec<Field> {
    let mut fields = Vec::new();
    compare("", old, new, &mut fields);
    fields
}

fn compare(prefix: &str, old: &Content, new: &Content, fields: &mut Vec<Field>) {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let path = format!("{prefix}{name}");
        match (old.get(name), new.get(name)) {
            (Some(Value::Object(old)), Some(Value::Object(new))) => compare(&format!("{path}."), old, new, fields),
            (old, new) if old != new => fields.push(Field {
                path,
                old: old.cloned(),
                new: new.cloned(),
            }),
            _ => {}
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn as_text<S: serde::Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.section())
}
