//! `meed plugin push`

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderValue};
use serde::Deserialize;

use crate::client::Server;

#[derive(Debug, Args)]
pub struct Arguments {
    /// The module or component to upload
    #[arg(value_name = "WASM")]
    module: PathBuf,
    /// The signature file [default: WASM.minisig, if it exists]
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
}

/// The used members of a version.
#[derive(Debug, Deserialize)]
struct Pushed {
    name: String,
    version: String,
    digest: String,
    state: String,
    signature: Signature,
}

#[derive(Debug, Deserialize)]
struct Signature {
    state: String,
    signer: Option<String>,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let path = &arguments.module;
    let module = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let mut headers = HeaderMap::new();
    if let Some(signature) = signature(arguments)? {
        let value = HeaderValue::try_from(STANDARD.encode(signature)).context("the signature is too large")?;
        headers.insert("meed-signature", value);
    }
    let client = arguments.server.client()?;
    // Shown only on a terminal. Compiling and testing the module on the server takes longer than the upload.
    let progress = ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{spinner} {msg} {elapsed}")?);
    progress.set_message(format!(
        "pushing {} ({})",
        path.display(),
        HumanBytes(module.len() as u64)
    ));
    progress.enable_steady_tick(Duration::from_millis(100));
    let answer = client.upload::<Pushed>(&["plugins"], module, headers).await;
    progress.finish_and_clear();
    let (status, version) = answer?;
    let verb = if status == StatusCode::CREATED {
        "Pushed"
    } else {
        "Already there:"
    };
    println!("{verb} {} {} ({})", version.name, version.version, version.state);
    println!("  digest     {}", version.digest);
    match version.signature.signer {
        Some(signer) => println!("  signature  {}, {signer}", version.signature.state),
        None => println!("  signature  {}", version.signature.state),
    }
    Ok(())
}

fn signature(arguments: &Arguments) -> anyhow::Result<Option<Vec<u8>>> {
    let path = match &arguments.signature {
        Some(path) => path.clone(),
        None => signature_beside(&arguments.module),
    };
    if arguments.signature.is_none() && !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(Some(text))
}

/// The default path of a minisign signature.
pub fn signature_beside(module: &Path) -> PathBuf {
    let mut name = module.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}
