//! `meed plugin pull`

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::Deserialize;

use crate::client::Server;
use meed_host::sandbox::Digest;

#[derive(Debug, Args)]
pub struct Arguments {
    /// For example login-streak@1.0.0
    #[arg(value_name = "NAME@VERSION")]
    version: NameAndVersion,
    /// The output file [default: NAME-VERSION.wasm]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
}

#[derive(Clone, Debug)]
struct NameAndVersion {
    name: String,
    version: String,
}

impl FromStr for NameAndVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('@') {
            // They become part of a file name.
            Some((name, version)) if !name.is_empty() && !version.is_empty() && !text.contains(['/', '\\', '\0']) => {
                Ok(Self {
                    name: name.to_owned(),
                    version: version.to_owned(),
                })
            }
            _ => Err("must be a name and a version, such as login-streak@1.0.0".to_owned()),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Version {
    digest: Digest,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let NameAndVersion { name, version } = &arguments.version;
    let client = arguments.server.client()?;
    let path = ["plugins", name, "versions", version];
    let Version { digest } = client.get(&path).await?;
    let module = client.download(&[&path[..], &["module"]].concat()).await?;
    let found = Digest::of(&module);
    ensure!(found == digest, "the server reported {digest} but sent {found}; retry");
    let default = || PathBuf::from(format!("{name}-{version}.wasm"));
    let file = arguments.output.clone().unwrap_or_else(default);
    std::fs::write(&file, module).with_context(|| format!("write {}", file.display()))?;
    println!("Pulled {name} {version} into {}", file.display());
    println!("  digest     {digest}");
    Ok(())
}
