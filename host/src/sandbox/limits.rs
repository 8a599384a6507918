//! Every limit of a plugin: constants for each class, and the few that an operator may change.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};
use utoipa::ToSchema;

use crate::config;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The stack a guest may use, in bytes of native frames. Part of the engine's configuration, therefore not a setting.
pub(super) const STACK_BYTES: usize = 256 * KIB;
/// Bytes that one transfer between guest and host may copy, however often the guest repeats the same string in it.
pub(super) const TRANSFER_BYTES: usize = 256 * KIB;
/// The contract has no resources; wasmtime's default would let a guest make 100 000 handles.
pub(super) const HANDLES: usize = 64;
/// The fuel of one note. Without it, a million fuel would buy more than a hundred thousand calls of the host, which take
/// many times as long as a million instructions.
pub(super) const NOTE_FUEL: u64 = 200;
/// With more fuel or memory, an evaluation does not run on the thread that serves requests.
pub(super) const INLINE_FUEL: u64 = 1_000_000;
pub(super) const INLINE_MEMORY_BYTES: usize = 2 * MIB;
/// Machine code in memory, all plugins together; the least recently used is dropped first. At least one plugin fits.
pub(super) const LOADED_CODE_BYTES: u64 = 256 << 20;
/// Concurrent compilations; more wait.
pub(super) const COMPILATIONS: usize = 2;
/// `describe` and `bind` get this many times the fuel of `evaluate`: they run when an operator acts, never during a claim.
const SETUP_FUEL: u64 = 10;
/// A call gets a millisecond for this much fuel, if that exceeds the constant of its class. This is a tenth of the
/// usual speed.
const FUEL_PER_MS: u64 = 100_000;

/// All limits of a sandbox. The default is that of `config.default.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether plugins of the class [`Class::Runtime`] are accepted.
    pub language_runtimes: bool,
    pub standard: ClassLimits,
    pub runtime: ClassLimits,
    /// Concurrent calls of standard plugins; 0 = four per core. Each reserves 4 GiB of address space, not of memory.
    pub slots: usize,
    /// Concurrent calls of plugins with a language runtime; 0 = one per core.
    pub runtime_slots: usize,
    /// How long a call waits for a slot before it fails as overloaded.
    pub wait: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            language_runtimes: false,
            standard: ClassLimits::STANDARD,
            runtime: ClassLimits::RUNTIME,
            slots: 0,
            runtime_slots: 0,
            wait: Duration::from_millis(100),
        }
    }
}

impl From<&config::Sandbox> for Settings {
    fn from(settings: &config::Sandbox) -> Self {
        Self {
            language_runtimes: settings.language_runtimes,
            standard: ClassLimits::STANDARD.with(&settings.standard),
            runtime: ClassLimits::RUNTIME.with(&settings.runtime),
            slots: settings.slots,
            runtime_slots: settings.runtime_slots,
            wait: settings.wait,
        }
    }
}

/// The class of a plugin: the first whose upload limits it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[strum(serialize_all = "UPPERCASE")]
pub enum Class {
    /// For compiled languages: small, and quick enough for the threads that serve requests.
    Standard,
    /// For plugins that bring the runtime of a language, such as an interpreter: larger in every way.
    Runtime,
}

/// The limits of one class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassLimits {
    pub call: CallLimits,
    pub upload: UploadLimits,
    pub compile: CompileLimits,
}

/// The limits of one call of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// Instructions, roughly, for `evaluate`. A deterministic limit, which authors meet first. A million takes about a
    /// millisecond.
    pub evaluate_fuel: u64,
    /// The same for `describe` and `bind`, which run when an operator acts, never during a claim.
    pub setup_fuel: u64,
    /// Wall-clock limit for `evaluate`, including instantiation. A safety net: a call that it ends may be retried.
    pub evaluate_deadline_ms: u64,
    /// The same for `describe` and `bind`.
    pub setup_deadline_ms: u64,
    /// Linear memory. Fuel does not see page faults, so this is a limit on time as well (about 0.5 ms per MiB).
    pub memory_bytes: usize,
    /// Elements in all tables together.
    pub table_elements: usize,
    /// Context, state and facts together; or the params.
    pub input_bytes: usize,
    /// The state that `bind` returns for `evaluate`.
    pub state_bytes: usize,
    /// All texts of a decision together.
    pub decision_bytes: usize,
    /// The JSON Schema in a manifest.
    pub schema_bytes: usize,
    /// Notes kept per call; further ones are dropped.
    pub note_lines: usize,
    /// Bytes of notes kept per call; the line that exceeds them is cut.
    pub note_bytes: usize,
}

