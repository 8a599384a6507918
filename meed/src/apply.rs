//! `meed export`, `diff` and `apply`: the rules of a server as files.
//!
//! A pure client of the API: whatever it does, other clients can do. Files want objects; a plan says what must change; every
//! change carries the revision that its plan is based on. Must not know: the server's database and services.

mod carry_out;
pub(crate) mod export;
mod file;
mod kind;
mod plan;
mod propose;
mod read;
mod server;
mod show;

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use meed_author::client::{Client, Refusal, Server};
use serde_json::Value;

use meed_host::clock::Clock;

use carry_out::Secrets;
use kind::{Kind, Only, selects};
use plan::{Action, Permissions, Plan};
use server::Inventory;

pub(crate) use file::schema;

/// The exit code of `diff` if something differs, and of `apply` if something waits for an approval.
const DIFFERS: u8 = 2;
/// Refused changes whose author is looked up.
const EXPLAINED: usize = 20;

/// What both `diff` and `apply` take.
#[derive(Debug, Args)]
pub(crate) struct Planning {
    /// A file, a folder of *.yaml and *.yml files, or - for standard input; once for each
    #[arg(short, long = "file", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,
    /// Only these sections, or objects of them: events,rewards/summer-coupon
    #[arg(long, value_name = "SECTION[/NAME]", value_delimiter = ',')]
    only: Vec<Only>,
    /// Delete what an earlier apply wrote and no file has any more
    #[arg(long)]
    prune: bool,
    /// Take over objects that files do not manage yet, and overwrite what others changed since the last apply
    #[arg(long)]
    overwrite: bool,
    /// Create service keys that do not exist; needs --secrets
    #[arg(long)]
    create_keys: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct Diffing {
    #[command(flatten)]
    planning: Planning,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Applying {
    #[command(flatten)]
    planning: Planning,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// A new file for the tokens of new service keys and the signing secrets of new webhook endpoints, which are not shown again
    #[arg(long, value_name = "FILE")]
    secrets: Option<PathBuf>,
}

/// `meed diff`: 0 if nothing differs, 2 if something does, 1 after an error.
pub(crate) async fn diff(diffing: &Diffing) -> anyhow::Result<ExitCode> {
    let client = diffing.planning.server.client()?;
    let (plan, _) = diffing.planning.plan(&client).await?;
    if diffing.json {
        print(&(serde_json::to_string_pretty(&plan)? + "\n"))?;
    } else {
        show(&plan)?;
    }
    Ok(if !plan.is_possible() {
        ExitCode::FAILURE
    } else if plan.changes.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DIFFERS)
    })
}

/// `meed apply`: 0 if the server is as the files want it, 2 if releases wait for their approval, 1 otherwise.
pub(crate) async fn apply(applying: &Applying) -> anyhow::Result<ExitCode> {
    let planning = &applying.planning;
    ensure!(
        !planning.create_keys || applying.secrets.is_some(),
        "--create-keys needs --secrets FILE, because the tokens are not shown again"
    );
    let client = planning.server.client()?;
    let (plan, inventory) = planning.plan(&client).await?;
    show(&plan)?;
    if !plan.is_possible() {
        bail!("nothing was changed");
    }
    if plan.changes.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if !applying.yes && !is_confirmed()? {
        bail!("nothing was changed");
    }
    let has_secrets = plan
        .changes
        .iter()
        .any(|change| change.action == Action::Create && matches!(change.kind, Kind::Webhooks | Kind::ServiceKeys));
    let mut secrets = Secrets::open(applying.secrets.as_deref().filter(|_| has_secrets))?;
    let proposed = carry_out::carry_out(&client, &inventory, &plan, &mut secrets).await?;
    Ok(if proposed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DIFFERS)
    })
}

