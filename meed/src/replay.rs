//! `meed replay`: verifies a receipt without a server.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use meed_host::claims::{
    Proof, Replay, ReversalReceipt, Review, SignedReversal, check_seed, format_of, format1, replay,
};
use meed_host::events::Secret;
use meed_host::keys::PublicKey;
use meed_host::sandbox::{Digest, Sandbox, Settings};

/// An upper bound for the file size. Receipts are much smaller.
const LARGEST_RECEIPT: u64 = 16 << 20;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The response of GET /reward-requests/{id}/receipt or of GET /reward-requests/{id}/reversal/receipt
    #[arg(value_name = "RECEIPT")]
    receipt: PathBuf,
    /// The plugin module whose digest is in the receipt
    #[arg(long, value_name = "WASM")]
    plugin: Option<PathBuf>,
    /// The server's receipt keys, from /.well-known/receipt-keys.json, obtained over a trusted channel
    #[arg(long, value_name = "JWKS")]
    keys: Option<PathBuf>,
    /// The seedSecret from GET /events/{id}/seed after the event has ended; also verifies the seed of the draw
    #[arg(long, value_name = "HEX")]
    seed_secret: Option<String>,
}

/// Exit code 0: MATCH, nothing to run, or a valid reversal. 1: the decision differs or cannot be verified. 3: not
/// replayable here. (2 is an invalid command line.)
pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("read {}", path.display()));
    let size = std::fs::metadata(&arguments.receipt)
        .map(|file| file.len())
        .unwrap_or_default();
    anyhow::ensure!(
        size <= LARGEST_RECEIPT,
        "{} is too large for a receipt",
        arguments.receipt.display()
    );
    let text = read(&arguments.receipt)?;
    let is_not = || format!("{} is not a signed receipt", arguments.receipt.display());
    let keys = match &arguments.keys {
        Some(path) => {
            let text = String::from_utf8(read(path)?).with_context(|| format!("read {}", path.display()))?;
            Some(PublicKey::of_jwks(&text).with_context(|| format!("{} is not a JWK Set", path.display()))?)
        }
        None => None,
    };
    if verify_reversal(&text, keys.as_deref()).with_context(is_not)? {
        return Ok(ExitCode::SUCCESS);
    }
    let proof = Proof::parse(&text).with_context(is_not)?;
    let module = arguments.plugin.as_ref().map(read).transpose()?;
    let sandbox = Sandbox::new(&settings(&proof), std::env::current_exe()?, None)?;
    let outcome = replay(&sandbox, &proof, module, keys.as_deref()).await?;

    let Some(receipt) = proof.content() else {
        println!("receipt    {}", proof.digest());
        print_signature(proof.key_id(), keys.is_some());
        println!("ERASED     the content was erased; the digest is one that the key signed");
        return Ok(ExitCode::SUCCESS);
    };
    let seed = match &arguments.seed_secret {
        Some(text) => check_seed(
            &proof,
            &Secret::from_hex(text).context("--seed-secret is not 64 hexadecimal digits")?,
        ),
        None => None,
    };
    println!("receipt    {} {}", proof.digest(), receipt.status);
    println!("request    {} received {}", receipt.request_id, receipt.received_at);
    print_signature(proof.key_id(), keys.is_some());
    if let Some(record) = &receipt.evaluation {
        let plugin = &record.plugin;
        println!("plugin     {} {} {}", plugin.name, plugin.version, plugin.digest);
        if let Some(signer) = &plugin.signer {
            println!(
                "signer     {}, key {} (as the server attests)",
                signer.name, signer.key_id
            );
        }
    }
    if let Some(review) = &receipt.review {
        print_review(review);
    }
    match seed {
        Some(Ok(())) => println!("seed       good, it matches the secret of the event"),
        Some(Err(fault)) => {
            println!("DIFFERS\n  seed: {fault}");
            return Ok(ExitCode::FAILURE);
        }
        None => {}
    }
    Ok(match outcome {
        Replay::Match { fuel } => {
            println!("MATCH      the same decision, the same {fuel} fuel");
            ExitCode::SUCCESS
        }
        Replay::NothingToRun => {
            let codes = receipt
                .reasons
                .iter()
                .map(|reason| reason.code.as_str())
                .collect::<Vec<_>>();
            println!(
                "NOTHING TO RUN  the host decided without running the plugin: {}",
                codes.join(", ")
            );
            ExitCode::SUCCESS
        }
        // Returned above.
        Replay::Erased => ExitCode::SUCCESS,
        Replay::Differs(differences) => {
            println!("DIFFERS");
            for difference in differences {
                println!("  {difference}");
            }
            ExitCode::FAILURE
        }
        Replay::NotReplayable(reason) => {
            println!("NOT REPLAYABLE HERE  {reason}");
            ExitCode::from(3)
        }
    })
}

