//! Processor time, which measures the cost of a claim even on a shared machine.

use std::ops::Sub;

/// Linux counts in hundredths of a second.
const TICK: f64 = 0.01;

/// Seconds of processor time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// This process.
    pub client: f64,
    /// Its child processes, including ended ones.
    pub servers: f64,
    /// All `postgres` processes of this machine.
    pub database: f64,
}

impl Cpu {
    pub(crate) fn now() -> Self {
        let mut cpu = Self::default();
        let me = std::process::id();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            // `self` and `thread-self` are this process once more.
            if !entry
                .file_name()
                .to_string_lossy()
                .starts_with(|first: char| first.is_ascii_digit())
            {
                continue;
            }
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
                continue;
            };
            // pid (name) state parent …, of which the user, system, children's user and system times are the 14th to
            // 17th.
            let Some((head, tail)) = stat.rsplit_once(')') else {
                continue;
            };
            let (pid, name) = head.split_once(" (").unwrap_or_default();
            let fields: Vec<&str> = tail.split_whitespace().collect();
            let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse().ok()).unwrap_or(0.0) * TICK;
            let own = ticks(14) + ticks(15);
            if pid.parse() == Ok(me) {
                cpu.client += own;
                cpu.servers += ticks(16) + ticks(17);
            } else if fields.get(1).and_then(|parent| parent.parse().ok()) == Some(me) {
                cpu.servers += own;
            } else if name == "postgres" {
                cpu.database += own;
            }
        }
        cpu
    }

    /// Microseconds per item.
    pub(crate) fn each(self, count: usize) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let micros = |seconds: f64| seconds * 1e6 / count.max(1) as f64;
        Self {
            client: micros(self.client),
            servers: micros(self.servers),
            database: micros(self.database),
        }
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            client: self.client - before.client,
            servers: self.servers - before.servers,
            database: self.database - before.database,
        }
    }
}