fn is_confirmed() -> anyhow::Result<bool> {
    ensure!(
        std::io::stdin().is_terminal() && std::io::stdout().is_terminal(),
        "there is no terminal to ask on: use --yes to make these changes"
    );
    print!("Make these changes? Only \"yes\" is accepted: ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("read the answer")?;
    Ok(answer.trim() == "yes")
}

impl Planning {
    async fn plan(&self, client: &Client) -> anyhow::Result<(Plan, Inventory)> {
        let mut wants = read::read(&self.files)?;
        // A wrong path must not delete everything.
        ensure!(
            !self.prune || wants.documents > 0 || !wants.faults.is_empty(),
            "there is no file with rules, so --prune would delete all that files manage; check -f, or write `rewards: {{}}`"
        );
        wants
            .objects
            .retain(|wanted| selects(&self.only, wanted.kind, &wanted.name));
        let permissions = Permissions {
            only: self.only.clone(),
            prune: self.prune,
            overwrite: self.overwrite,
            create_keys: self.create_keys,
        };
        let mut inventory = Inventory::default();
        let mut notes = Vec::new();
        if wants.faults.is_empty() {
            for (kind, is_needed) in plan::kinds_to_read(&wants, &permissions) {
                match inventory.read(client, kind).await {
                    Err(error) if !is_needed && is_forbidden(&error) => {
                        notes.push(format!(
                            "the {kind} are not pruned, because the token may not read them"
                        ));
                    }
                    read => read.with_context(|| format!("read the {kind}"))?,
                }
            }
        } else {
            wants.objects.clear();
        }
        if wants.faults.is_empty() {
            for only in &self.only {
                let Some(name) = &only.name else { continue };
                let is_wanted = wants
                    .objects
                    .iter()
                    .any(|wanted| selects(std::slice::from_ref(only), wanted.kind, &wanted.name));
                if !is_wanted && (!self.prune || inventory.get(only.kind, name).is_none()) {
                    let fault = format!("--only {}/{name}: no file has it; correct the name", only.kind);
                    wants.faults.push(fault);
                }
            }
        }
        let permissions = Permissions {
            // An incomplete picture must not delete anything.
            prune: permissions.prune && wants.faults.is_empty(),
            ..permissions
        };
        let mut plan = plan::plan(wants, &inventory, &permissions, Clock::System.now());
        plan.notes.extend(notes);
        check_modules(&mut plan).await;
        explain(client, &mut plan).await;
        Ok((plan, inventory))
    }
}

fn show(plan: &Plan) -> anyhow::Result<()> {
    print(&show::text(plan, std::io::stdout().is_terminal()))
}

/// Not `print!`, which panics if the reader is gone.
fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("print the plan")
}

fn is_forbidden(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<Refusal>()
        .is_some_and(|refusal| refusal.code() == "forbidden")
}

/// The name and version of a new plugin are those that its module says.
async fn check_modules(plan: &mut Plan) {
    for change in &plan.changes {
        let Some(path) = change.module.as_deref().filter(|_| change.action == Action::Create) else {
            continue;
        };
        if let Err(error) = check_module(&change.name, path).await {
            plan.faults
                .push(format!("plugin {:?}: {}: {error:#}", change.name, path.display()));
        }
    }
}

async fn check_module(name: &str, path: &Path) -> anyhow::Result<()> {
    let Ok(module) = read::read_bounded(path, read::LARGEST_MODULE)? else {
        bail!("the file changed while it was read");
    };
    let manifest = meed_author::describe(module).await?;
    let is = format!("{}@{}", manifest.name, manifest.version);
    ensure!(is == name, "the module is {is}; correct the name, or the file");
    Ok(())
}

/// Says who made the changes that a plan would overwrite, where the API tells.
async fn explain(client: &Client, plan: &mut Plan) {
    let refused = plan.changes.iter_mut().filter(|change| change.refused.is_some());
    let told = refused.filter(|change| matches!(change.kind, Kind::Rewards | Kind::Events));
    for change in told.take(EXPLAINED) {
        let path = [change.kind.collection(), &change.id, "revisions"];
        let Ok(newest) = client.first(&path).await else {
            continue;
        };
        let text = |member: &str| newest[member].as_str().unwrap_or("unknown").to_owned();
        if let (Some(refused), Value::Object(_)) = (&mut change.refused, &newest) {
            let _ = write!(
                refused,
                ". Last change: {}, by {}",
                text("changedAt"),
                text("changedBy")
            );
        }
    }
}
