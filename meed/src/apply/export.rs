//! `meed export`: the objects of a server as files.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;
use meed_author::client::{Client, Server};
use serde_json::{Map, Value};

use meed_host::sandbox::Digest;

use super::kind::{Kind, Only, selects, selects_some};
use super::server::{Found, Inventory};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A folder, which gets one file per section; - prints one file
    #[arg(short, long, value_name = "DIR", default_value = "-")]
    output: PathBuf,
    /// Only these sections, or objects of them: events,rewards/summer-coupon
    #[arg(long, value_name = "SECTION[/NAME]", value_delimiter = ',')]
    only: Vec<Only>,
    /// Also download the modules of the plugins, into DIR/modules
    #[arg(long)]
    with_modules: bool,
    #[command(flatten)]
    server: Server,
}

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let to_folder = arguments.output != Path::new("-");
    ensure!(
        to_folder || !arguments.with_modules,
        "--with-modules needs a folder: use --output DIR"
    );
    let client = arguments.server.client()?;
    let mut inventory = Inventory::default();
    let only = &arguments.only;
    let selected = |kind: Kind| selects_some(only, kind);
    for kind in Kind::ALL {
        // Events name rewards.
        if selected(kind) || (kind == Kind::Rewards && selected(Kind::Events)) {
            let reading = inventory.read(&client, kind).await;
            reading.with_context(|| format!("read the {kind}; --only leaves sections out"))?;
        }
    }
    let mut sections: BTreeMap<Kind, Map<String, Value>> = BTreeMap::new();
    for found in inventory.all() {
        if !selects(only, found.kind, &found.name) {
            continue;
        }
        let mut content = found.content.clone();
        if found.kind == Kind::Plugins && arguments.with_modules {
            let file = download(&client, found, &arguments.output).await?;
            content.insert("file".to_owned(), file.into());
        }
        let section = sections.entry(found.kind).or_default();
        section.insert(found.name.clone(), content.into());
    }
    if !to_folder {
        let text = yaml(&sections)?;
        // Not `print!`, which panics if the reader is gone.
        return std::io::stdout().write_all(text.as_bytes()).context("print the rules");
    }
    std::fs::create_dir_all(&arguments.output).with_context(|| format!("create {}", arguments.output.display()))?;
    for (kind, section) in sections {
        let path = arguments.output.join(format!("{kind}.yaml"));
        let text = yaml(&BTreeMap::from([(kind, section)]))?;
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

fn yaml(sections: &BTreeMap<Kind, Map<String, Value>>) -> anyhow::Result<String> {
    let mut document = Map::from_iter([("apiVersion".to_owned(), Value::from("meed/v1"))]);
    for (kind, section) in sections {
        document.insert(kind.section().to_owned(), section.clone().into());
    }
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(&document, options).context("write YAML")
}

/// Returns the path relative to the folder.
async fn download(client: &Client, found: &Found, folder: &Path) -> anyhow::Result<String> {
    let text = |member: &str| found.shown[member].as_str().unwrap_or_default();
    let (name, version) = (text("name"), text("version"));
    ensure!(
        !found.name.contains(['/', '\\', '\0']),
        "{:?} is no file name",
        found.name
    );
    let module = client
        .download(&["plugins", name, "versions", version, "module"])
        .await?;
    let (digest, got) = (text("digest"), Digest::of(&module).to_string());
    ensure!(got == digest, "the server reported {digest} but sent {got}; retry");
    let file = format!("modules/{name}-{version}.wasm");
    let path = folder.join(&file);
    let parent = path.parent().unwrap_or(folder);
    std::fs::create_dir_all(parent)
        .and_then(|()| std::fs::write(&path, module))
        .with_context(|| format!("write {}", path.display()))?;
    Ok(file)
}
