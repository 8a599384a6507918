//! Runs one call of one plugin: in a fresh store, with all limits, and with a named failure if it goes wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use wasmtime::{Engine, PoolConcurrencyLimitError, Store, Trap};

use super::engine::TICK;
use super::limiter::{Denied, Limiter};
use super::limits::{Budget, ClassLimits, HANDLES, TRANSFER_BYTES};
use super::{Digest, text};

/// The outcome and the cost of a call.
#[derive(Debug)]
pub struct Call<T> {
    pub outcome: Result<T, Failure>,
    /// The fuel used, which is the same for the same input.
    pub fuel: u64,
    /// The peak of the plugin's linear memory, in bytes.
    pub memory: usize,
    pub elapsed: Duration,
    /// The notes that the plugin logged for its author.
    pub notes: Vec<String>,
}

impl<T> Call<T> {
    /// A call that did not reach the plugin.
    pub(super) fn not_run(failure: Failure) -> Self {
        Self {
            outcome: Err(failure),
            fuel: 0,
            memory: 0,
            elapsed: Duration::ZERO,
            notes: Vec::new(),
        }
    }

    pub(super) fn and_check(mut self, check: impl FnOnce(&T) -> Result<(), Failure>) -> Self {
        if let Ok(answer) = &self.outcome
            && let Err(failure) = check(answer)
        {
            self.outcome = Err(failure);
        }
        self
    }

    /// Logs the notes of the plugin. The caller logs failures, because it knows the purpose of the call.
    pub(super) fn log_notes(self, digest: Digest) -> Self {
        for note in &self.notes {
            tracing::debug!(%digest, note, "plugin note");
        }
        self
    }
}

/// Why a call has no answer. A failure never means that a user is not eligible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("it used all of its {limit} fuel")]
    OutOfFuel { limit: u64 },
    #[error("it requested {wanted} bytes of memory, the limit is {limit}")]
    Memory { wanted: usize, limit: usize },
    #[error("it requested {wanted} table elements, the limit is {limit}")]
    Table { wanted: usize, limit: usize },
    #[error("it overflowed its stack")]
    Stack,
    #[error("it trapped: {0}")]
    Trap(String),
    #[error("it returned an error: {0}")]
    Refused(String),
    #[error("its answer violates the contract: {0}")]
    Malformed(String),
    #[error("its input has {found} bytes, the limit is {limit}")]
    Input { found: usize, limit: usize },
    #[error("it did not return within {0:?}")]
    Deadline(Duration),
    #[error("all sandbox slots are in use")]
    Overloaded,
    #[error("the sandbox failed: {0}")]
    Sandbox(String),
}

impl Failure {
    /// A stable code for logs, metrics and stored reward requests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::OutOfFuel { .. } => "out-of-fuel",
            Self::Memory { .. } => "memory-limit",
            Self::Table { .. } => "table-limit",
            Self::Stack => "stack-overflow",
            Self::Trap(_) => "trap",
            Self::Refused(_) => "refused",
            Self::Malformed(_) => "malformed-answer",
            Self::Input { .. } => "input-too-large",
            Self::Deadline(_) => "deadline",
            Self::Overloaded => "overloaded",
            Self::Sandbox(_) => "sandbox-failure",
        }
    }

    /// Whether the same plugin with the same input and limits fails in the same way every time, on any machine. A stack
    /// overflow is not deterministic, because the size of stack frames depends on the machine.
    pub fn is_deterministic(&self) -> bool {
        match self {
            Self::OutOfFuel { .. }
            | Self::Memory { .. }
            | Self::Table { .. }
            | Self::Trap(_)
            | Self::Refused(_)
            | Self::Malformed(_)
            | Self::Input { .. } => true,
            Self::Stack | Self::Deadline(_) | Self::Overloaded | Self::Sandbox(_) => false,
        }
    }

    /// Whether the plugin is or may be the cause. It is not if it never ran, or if the host failed.
    pub fn is_plugin_fault(&self) -> bool {
        !matches!(self, Self::Overloaded | Self::Sandbox(_))
    }

    fn of(error: &wasmtime::Error, budget: Budget, started: bool) -> Self {
        if let Some(denied) = error.downcast_ref::<Denied>() {
            return match *denied {
                Denied::Memory { wanted, limit } => Self::Memory { wanted, limit },
                Denied::Table { wanted, limit } => Self::Table { wanted, limit },
                Denied::System => Self::Sandbox(denied.to_string()),
            };
        }
        if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
            return Self::Overloaded;
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => Self::OutOfFuel { limit: budget.fuel },
            Some(Trap::Interrupt) => Self::Deadline(budget.deadline),
            Some(Trap::StackOverflow) => Self::Stack,
            Some(trap) => Self::Trap(trap.to_string()),
            // Instantiation failed without a trap or limit: the machine has no memory for an instance.
            None if !started => Self::Sandbox(text::line(&error.root_cause().to_string(), 512)),
            // The canonical ABI rejected the answer: pointers out of bounds, text that is not UTF-8, or a transfer
            // larger than the limit (which wasmtime calls hostcall fuel).
            None => Self::Malformed(text::line(&error.root_cause().to_string(), 512)),
        }
    }
}

