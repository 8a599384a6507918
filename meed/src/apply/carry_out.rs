//! Carries out a plan: one request after the other, each with the revision that the plan is based on.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meed_author::client::{Client, Refusal};
use meed_author::signature_beside;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use meed_host::sandbox::Digest;

use super::kind::Kind;
use super::plan::{Action, Change, Plan};
use super::propose::{Made, propose};
use super::read::read_bounded;
use super::server::{Inventory, body};

/// How often an event is sent again while its facts are built, and how long in all.
const PAUSE: Duration = Duration::from_secs(2);
const MOST_WAITING: Duration = Duration::from_mins(10);
const LARGEST_SIGNATURE: u64 = 16 << 10;

/// Where the secrets of new keys and endpoints go: a new file that only its owner can read, one JSON object per line.
pub(super) struct Secrets(Option<File>);

impl Secrets {
    pub(super) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self(None)) };
        let mut options = File::options();
        options.write(true).create_new(true).mode(0o600);
        let file = options
            .open(path)
            .with_context(|| format!("create {}", path.display()))?;
        Ok(Self(Some(file)))
    }

    fn keep(&mut self, kind: Kind, name: &str, answer: &Value) -> anyhow::Result<()> {
        let (Some(file), Some(secret)) = (&mut self.0, answer["secret"].as_str()) else {
            return Ok(());
        };
        let line = json!({"kind": kind.section(), "name": name, "secret": secret});
        writeln!(file, "{line}")
            .and_then(|()| file.sync_all())
            .context("write the secrets")
    }
}

/// Makes all changes of a plan in their order, prints each, and returns how many wait for an approval. An error says which were
/// made.
pub(super) async fn carry_out(
    client: &Client,
    inventory: &Inventory,
    plan: &Plan,
    secrets: &mut Secrets,
) -> anyhow::Result<usize> {
    let mut proposed = 0;
    let rewards = inventory.all().into_iter().filter(|found| found.kind == Kind::Rewards);
    let mut ids: HashMap<String, String> = rewards.map(|found| (found.name.clone(), found.id.clone())).collect();
    for (done, change) in plan.changes.iter().enumerate() {
        let answer = match make_when_ready(client, change, &ids).await {
            Ok(Made::Done(answer)) => answer,
            Ok(Made::Proposed(how)) => {
                proposed += 1;
                println!("waits for its approval: {} ({how})", told(change));
                continue;
            }
            Err(error) => {
                for left in &plan.changes[done..] {
                    println!("not done: {}", told(left));
                }
                let all = plan.changes.len();
                return Err(error.context(format!(
                    "{}: {done} of {all} changes were made; run apply again to continue",
                    told(change)
                )));
            }
        };
        if change.kind == Kind::Rewards
            && let Some(id) = answer["id"].as_str()
        {
            ids.insert(change.name.clone(), id.to_owned());
        }
        println!("done: {}", told(change));
        if change.action == Action::Create {
            secrets.keep(change.kind, &change.name, &answer)?;
        }
    }
    Ok(proposed)
}

fn told(change: &Change) -> String {
    let verb = match change.action {
        Action::Create => "create",
        Action::Update => "change",
        Action::Adopt => "manage",
        Action::Delete => "delete",
    };
    format!("{verb} {} {:?}", change.kind.noun(), change.name)
}

/// The server builds the facts of an active event before it accepts the event: the first request begins that, and a later one
/// succeeds.
async fn make_when_ready(client: &Client, change: &Change, ids: &HashMap<String, String>) -> anyhow::Result<Made> {
    let mut waited = Duration::ZERO;
    loop {
        let made = make(client, change, ids).await;
        let refusal = made.as_ref().err().and_then(|error| error.downcast_ref::<Refusal>());
        let code = refusal.map_or("", Refusal::code);
        if code == "release-required" && change.kind == Kind::Events {
            return propose(client, change, &body(change.kind, &change.name, &change.content, ids)).await;
        }
        if code != "facts-not-ready" || waited >= MOST_WAITING {
            return made.map(Made::Done);
        }
        if waited.is_zero() {
            println!("waiting until the facts are built: {}", told(change));
        }
        tokio::time::sleep(PAUSE).await;
        waited += PAUSE;
    }
}

async fn make(client: &Client, change: &Change, ids: &HashMap<String, String>) -> anyhow::Result<Value> {
    let kind = change.kind;
    let path = [kind.collection(), &change.id];
    let body = body(kind, &change.name, &change.content, ids);
    match change.action {
        Action::Create if kind == Kind::Plugins => upload(client, change).await,
        // Without a revision, the request creates a group and never changes one.
        Action::Create if kind == Kind::EventGroups => {
            let path = [kind.collection(), &change.name];
            client.write(Method::PUT, &path, None, Some(&body)).await
        }
        Action::Create => {
            client
                .write(Method::POST, &[kind.collection()], None, Some(&body))
                .await
        }
        Action::Update | Action::Adopt => client.write(Method::PUT, &path, change.revision, Some(&body)).await,
        Action::Delete => {
            if kind == Kind::ServiceKeys {
                // A revocation takes no revision.
                let now: Value = client.get(&path).await?;
                ensure!(
                    now["revision"].as_i64() == change.revision,
                    "it was changed after the plan was made"
                );
            }
            client.write(Method::DELETE, &path, change.revision, None).await
        }
    }
}

async fn upload(client: &Client, change: &Change) -> anyhow::Result<Value> {
    let path = change.module.as_ref().context("a plugin without a file")?;
    let module = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    ensure!(
        Some(Digest::of(&module).to_string().as_str()) == change.content["digest"].as_str(),
        "{} changed after the plan was made",
        path.display()
    );
    let mut headers = HeaderMap::new();
    let signature = signature_beside(path);
    if signature.exists() {
        let Ok(text) = read_bounded(&signature, LARGEST_SIGNATURE)? else {
            bail!("{} is too large for a signature", signature.display());
        };
        let value = HeaderValue::try_from(STANDARD.encode(text)).context("the signature is too large")?;
        headers.insert("meed-signature", value);
    }
    let (_, version) = client.upload::<Value>(&["plugins"], module, headers).await?;
    let text = |member: &str| version[member].as_str().unwrap_or_default();
    let name = format!("{}@{}", text("name"), text("version"));
    if name != change.name {
        bail!(
            "{} is {name}, and is uploaded under this name; correct the file",
            path.display()
        );
    }
    Ok(version)
}
