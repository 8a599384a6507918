//! `meed plugin keygen`

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use minisign::KeyPair;

use crate::password::for_key;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Creates NAME.pub and NAME.key; neither file may exist
    #[arg(value_name = "NAME")]
    name: PathBuf,
    /// Create an unencrypted key. Otherwise the password is prompted for, or is the first line of standard input
    #[arg(long)]
    no_password: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let pair = if arguments.no_password {
        KeyPair::generate_unencrypted_keypair()
    } else {
        KeyPair::generate_encrypted_keypair(for_key()?)
    };
    let pair = pair.context("make the keys")?;
    let (public, secret) = (with(&arguments.name, ".pub"), with(&arguments.name, ".key"));
    let secret_text = pair.sk.to_box(Some("minisign secret key of meed plugin keygen"))?;
    write(&secret, &secret_text.to_bytes(), 0o600)?;
    write(&public, &pair.pk.to_box()?.to_bytes(), 0o644)?;
    println!("{}   the secret key; do not share it", secret.display());
    println!(
        "{}   the public key; an ADMIN adds it with POST /plugin-keys",
        public.display()
    );
    println!("{}", pair.pk.to_base64());
    Ok(())
}

fn with(name: &Path, ending: &str) -> PathBuf {
    let mut name = name.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .with_context(|| format!("write {}", path.display()))
}
