//! Every limit a plugin meets: settings with their defaults, and the few that are fixed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The stack a guest may use, in bytes of native frames. Part of the engine's configuration, therefore not a setting.
pub(super) const STACK_BYTES: usize = 256 * KIB;
/// Bytes that one transfer between guest and host may copy, however often the guest repeats the same string in it.
pub(super) const TRANSFER_BYTES: usize = 256 * KIB;
/// The contract has no resources; wasmtime's default would let a guest make 100 000 handles.
pub(super) const HANDLES: usize = 64;
/// What a note costs its guest: without a price, a million fuel would buy more than a hundred thousand calls of the
/// host, which take many times as long as a million instructions.
pub(super) const NOTE_FUEL: u64 = 200;
/// Fuel above which, and memory above which, an evaluation does not run on the thread that serves requests.
pub(super) const INLINE_FUEL: u64 = 1_000_000;
pub(super) const INLINE_MEMORY_BYTES: usize = 2 * MIB;

/// All that an operator may set about the sandbox. The defaults are those of `config.default.toml`, for who has no
/// configuration: `meed replay` and tests.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Whether plugins of the class [`Class::Runtime`] are taken.
    pub language_runtimes: bool,
    pub standard: ClassLimits,
    pub runtime: ClassLimits,
    pub pool: PoolSettings,
}

/// What a plugin is let in as: the first class whose limits on uploads it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Class {
    /// What a compiled language makes: small, and quick enough for the threads that serve requests.
    Standard,
    /// A plugin that brings a language's runtime, say an interpreter: larger in every way.
    Runtime,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standard => "STANDARD",
            Self::Runtime => "RUNTIME",
        })
    }
}

impl FromStr for Class {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Standard, Self::Runtime]
            .into_iter()
            .find(|class| class.to_string() == text)
            .ok_or_else(|| format!("{text:?} is not a class of plugins"))
    }
}

/// The limits of one class.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassLimits {
    pub call: CallLimits,
    pub upload: UploadLimits,
    pub compile: CompileLimits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            language_runtimes: false,
            standard: ClassLimits::standard(),
            runtime: ClassLimits::runtime(),
            pool: PoolSettings::default(),
        }
    }
}

/// What one call of a plugin may use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallLimits {
    /// Instructions, roughly, for `evaluate`. Deterministic: the limit authors meet. A million takes about a
    /// millisecond.
    pub evaluate_fuel: u64,
    /// The same for `describe` and `bind`, which run when an operator acts, never during a claim.
    pub setup_fuel: u64,
    /// Wall-clock limit for `evaluate`, instantiation included. A safety net; what it ends may be retried.
    pub evaluate_deadline_ms: u64,
    /// The same for `describe` and `bind`.
    pub setup_deadline_ms: u64,
    /// Linear memory. Fuel does not see page faults, so this is a limit on time as well (about 0.5 ms per MiB).
    pub memory_bytes: usize,
    /// Elements in all tables together.
    pub table_elements: usize,
    /// Context, state and facts together; or the params.
    pub input_bytes: usize,
    /// What `bind` may hand back for `evaluate`.
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

/// What an upload may look like, checked by one linear walk over its bytes before anything else reads them. The
/// defaults fit compiled languages; a language runtime (an interpreter inside the plugin) needs more.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// Blocks within blocks: what a value has to be carried through costs the compiler at every level.
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

/// What compiling one upload may use, in a process of its own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompileLimits {
    pub cpu_seconds: u64,
    pub wall_seconds: u64,
    /// Address space of the compiling process.
    pub memory_bytes: u64,
    /// Machine code that one plugin may become.
    pub code_bytes: usize,
}

/// How many calls run at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolSettings {
    /// Calls at the same time; 0 = four per core. Each reserves 4 GiB of address space, not of memory.
    pub slots: usize,
    /// The same for plugins with a language runtime; 0 = one per core.
    pub runtime_slots: usize,
    /// How long a call waits for a slot before it fails as overloaded.
    pub wait_ms: u64,
    /// Machine code kept loaded, all plugins together; the least recently used go first.
    pub loaded_code_bytes: u64,
    /// Compilations at the same time; more wait.
    pub compilations: usize,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            slots: 0,
            runtime_slots: 0,
            wait_ms: 100,
            loaded_code_bytes: 256 << 20,
            compilations: 2,
        }
    }
}

impl ClassLimits {
    fn standard() -> Self {
        Self {
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
        }
    }

