//! Measures how fast a restarted server has its plugins: from cached machine code, or by compiling them.

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use meed_host::sandbox::{CodeCache, Digest, Plugin, Sandbox, Settings, with_custom_section};
use tokio::runtime::Runtime;

use crate::harness::Row;
use crate::rules::Rule;

const PLUGINS: u32 = 100;
const ROUNDS: usize = 10;

pub(crate) struct Readiness {
    /// Decisions of all plugins, in a sandbox with the default number of slots and in one with a slot for each.
    loaded: [(&'static str, Sandbox, Vec<Plugin>); 2],
    /// Time from creating the sandbox until the last plugin is loaded, the best of several starts. The files were just
    /// written, so they come from the page cache.
    from_disk: Duration,
    /// The part of it that creates the sandbox.
    making: Duration,
    /// Time to admit all plugins in sequence, each with a compiling process.
    admitting: Duration,
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |duration: Duration| duration.as_secs_f64() * 1e3;
        write!(
            f,
            "{PLUGINS} plugins: ready {:.1} ms after a start, from the code on disk ({:.1} ms of it create the sandbox); \
             admitting all of them took {:.1} s, {:.0} ms each",
            millis(self.from_disk),
            millis(self.making),
            self.admitting.as_secs_f64(),
            millis(self.admitting / PLUGINS)
        )
    }
}

/// Copies of `module`, each with a different custom section.
pub(crate) async fn readiness(settings: &Settings, module: &[u8]) -> anyhow::Result<Readiness> {
    let directory = tempfile::tempdir()?;
    let new_sandbox = |settings: &Settings| {
        let cache = CodeCache {
            directory: directory.path().to_owned(),
            key: [7; 32],
        };
        Sandbox::new(settings, std::env::current_exe()?, Some(cache)).context("create the sandbox")
    };

    let first = new_sandbox(settings)?;
    let started = Instant::now();
    let mut digests = Vec::new();
    for number in 0..PLUGINS {
        let variant = with_custom_section(module.to_vec(), "number", &number.to_le_bytes());
        let admitted = first.admit(variant).await?;
        first.store(&admitted).await?;
        digests.push(admitted.digest);
    }
    let admitting = started.elapsed();
    drop(first);

    let (mut from_disk, mut making) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let again = new_sandbox(settings)?;
        making = making.min(started.elapsed());
        for &digest in &digests {
            again.load_cached(digest).await.context("it was kept on disk")?;
        }
        from_disk = from_disk.min(started.elapsed());
    }

    let usual = recalled(new_sandbox(settings)?, &digests).await?;
    let mut roomy = settings.clone();
    roomy.slots = 256;
    let roomy = recalled(new_sandbox(&roomy)?, &digests).await?;
    Ok(Readiness {
        loaded: [
            ("meed, fresh: 100 plugins in turn", usual.0, usual.1),
            ("meed, fresh: 100 plugins in turn, 256 slots", roomy.0, roomy.1),
        ],
        from_disk,
        making,
        admitting,
    })
}

async fn recalled(sandbox: Sandbox, digests: &[Digest]) -> anyhow::Result<(Sandbox, Vec<Plugin>)> {
    let mut plugins = Vec::new();
    for &digest in digests {
        plugins.push(sandbox.load_cached(digest).await.context("it was kept on disk")?);
    }
    Ok((sandbox, plugins))
}

/// Decisions in sequence, each by a different plugin. A pool slot remembers its last module; with more plugins than
/// slots, no slot can reuse it.
pub(crate) fn in_turn(runtime: &Rc<Runtime>, ready: &Readiness, rule: &Rc<Rule>) -> impl Iterator<Item = Row> {
    ready.loaded.iter().map(|(name, sandbox, plugins)| {
        let (runtime, rule) = (Rc::clone(runtime), Rc::clone(rule));
        let (sandbox, plugins) = (sandbox.clone(), plugins.clone());
        let mut next = 0;
        Row::new(*name, move |samples| {
            runtime.block_on(samples.take_async(async || {
                next = (next + 1) % plugins.len();
                let call = sandbox
                    .evaluate(&plugins[next], &rule.context, &rule.binding.state, &rule.facts)
                    .await;
                assert_eq!(call.outcome.as_ref(), Ok(&rule.decision));
                call
            }));
        })
    })
}