/// The limits of the structure of an upload, checked in one linear pass before any other code reads the bytes. The
/// defaults fit compiled languages; a language runtime (an interpreter inside the plugin) needs more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadLimits {
    pub bytes: usize,
    /// Components inside the component.
    pub components: usize,
    pub core_modules: usize,
    /// At run time.
    pub core_instances: usize,
    pub memories: usize,
    pub tables: usize,
    pub functions: usize,
    pub function_bytes: usize,
    pub function_locals: usize,
    pub function_params: usize,
    pub function_blocks: usize,
    /// Nested blocks: a value that crosses levels costs the compiler at each of them.
    pub function_nesting: usize,
    pub function_loops: usize,
    pub branch_targets: usize,
    /// In all functions together.
    pub locals: usize,
    /// In all functions together.
    pub loops: usize,
    pub data_segments: usize,
    /// Entries of each remaining kind: types, imports, exports, globals, aliases and so on.
    pub section_items: usize,
    /// All custom sections together: names, debug information, producers.
    pub custom_bytes: usize,
}

/// The limits of compiling one upload, in a separate process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    pub cpu_seconds: u64,
    pub wall_seconds: u64,
    /// Address space of the compiling process.
    pub memory_bytes: u64,
    /// The machine code of one plugin.
    pub code_bytes: usize,
}

impl ClassLimits {
    pub const STANDARD: Self = Self {
        call: CallLimits {
            evaluate_fuel: 1_000_000,
            setup_fuel: 10_000_000,
            evaluate_deadline_ms: 250,
            setup_deadline_ms: 1_000,
            memory_bytes: 2 * MIB,
            table_elements: 10_000,
            input_bytes: 256 * KIB,
            state_bytes: 16 * KIB,
            decision_bytes: 16 * KIB,
            schema_bytes: 64 * KIB,
            note_lines: 32,
            note_bytes: 4 * KIB,
        },
        upload: UploadLimits {
            bytes: MIB,
            components: 0,
            core_modules: 4,
            core_instances: 8,
            memories: 1,
            tables: 4,
            functions: 10_000,
            function_bytes: 64 * KIB,
            function_locals: 500,
            function_params: 100,
            function_blocks: 4_096,
            function_nesting: 256,
            function_loops: 256,
            branch_targets: 4_096,
            locals: 50_000,
            loops: 20_000,
            data_segments: 1_024,
            section_items: 10_000,
            custom_bytes: 256 * KIB,
        },
        compile: CompileLimits {
            cpu_seconds: 5,
            wall_seconds: 20,
            memory_bytes: 1 << 30,
            code_bytes: 32 * MIB,
        },
    };

    pub const RUNTIME: Self = Self {
        call: CallLimits {
            evaluate_fuel: 100_000_000,
            setup_fuel: 1_000_000_000,
            evaluate_deadline_ms: 1_000,
            setup_deadline_ms: 10_000,
            memory_bytes: 64 * MIB,
            table_elements: 100_000,
            ..Self::STANDARD.call
        },
        upload: UploadLimits {
            bytes: 32 * MIB,
            components: 64,
            core_modules: 64,
            core_instances: 160,
            memories: 4,
            tables: 64,
            functions: 100_000,
            function_bytes: 512 * KIB,
            function_locals: 10_000,
            function_params: 100,
            function_blocks: 65_536,
            function_nesting: 4_096,
            function_loops: 4_096,
            branch_targets: 16_384,
            locals: 1_000_000,
            loops: 200_000,
            data_segments: 65_536,
            section_items: 100_000,
            custom_bytes: 4 * MIB,
        },
        compile: CompileLimits {
            cpu_seconds: 180,
            wall_seconds: 240,
            memory_bytes: 4 << 30,
            code_bytes: 128 * MIB,
        },
    };

    /// These limits with the operator's changes. The fuel of `describe` and `bind` and the deadlines follow
    /// `evaluate_fuel`.
    fn with(mut self, settings: &config::PluginClass) -> Self {
        let call = &mut self.call;
        call.memory_bytes = settings.memory_bytes;
        call.evaluate_fuel = settings.evaluate_fuel;
        call.setup_fuel = settings.evaluate_fuel * SETUP_FUEL;
        call.evaluate_deadline_ms = call.evaluate_deadline_ms.max(call.evaluate_fuel / FUEL_PER_MS);
        call.setup_deadline_ms = call.setup_deadline_ms.max(call.setup_fuel / FUEL_PER_MS);
        self.upload.bytes = settings.upload_bytes;
        self
    }
}

impl Settings {
    /// A receipt may name any limits; this process can only use these.
    pub(super) fn check(&self) -> Result<(), String> {
        self.standard.call.check()?;
        self.runtime.call.check()
    }

    pub fn of(&self, class: Class) -> &ClassLimits {
        match class {
            Class::Standard => &self.standard,
            Class::Runtime => &self.runtime,
        }
    }

    /// The accepted classes, the stricter first.
    pub(super) fn classes(&self) -> impl Iterator<Item = Class> {
        std::iter::once(Class::Standard).chain(self.language_runtimes.then_some(Class::Runtime))
    }

