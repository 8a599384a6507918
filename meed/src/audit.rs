//! `meed audit verify` and `meed audit check`: the transparency log of a database, and proofs from it without a server.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Deserialize;

use meed_host::claims::{Proof, SignedReversal};
use meed_host::clock::Timestamp;
use meed_host::config::Config;
use meed_host::keys::PublicKey;
use meed_host::sandbox::Digest;
use meed_host::transparency::{Checkpoint, ConsistencyProof, InclusionProof, Report};

/// More than any checkpoint, proof or receipt has.
const LARGEST_FILE: u64 = 16 << 20;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Compare the database with its transparency log. Servers may run meanwhile. The exit code is 1 if something was edited,
    /// deleted, exchanged, added by hand, cut off or rewritten
    Verify(Verifying),
    /// Verify the answer of GET /reward-requests/{id}/inclusion or of GET /audit/checkpoints/{size}/consistency, without a
    /// server. The exit code is 1 if it proves nothing
    Check(Checking),
}

#[derive(Debug, Args)]
pub(crate) struct Verifying {
    /// A checkpoint that was kept elsewhere: the log must have grown from it
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Public receipt keys that are not in the key directory any more, from /.well-known/receipt-keys.json
    #[arg(long, value_name = "JWKS")]
    keys: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Checking {
    /// The proof
    #[arg(value_name = "PROOF")]
    proof: PathBuf,
    /// The server's receipt keys, from /.well-known/receipt-keys.json, obtained over a trusted channel
    #[arg(long, value_name = "JWKS")]
    keys: PathBuf,
    /// The receipt that the proof of inclusion is about
    #[arg(long, value_name = "RECEIPT")]
    receipt: Option<PathBuf>,
    /// The older checkpoint that the proof of consistency is about
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
}

/// `load` reads the settings, which only a command with a database needs.
pub(crate) async fn run(
    command: &AuditCommand,
    load: impl FnOnce() -> anyhow::Result<Config>,
) -> anyhow::Result<ExitCode> {
    match command {
        AuditCommand::Verify(arguments) => verify(arguments, &load()?).await,
        AuditCommand::Check(arguments) => check(arguments),
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let size = std::fs::metadata(path).map(|file| file.len()).unwrap_or_default();
    anyhow::ensure!(size <= LARGEST_FILE, "{} is too large", path.display());
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

fn keys(path: &Path) -> anyhow::Result<Vec<PublicKey>> {
    PublicKey::of_jwks(&read(path)?).with_context(|| format!("{} is not a JWK Set", path.display()))
}

/// A signed note, or the JSON of `GET /audit/checkpoints/{size}` that contains one.
fn checkpoint(path: &Path, keys: &[PublicKey]) -> anyhow::Result<Checkpoint> {
    #[derive(Deserialize)]
    struct Stored {
        checkpoint: String,
    }
    let text = read(path)?;
    let note = match serde_json::from_str::<Stored>(&text) {
        Ok(stored) => stored.checkpoint,
        Err(_) => text,
    };
    Checkpoint::verified(&note, keys).with_context(|| path.display().to_string())
}

async fn verify(arguments: &Verifying, config: &Config) -> anyhow::Result<ExitCode> {
    let further = arguments.keys.as_deref().map(keys).transpose()?.unwrap_or_default();
    let db = super::connect(config).await?;
    db.schema().await.context("read the table of the migrations")?.check()?;
    let (verifier, trusted) = meed_host::app::verifier(config, &db, &further)?;
    let older = arguments.checkpoint.as_deref();
    let older = older.map(|path| checkpoint(path, &trusted)).transpose()?;
    let report = verifier.verify(older.as_ref()).await?;
    db.close().await;
    print(&report, older.as_ref());
    Ok(ExitCode::from(u8::from(!report.is_good())))
}

fn print(report: &Report, older: Option<&Checkpoint>) {
    for finding in &report.findings {
        println!("{finding}");
    }
    let more = report.findings_total - report.findings.len() as u64;
    if more > 0 {
        println!("… and {more} more.");
    }
    println!(
        "Log: {} leaves, {} of them under {} checkpoints; {} rows wait to be appended.",
        report.leaves, report.covered, report.checkpoints, report.waiting
    );
    if let Some(older) = older {
        println!("Older checkpoint: size {}, of {}.", older.size, older.origin);
    }
    println!(
        "Rows: {} as they were, {} of them erased on behalf of their users; {} deleted by retention.",
        report.intact, report.erased, report.removed
    );
    for (kind, retention) in &report.retention {
        println!(
            "Retention of {kind}: until {}, last on {}; nothing younger than {} days.",
            Timestamp::of_id(retention.lower_than),
            retention.last_at,
            retention.youngest_days
        );
    }
    match report.findings_total {
        0 => println!("GOOD"),
        count => println!("TAMPERED  {count} findings"),
    }
}

fn check(arguments: &Checking) -> anyhow::Result<ExitCode> {
    #[derive(Deserialize)]
    struct Format {
        format: String,
    }
    let keys = keys(&arguments.keys)?;
    let text = read(&arguments.proof)?;
    let is_not = || format!("{} is not a proof", arguments.proof.display());
    let format: Format = serde_json::from_str(&text).with_context(is_not)?;
    match format.format.as_str() {
        InclusionProof::FORMAT => {
            let proof: InclusionProof = serde_json::from_str(&text).with_context(is_not)?;
            let checkpoint = proof.verify(&keys)?;
            println!(
                "leaf        {} {} at {}",
                proof.leaf.kind, proof.leaf.id, proof.position
            );
            print_checkpoint(&checkpoint);
            let Some(path) = &arguments.receipt else {
                println!("INCLUDED    pass --receipt to compare the leaf with a receipt");
                return Ok(ExitCode::SUCCESS);
            };
            let digest =
                digest_of(&read(path)?, &keys).with_context(|| format!("{} is not a receipt", path.display()))?;
            if proof.leaf.document != Some(digest) {
                println!("DIFFERS     the leaf is of another receipt than {digest}");
                return Ok(ExitCode::FAILURE);
            }
            println!("INCLUDED    the receipt {digest}");
        }
        ConsistencyProof::FORMAT => {
            let proof: ConsistencyProof = serde_json::from_str(&text).with_context(is_not)?;
            let path = arguments.checkpoint.as_deref();
            let older = checkpoint(path.context("pass the older checkpoint with --checkpoint")?, &keys)?;
            print_checkpoint(&older);
            print_checkpoint(&proof.verify(&older, &keys)?);
            println!("CONSISTENT  the newer log begins with the older one");
        }
        other => anyhow::bail!("{}: the format {other:?} is not known", arguments.proof.display()),
    }
    Ok(ExitCode::SUCCESS)
}

/// The digest of a receipt of a request or of a reversal, whose signature is good.
fn digest_of(text: &str, keys: &[PublicKey]) -> anyhow::Result<Digest> {
    if let Ok(signed) = serde_json::from_str::<SignedReversal>(text) {
        signed.verify(Some(keys))?;
        return Ok(signed.digest);
    }
    let proof = Proof::parse(text.as_bytes())?;
    proof.verify(Some(keys))?;
    Ok(proof.digest())
}

fn print_checkpoint(checkpoint: &Checkpoint) {
    let at = checkpoint.at.map(|at| format!(", signed at {at}")).unwrap_or_default();
    println!("checkpoint  size {} of {}{at}", checkpoint.size, checkpoint.origin);
}
