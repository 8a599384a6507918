//! Measures many rows in interleaved rounds, so that a busy machine affects all rows alike and the ratios stay valid.
//!
//! It must not know rules or engines: a row is a name and a function.

use std::time::{Duration, Instant};

/// Rounds per row.
const ROUNDS: u32 = 100;
/// The approximate duration of a round, regardless of the cost of a call.
const TURN: Duration = Duration::from_millis(4);
const MAX_CALLS: usize = 500;
/// Faster calls are timed in batches, because reading the clock takes as long as the fastest calls.
const SHORT: Duration = Duration::from_micros(2);
const BATCH: u32 = 64;
const COUNTED_CALLS: usize = 100;

/// A measured function.
pub struct Row {
    pub name: String,
    /// Fuel and bytes of linear memory per call, if the row has them.
    pub fuel: Option<u64>,
    pub memory: Option<usize>,
    turn: Box<dyn FnMut(&mut Samples)>,
}

impl Row {
    /// `turn` runs one round: it prepares its input, passes the call to [`Samples::take`] or [`Samples::take_async`], and
    /// asserts that the results are correct.
    pub fn new(name: impl Into<String>, turn: impl FnMut(&mut Samples) + 'static) -> Self {
        Self {
            name: name.into(),
            fuel: None,
            memory: None,
            turn: Box::new(turn),
        }
    }

    #[must_use]
    pub fn costs(mut self, fuel: u64, memory: usize) -> Self {
        self.fuel = Some(fuel);
        self.memory = Some(memory);
        self
    }
}

/// The durations of a row's calls.
pub struct Samples {
    wanted: usize,
    batch: u32,
    times: Vec<Duration>,
}

impl Samples {
    pub fn take<T>(&mut self, mut call: impl FnMut() -> T) {
        for _ in 0..self.wanted {
            let started = Instant::now();
            for _ in 0..self.batch {
                std::hint::black_box(call());
            }
            self.times.push(started.elapsed() / self.batch);
        }
    }

    pub async fn take_async<T>(&mut self, mut call: impl AsyncFnMut() -> T) {
        for _ in 0..self.wanted {
            let started = Instant::now();
            for _ in 0..self.batch {
                std::hint::black_box(call().await);
            }
            self.times.push(started.elapsed() / self.batch);
        }
    }

    fn new(wanted: usize) -> Self {
        Self {
            wanted,
            batch: 1,
            times: Vec::with_capacity(wanted),
        }
    }
}

/// The result of a row.
pub struct Measured {
    pub name: String,
    pub fuel: Option<u64>,
    pub memory: Option<usize>,
    /// Seconds.
    pub min: f64,
    pub median: f64,
    /// Percentiles of calls, or of batches if calls are short.
    pub p99: f64,
    /// Allocations of the host on the calling thread, per call.
    pub allocations: u64,
    pub allocated_bytes: u64,
}

/// Measures all rows. The minimum is the cost of the code; the median includes the noise of the machine.
pub fn measure(mut rows: Vec<Row>) -> Vec<Measured> {
    let mut samples: Vec<Samples> = rows.iter_mut().map(prepare).collect();
    for _ in 0..ROUNDS {
        for (row, samples) in rows.iter_mut().zip(&mut samples) {
            (row.turn)(samples);
        }
    }
    rows.into_iter().zip(samples).map(evaluate).collect()
}

/// Determines how many calls fit into a round.
fn prepare(row: &mut Row) -> Samples {
    let mut trial = Samples::new(20);
    (row.turn)(&mut trial);
    trial.times.sort_unstable();
    let typical = trial.times[trial.times.len() / 2].max(Duration::from_nanos(1));
    let batch = if typical < SHORT { BATCH } else { 1 };
    let wanted = (TURN.as_nanos() / (typical * batch).as_nanos()) as usize;
    let wanted = wanted.clamp(1, MAX_CALLS);
    Samples {
        wanted,
        batch,
        times: Vec::with_capacity(wanted * ROUNDS as usize),
    }
}

fn evaluate((mut row, mut samples): (Row, Samples)) -> Measured {
    let mut allocated_by = |calls: usize| {
        let mut samples = Samples::new(calls);
        allocation_counter::measure(|| (row.turn)(&mut samples))
    };
    // The difference excludes the allocations of the round itself.
    let (one, more) = (allocated_by(1), allocated_by(1 + COUNTED_CALLS));
    let per_call = |one: u64, more: u64| more.saturating_sub(one) / COUNTED_CALLS as u64;

    let times = &mut samples.times;
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64();
    Measured {
        name: row.name,
        fuel: row.fuel,
        memory: row.memory,
        min: at(0),
        median: at(50),
        p99: at(99),
        allocations: per_call(one.count_total, more.count_total),
        allocated_bytes: per_call(one.bytes_total, more.bytes_total),
    }
}