    /// Bytes of the largest accepted upload.
    pub fn largest_upload(&self) -> usize {
        self.classes()
            .map(|class| self.of(class).upload.bytes)
            .max()
            .unwrap_or_default()
    }

    /// How long the admission of the slowest upload may take: a compilation, after a wait of the same length.
    pub fn longest_admission(&self) -> Duration {
        let seconds = self.classes().map(|class| self.of(class).compile.wall_seconds).max();
        Duration::from_secs(2 * seconds.unwrap_or_default())
    }

    /// Concurrent calls.
    pub(super) fn slots(&self, class: Class) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let (set, unless_set) = match class {
            Class::Standard => (self.slots, 4 * cores()),
            Class::Runtime => (self.runtime_slots, cores()),
        };
        if set == 0 { unless_set } else { set }
    }
}

impl CallLimits {
    fn check(&self) -> Result<(), String> {
        let transfer = TRANSFER_BYTES as u64;
        for (name, value, least, most) in [
            ("evaluateFuel", self.evaluate_fuel, 1, u64::MAX / 2),
            ("setupFuel", self.setup_fuel, 1, u64::MAX / 2),
            ("memoryBytes", self.memory_bytes as u64, 64 << 10, 1 << 30),
            ("tableElements", self.table_elements as u64, 1, 1_000_000),
            ("inputBytes", self.input_bytes as u64, 1, 16 << 20),
            ("stateBytes", self.state_bytes as u64, 0, transfer),
            ("decisionBytes", self.decision_bytes as u64, 1, transfer),
        ] {
            if !(least..=most).contains(&value) {
                return Err(format!("the limit {name} = {value} is not between {least} and {most}"));
            }
        }
        Ok(())
    }

    pub(super) fn evaluate_budget(&self) -> Budget {
        Budget {
            fuel: self.evaluate_fuel,
            deadline: Duration::from_millis(self.evaluate_deadline_ms),
        }
    }

    pub(super) fn setup_budget(&self) -> Budget {
        Budget {
            fuel: self.setup_fuel,
            deadline: Duration::from_millis(self.setup_deadline_ms),
        }
    }

    pub(super) fn evaluates_inline(&self) -> bool {
        self.evaluate_fuel <= INLINE_FUEL && self.memory_bytes <= INLINE_MEMORY_BYTES
    }
}

/// The budget of one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) fuel: u64,
    pub(super) deadline: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_cache_of_code_holds_the_largest_plugin() {
        let settings = Settings::default();
        for class in [&settings.standard, &settings.runtime] {
            assert!(class.compile.code_bytes as u64 <= LOADED_CODE_BYTES);
        }
    }

    #[test]
    fn a_limit_out_of_range_is_named() {
        let mut settings = Settings::default();
        assert_eq!(settings.check(), Ok(()));
        settings.standard.call.memory_bytes = 1;
        assert_eq!(
            settings.check().unwrap_err(),
            "the limit memoryBytes = 1 is not between 65536 and 1073741824"
        );
    }

    #[test]
    fn only_standard_plugins_evaluate_inline() {
        let settings = Settings::default();
        assert!(settings.standard.call.evaluates_inline());
        assert!(!settings.runtime.call.evaluates_inline());
    }

    #[test]
    fn every_deployment_has_memory_for_all_compilations() {
        // For the server itself: request bodies, loaded code and the sandbox.
        let server: u64 = 1 << 30;
        let needed = server + COMPILATIONS as u64 * ClassLimits::STANDARD.compile.memory_bytes;
        let gib = needed.div_ceil(1 << 30);
        let expected = [
            ("helm/meed/values.yaml", format!("    memory: {gib}Gi")),
            ("systemd/meed-serve.service", format!("MemoryMax={gib}G")),
            ("compose/compose.yaml", format!("  mem_limit: {gib}g")),
        ];
        for (file, line) in expected {
            let path = format!("{}/../deploy/{file}", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(path).unwrap();
            assert!(text.lines().any(|found| found == line), "{file}: expected `{line}`");
        }
    }

    #[test]
    fn more_fuel_brings_more_time_and_more_fuel_for_setup() {
        let changed = ClassLimits::STANDARD.with(&config::PluginClass {
            evaluate_fuel: 1_000_000_000,
            memory_bytes: 4 * MIB,
            upload_bytes: 2 * MIB,
        });
        let CallLimits {
            setup_fuel,
            evaluate_deadline_ms,
            setup_deadline_ms,
            memory_bytes,
            table_elements,
            ..
        } = changed.call;
        assert_eq!(
            (setup_fuel, evaluate_deadline_ms, setup_deadline_ms),
            (10_000_000_000, 10_000, 100_000)
        );
        assert_eq!(
            (memory_bytes, table_elements, changed.upload.bytes),
            (4 * MIB, 10_000, 2 * MIB)
        );
    }
}