fn print_review(review: &Review) {
    let by = review
        .reviewed_by
        .map_or_else(|| "the server".to_owned(), |by| by.to_string());
    println!(
        "review     {} at {} by {by}",
        review.outcome.as_str(),
        review.reviewed_at
    );
    if let Some(reason) = &review.reason {
        println!("reason     {reason:?}");
    }
}

fn print_signature(key_id: &str, is_trusted: bool) {
    println!("signature  good, key {key_id}");
    if !is_trusted {
        println!("           (the key in the receipt; pass --keys to verify that it is the server's)");
    }
}

/// Verifies and prints the receipt of a reversal, of either format; `false` if it is another document.
fn verify_reversal(text: &[u8], keys: Option<&[PublicKey]>) -> anyhow::Result<bool> {
    match format_of(text)?.as_deref() {
        Some(ReversalReceipt::FORMAT) => {
            let signed: SignedReversal = serde_json::from_slice(text)?;
            signed.verify(keys)?;
            let receipt = signed.receipt.context("it has no content")?;
            print_reversal(&receipt, signed.digest, &signed.signature.key_id, keys.is_some());
        }
        Some(format1::SignedReversal::FORMAT) => {
            let signed: format1::SignedReversal = serde_json::from_slice(text)?;
            signed.verify(keys)?;
            print_reversal(&signed.receipt, signed.digest, &signed.signature.key_id, keys.is_some());
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// An operator made the reversal, so there is nothing to run again. Only the signature can be verified.
fn print_reversal(receipt: &ReversalReceipt, digest: Digest, key_id: &str, is_trusted: bool) {
    println!("receipt    {digest} REVERSED");
    println!(
        "request    {} of receipt {}",
        receipt.request_id, receipt.request_digest
    );
    print_signature(key_id, is_trusted);
    println!("reason     {:?}", receipt.reason);
    println!(
        "REVERSAL   reversed at {} by {}; nothing to run",
        receipt.reversed_at, receipt.reversed_by
    );
    for grant in &receipt.grants {
        println!("  {} of the reward {}", grant.quantity, grant.reward_id);
    }
}

/// The maximum size of a module, for servers with raised upload limits.
const LARGEST_MODULE: usize = 64 << 20;

/// This release's sandbox with the limits of the receipt. The upload limits of the server are not in the receipt and do
/// not affect the decision, so they are generous here.
fn settings(proof: &Proof) -> Settings {
    let mut settings = Settings {
        language_runtimes: true,
        ..Settings::default()
    };
    let upload = &mut settings.runtime.upload;
    for limit in [
        &mut upload.function_bytes,
        &mut upload.function_locals,
        &mut upload.function_blocks,
        &mut upload.function_nesting,
        &mut upload.function_loops,
        &mut upload.branch_targets,
        &mut upload.locals,
        &mut upload.loops,
        &mut upload.data_segments,
        &mut upload.section_items,
        &mut upload.custom_bytes,
    ] {
        *limit *= 16;
    }
    upload.bytes = LARGEST_MODULE;
    let content = proof.content();
    if let Some(record) = content.as_ref().and_then(|receipt| receipt.evaluation.as_ref()) {
        for call in [&mut settings.standard.call, &mut settings.runtime.call] {
            record.limits.set(call);
            // No request waits here, so only fuel limits a run.
            call.evaluate_deadline_ms = 60_000;
            call.setup_deadline_ms = 60_000;
        }
    }
    settings
}
