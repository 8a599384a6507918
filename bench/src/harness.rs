//! Measures many things in turns, so that a machine that is busy for a while is busy for all of them and ratios survive.
//!
//! Knows nothing about rules or engines: a row is a name and something to call.

use std::time::{Duration, Instant};

/// Every row gets its turn so many times.
const ROUNDS: u32 = 100;
/// And about this long each time, whatever it costs.
const TURN: Duration = Duration::from_millis(4);
const MOST_CALLS: usize = 500;
/// A call below this is measured by the batch: reading the clock takes as long as the fastest of them.
const SHORT: Duration = Duration::from_micros(2);
const BATCH: u32 = 64;
const COUNTED_CALLS: usize = 100;

/// One thing to measure.
pub struct Row {
    pub name: String,
    /// Fuel and bytes of linear memory of one call, where these exist.
    pub fuel: Option<u64>,
    pub memory: Option<usize>,
    turn: Box<dyn FnMut(&mut Samples)>,
}

impl Row {
    /// `turn` prepares what it needs, hands one call to [`Samples::take`] or [`Samples::take_async`], and asserts that
    /// the answers are right.
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

/// The times of one row's calls.
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

/// What was found out about a row.
pub struct Measured {
    pub name: String,
    pub fuel: Option<u64>,
    pub memory: Option<usize>,
    /// Seconds.
    pub min: f64,
    pub median: f64,
    /// Of the calls; of batches where a call is short.
    pub p99: f64,
    /// By the host, on the thread that asked, per call.
    pub allocations: u64,
    pub allocated_bytes: u64,
}

/// Measures all rows. The minimum is what the code costs, the median what the machine made of it.
pub fn measure(mut rows: Vec<Row>) -> Vec<Measured> {
    let mut samples: Vec<Samples> = rows.iter_mut().map(prepare).collect();
    for _ in 0..ROUNDS {
        for (row, samples) in rows.iter_mut().zip(&mut samples) {
            (row.turn)(samples);
        }
    }
    rows.into_iter().zip(samples).map(evaluate).collect()
}

/// Finds out how many calls fit into a turn.
fn prepare(row: &mut Row) -> Samples {
    let mut trial = Samples::new(20);
    (row.turn)(&mut trial);
    trial.times.sort_unstable();
    let typical = trial.times[trial.times.len() / 2].max(Duration::from_nanos(1));
    let batch = if typical < SHORT { BATCH } else { 1 };
    let wanted = (TURN.as_nanos() / (typical * batch).as_nanos()) as usize;
    let wanted = wanted.clamp(1, MOST_CALLS);
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
    // The difference is what the calls allocate without what a turn does.
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
