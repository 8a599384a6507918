//! `cargo xtask fuzz [SECONDS]`: runs every target on its seeds and on random mutations of them, for SECONDS each.
//!
//! It has no instrumentation, so it builds like any test, but finds only shallow bugs. The same `SEED` gives the same
//! inputs. An input that makes a target fail is written to `fuzz/artifacts`.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use fuzz_targets::{TARGETS, Target, compile_with};
use meed_host::sandbox::{COMPILE_WORKER, Digest, compile_worker};

const LONGEST: usize = 4096;

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    if first.as_deref() == Some(COMPILE_WORKER) {
        return Ok(compile_worker(arguments));
    }
    let seconds = first
        .map_or(Ok(20), |seconds| seconds.parse())
        .context("SECONDS must be a number")?;
    let seed = arguments
        .next()
        .map_or(Ok(1), |seed| seed.parse())
        .context("SEED must be a number")?;
    compile_with(std::env::current_exe()?);
    let mut failed = 0;
    for (name, target) in TARGETS {
        failed += usize::from(!run(name, target, Duration::from_secs(seconds), seed)?);
    }
    ensure!(failed == 0, "{failed} targets failed");
    Ok(ExitCode::SUCCESS)
}

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Whether the target passed.
fn run(name: &str, target: Target, time: Duration, seed: u64) -> anyhow::Result<bool> {
    let mut inputs = seeds(name)?;
    let seeds = inputs.len();
    let mut random = Random(seed);
    let started = Instant::now();
    let (mut runs, mut slowest) = (0, Duration::ZERO);
    while runs < seeds || started.elapsed() < time {
        let input = match inputs.get(runs) {
            Some(input) => input.clone(),
            None => random.changed(&inputs[..seeds]),
        };
        let begun = Instant::now();
        if catch_unwind(|| target(&input)).is_err() {
            let path = home().join("artifacts").join(name).join(Digest::of(&input).to_string());
            std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
            std::fs::write(&path, &input)?;
            println!(
                "{name}: failed after {runs} runs with seed {seed}; the input is {}",
                path.display()
            );
            return Ok(false);
        }
        slowest = slowest.max(begun.elapsed());
        runs += 1;
        // Generated inputs, in addition to the seeds.
        if runs % 64 == 0 && inputs.len() < 4 * seeds {
            inputs.push(input);
        }
    }
    println!(
        "{name:<10} {runs:>8} runs of {seeds} seeds in {:>5.1?}, the slowest took {slowest:.1?}",
        started.elapsed()
    );
    Ok(true)
}

fn seeds(name: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let folder = home().join("seeds").join(name);
    let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut paths: Vec<_> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    // The order of directory entries is not defined.
    paths.sort();
    ensure!(!paths.is_empty(), "{} has no seeds", folder.display());
    paths
        .iter()
        .map(|path| std::fs::read(path).context("read a seed"))
        .collect()
}

/// xorshift64*: reproducible, and needs no dependency.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % limit.max(1)
    }

    #[expect(clippy::cast_possible_truncation, reason = "any byte will do")]
    fn byte(&mut self) -> u8 {
        (self.next() >> 40) as u8
    }

    /// A seed with a few changes, a seed with the tail of another one, or random bytes.
    fn changed(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        match self.below(8) {
            0 => input = (0..self.below(LONGEST)).map(|_| self.byte()).collect(),
            1 => {
                let other = &seeds[self.below(seeds.len())];
                input.truncate(self.below(input.len() + 1));
                input.extend_from_slice(&other[self.below(other.len() + 1)..]);
            }
            _ => {}
        }
        for _ in 0..=self.below(8) {
            let at = self.below(input.len() + 1);
            match self.below(6) {
                0 => input.insert(at, self.byte()),
                1 if at < input.len() => drop(input.remove(at)),
                2 => input.truncate(at),
                // Boundary values, which reveal off-by-one errors.
                3 if at + 4 <= input.len() => {
                    let edges = [0, 1, 8, 0x7f, 0xff, 0x100, 0x1000, 0xffff, 0x7fff_ffff, u32::MAX];
                    input[at..at + 4].copy_from_slice(&edges[self.below(edges.len())].to_le_bytes());
                }
                _ if at < input.len() => input[at] = self.byte(),
                _ => {}
            }
        }
        input
    }
}
