//! `meed plugin sign`

use std::io::Cursor;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use minisign::{PublicKey, SecretKey, SecretKeyBox};

use super::push::signature_beside;
use crate::password::for_key;
use meed_host::contract::Manifest;
use meed_host::plugins::trusted_comment;
use meed_host::sandbox::{Sandbox, Settings};

#[derive(Debug, Args)]
pub struct Arguments {
    /// The module to sign
    #[arg(value_name = "WASM")]
    module: PathBuf,
    /// A key of `meed plugin keygen` or `minisign -G`. Its password is prompted for, or is the first line of standard
    /// input
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let path = &arguments.module;
    let module = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    // Read the name and version as the server will. A module that the server would refuse is not signed.
    let manifest = describe(module.clone()).await?;
    let comment = trusted_comment(&manifest.name, &manifest.version);
    let key = secret_key(&arguments.key)?;
    let public = PublicKey::from_secret_key(&key)?;
    let untrusted = "signature from minisign secret key";
    let signature = minisign::sign(
        Some(&public),
        &key,
        Cursor::new(module),
        Some(&comment),
        Some(untrusted),
    )?;
    let file = signature_beside(path);
    std::fs::write(&file, signature.to_bytes()).with_context(|| format!("write {}", file.display()))?;
    println!("Signed {} {} into {}", manifest.name, manifest.version, file.display());
    println!("  public key {}", public.to_base64());
    Ok(())
}

/// The manifest of a module, as the server reads it: the module runs in the sandbox.
pub async fn describe(module: Vec<u8>) -> anyhow::Result<Manifest> {
    let settings = Settings {
        language_runtimes: true,
        ..Settings::default()
    };
    let sandbox = Sandbox::new(&settings, std::env::current_exe()?, None)?;
    Ok(sandbox.admit(module).await?.manifest)
}

fn secret_key(path: &Path) -> anyhow::Result<SecretKey> {
    let what = || format!("{} is not a minisign secret key that can be used", path.display());
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    // Two bytes for the signature algorithm are followed by two for the key derivation; zeros mean no encryption.
    let line = text.lines().nth(1).unwrap_or_default().trim();
    let bytes = STANDARD.decode(line).unwrap_or_default();
    if bytes.get(2..4) == Some(&[0, 0]) {
        // Not parsed as a box, because minisign writes no checksum into an unencrypted key, and a box requires one.
        return SecretKey::from_bytes(&bytes).with_context(what);
    }
    let boxed = SecretKeyBox::from_string(&text).with_context(what)?;
    boxed.into_secret_key(for_key()?).with_context(what)
}