/// The host's state of a running plugin.
pub(super) struct Guest {
    /// The instance exists. Later errors concern the plugin's answer.
    pub(super) started: bool,
    pub(super) limiter: Limiter,
    pub(super) notes: Notes,
}

/// Notes, with a maximum number of lines and bytes.
pub(super) struct Notes {
    lines: Vec<String>,
    max_lines: usize,
    bytes_left: usize,
}

impl Notes {
    pub(super) fn is_full(&self) -> bool {
        self.lines.len() >= self.max_lines || self.bytes_left == 0
    }

    pub(super) fn push(&mut self, message: &str) {
        if !self.is_full() {
            let line = text::line(message, self.bytes_left);
            // A line cut before a multi-byte character leaves bytes that further lines must not use.
            self.bytes_left -= if message.len() > self.bytes_left {
                self.bytes_left
            } else {
                line.len()
            };
            self.lines.push(line);
        }
    }
}

/// Runs `job` on a fresh store. Blocks the thread for at most the deadline plus one tick.
pub(super) fn run<T>(
    engine: &Engine,
    limits: &ClassLimits,
    budget: Budget,
    job: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<Result<T, Failure>>,
) -> Call<T> {
    let started = Instant::now();
    let guest = Guest {
        started: false,
        limiter: Limiter::new(limits),
        notes: Notes {
            lines: Vec::new(),
            max_lines: limits.call.note_lines,
            bytes_left: limits.call.note_bytes,
        },
    };
    let mut store = Store::new(engine, guest);
    let outcome = prepare(&mut store, budget).and_then(|()| {
        // Unwind safe: the store is dropped immediately afterwards.
        catch_unwind(AssertUnwindSafe(|| job(&mut store)))
            .unwrap_or_else(|_| Ok(Err(Failure::Sandbox("the host panicked; see the log".to_owned()))))
    });
    let outcome = outcome.unwrap_or_else(|error| Err(Failure::of(&error, budget, store.data().started)));
    let fuel = budget.fuel - store.get_fuel().unwrap_or_default();
    let guest = store.into_data();
    Call {
        outcome,
        fuel,
        memory: guest.limiter.memory_bytes(),
        elapsed: started.elapsed(),
        notes: guest.notes.lines,
    }
}

fn prepare(store: &mut Store<Guest>, budget: Budget) -> wasmtime::Result<()> {
    store.limiter(|guest| &mut guest.limiter);
    store.set_fuel(budget.fuel)?;
    // Plus one tick, because the first tick may come immediately.
    let ticks = budget.deadline.as_millis() / TICK.as_millis() + 1;
    store.set_epoch_deadline(u64::try_from(ticks).unwrap_or(u64::MAX));
    store.set_hostcall_fuel(TRANSFER_BYTES);
    store.set_max_component_handles(HANDLES);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{Settings, engine};

    #[test]
    fn a_panic_of_the_host_ends_one_call_only() {
        let settings = Settings::default();
        let engine = engine::running(&settings).unwrap();
        let call = run::<()>(
            &engine,
            &settings.standard,
            settings.standard.call.evaluate_budget(),
            |_| panic!("on purpose"),
        );
        assert_eq!(call.outcome.unwrap_err().code(), "sandbox-failure");
    }

    #[test]
    fn failures_of_the_host_are_not_the_plugins_fault() {
        for failure in [
            Failure::Stack,
            Failure::Deadline(Duration::ZERO),
            Failure::OutOfFuel { limit: 1 },
        ] {
            assert!(failure.is_plugin_fault(), "{failure}");
        }
        for failure in [Failure::Overloaded, Failure::Sandbox(String::new())] {
            assert!(!failure.is_plugin_fault(), "{failure}");
        }
    }

    fn notes(max_lines: usize, bytes_left: usize) -> Notes {
        Notes {
            lines: Vec::new(),
            max_lines,
            bytes_left,
        }
    }

    #[test]
    fn notes_have_a_maximum_number_of_lines() {
        let mut notes = notes(2, 100);
        for line in ["one", "two", "three"] {
            notes.push(line);
        }
        assert_eq!(notes.lines, ["one", "two"]);
    }

    #[test]
    fn notes_have_a_maximum_number_of_bytes() {
        let mut notes = notes(9, 5);
        for line in ["한글", "more"] {
            notes.push(line);
        }
        assert_eq!(notes.lines, ["한"]);
        assert!(notes.is_full());
    }
}