    fn runtime() -> Self {
        let standard = Self::standard();
        Self {
            call: CallLimits {
                evaluate_fuel: 100_000_000,
                setup_fuel: 1_000_000_000,
                evaluate_deadline_ms: 1_000,
                setup_deadline_ms: 10_000,
                memory_bytes: 64 * MIB,
                table_elements: 100_000,
                ..standard.call
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
        }
    }

    /// `name` is the section's, for the message.
    fn check(&self, name: &str) -> Result<(), String> {
        let (call, upload, compile) = (&self.call, &self.upload, &self.compile);
        let transfer = TRANSFER_BYTES as u64;
        let in_range = [
            ("call.evaluate_fuel", call.evaluate_fuel, 1, u64::MAX / 2),
            ("call.setup_fuel", call.setup_fuel, 1, u64::MAX / 2),
            ("call.evaluate_deadline_ms", call.evaluate_deadline_ms, 1, 60_000),
            ("call.setup_deadline_ms", call.setup_deadline_ms, 1, 60_000),
            ("call.memory_bytes", call.memory_bytes as u64, 64 << 10, 1 << 30),
            ("call.table_elements", call.table_elements as u64, 1, 1_000_000),
            ("call.input_bytes", call.input_bytes as u64, 1, 16 << 20),
            ("call.state_bytes", call.state_bytes as u64, 0, transfer),
            ("call.decision_bytes", call.decision_bytes as u64, 1, transfer),
            ("call.schema_bytes", call.schema_bytes as u64, 1, transfer),
            ("upload.bytes", upload.bytes as u64, 1, 256 << 20),
            ("upload.core_instances", upload.core_instances as u64, 1, 1_000),
            ("upload.memories", upload.memories as u64, 1, 100),
            ("upload.tables", upload.tables as u64, 0, 1_000),
            ("compile.cpu_seconds", compile.cpu_seconds, 1, 3_600),
            ("compile.wall_seconds", compile.wall_seconds, 1, 3_600),
            ("compile.memory_bytes", compile.memory_bytes, 128 << 20, 1 << 40),
            ("compile.code_bytes", compile.code_bytes as u64, 1, 1 << 30),
        ];
        within(name, &in_range)
    }
}

fn within(section: &str, settings: &[(&str, u64, u64, u64)]) -> Result<(), String> {
    for (name, value, least, most) in settings {
        if !(least..=most).contains(&value) {
            return Err(format!(
                "{section}.{name} = {value}: must be between {least} and {most}"
            ));
        }
    }
    Ok(())
}

impl Settings {
    /// Says which setting makes no sense, if one does.
    pub(super) fn check(&self) -> Result<(), String> {
        self.standard.check("sandbox.standard")?;
        self.runtime.check("sandbox.runtime")?;
        let largest = self.classes().map(|class| self.of(class).compile.code_bytes).max();
        let in_range = [
            (
                "loaded_code_bytes",
                self.pool.loaded_code_bytes,
                largest.unwrap_or_default() as u64,
                1 << 40,
            ),
            ("slots", self.pool.slots as u64, 0, 4_096),
            ("runtime_slots", self.pool.runtime_slots as u64, 0, 1_024),
            ("compilations", self.pool.compilations as u64, 1, 64),
        ];
        within("sandbox.pool", &in_range)
    }

    pub fn of(&self, class: Class) -> &ClassLimits {
        match class {
            Class::Standard => &self.standard,
            Class::Runtime => &self.runtime,
        }
    }

    /// The classes that are taken, the stricter first.
    pub(super) fn classes(&self) -> impl Iterator<Item = Class> {
        std::iter::once(Class::Standard).chain(self.language_runtimes.then_some(Class::Runtime))
    }

    /// Bytes of the largest upload that can be taken.
    pub fn largest_upload(&self) -> usize {
        self.classes()
            .map(|class| self.of(class).upload.bytes)
            .max()
            .unwrap_or_default()
    }

    /// How long the slowest upload may be looked at: as long as it may be compiled, after waiting that long.
    pub fn longest_admission(&self) -> Duration {
        let seconds = self.classes().map(|class| self.of(class).compile.wall_seconds).max();
        Duration::from_secs(2 * seconds.unwrap_or_default())
    }

    /// Calls at the same time.
    pub(super) fn slots(&self, class: Class) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let (set, unless_set) = match class {
            Class::Standard => (self.pool.slots, 4 * cores()),
            Class::Runtime => (self.pool.runtime_slots, cores()),
        };
        if set == 0 { unless_set } else { set }
    }
}

impl CallLimits {
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

/// What one call gets to spend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) fuel: u64,
    pub(super) deadline: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense_and_small_plugins_evaluate_inline() {
        let settings = Settings::default();
        assert_eq!(settings.check(), Ok(()));
        assert!(settings.standard.call.evaluates_inline());
        assert!(!settings.runtime.call.evaluates_inline());
        let all = Settings {
            language_runtimes: true,
            ..settings
        };
        assert_eq!(all.check(), Ok(()));
    }

    #[test]
    fn a_setting_out_of_range_is_named() {
        let mut settings = Settings::default();
        settings.standard.call.memory_bytes = 1;
        let fault = settings.check().unwrap_err();
        assert_eq!(
            fault,
            "sandbox.standard.call.memory_bytes = 1: must be between 65536 and 1073741824"
        );
    }
}
