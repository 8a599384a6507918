//! Shared by `test`, `run`, `inspect` and `bench`: a module in a sandbox like the server's, and its test cases.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::Args;

use meed_host::clock::Clock;
use meed_host::plugins::cases::{Case, History};
use meed_host::sandbox::{Admitted, CodeCache, Sandbox, Settings};

/// The maximum size of a module.
const LARGEST_MODULE: u64 = 256 << 20;

/// The module and the sandbox.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// A built project (with one build/*.wasm) or a module
    #[arg(default_value = ".", value_name = "DIR|WASM")]
    plugin: PathBuf,
    /// The cache folder for compiled code, instead of ~/.cache/meed
    #[arg(long, value_name = "DIR", env = "MEED_CODE_CACHE", hide_env = true)]
    code_cache: Option<PathBuf>,
}

/// An admitted module.
pub(super) struct Workbench {
    pub(super) path: PathBuf,
    pub(super) module: Vec<u8>,
    pub(super) sandbox: Sandbox,
    pub(super) admitted: Admitted,
}

impl Bench {
    /// A module with the default sandbox.
    pub(super) fn of(module: PathBuf) -> Self {
        Self {
            plugin: module,
            code_cache: None,
        }
    }

    pub(super) async fn open(&self) -> anyhow::Result<Workbench> {
        let path = self.module()?;
        let bytes = fs::metadata(&path).map(|file| file.len()).unwrap_or_default();
        ensure!(
            bytes <= LARGEST_MODULE,
            "{} has {bytes} bytes, which is too large for a plugin",
            path.display()
        );
        let module = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        // The server's default limits, so that a module that passes here also passes there. Language runtimes are
        // always allowed here; on a server the operator decides.
        let settings = Settings {
            language_runtimes: true,
            ..Settings::default()
        };
        let cache = self.code_cache()?;
        let sandbox = Sandbox::new(&settings, std::env::current_exe()?, cache)?;
        let admitted = sandbox
            .admit_cached(module.clone())
            .await
            .map_err(|refusal| anyhow!("{} would be refused ({}): {refusal}", path.display(), refusal.code()))?;
        Ok(Workbench {
            path,
            module,
            sandbox,
            admitted,
        })
    }

    /// The folder with the project's test cases: `tests/` in the project, or next to the module.
    pub(super) fn tests(&self) -> PathBuf {
        let project = if self.plugin.is_dir() {
            Some(self.plugin.as_path())
        } else {
            // build/NAME.wasm belongs to the parent folder.
            self.plugin.parent().and_then(|folder| {
                if folder.ends_with("build") {
                    folder.parent()
                } else {
                    Some(folder)
                }
            })
        };
        project.unwrap_or(Path::new(".")).join("tests")
    }

    fn module(&self) -> anyhow::Result<PathBuf> {
        let metadata = fs::metadata(&self.plugin).with_context(|| format!("read {}", self.plugin.display()))?;
        if metadata.is_file() {
            return Ok(self.plugin.clone());
        }
        let build = self.plugin.join("build");
        let modules = files(&build, "wasm").unwrap_or_default();
        match modules.as_slice() {
            [module] => Ok(module.clone()),
            [] => bail!(
                "{} has no module; run `meed plugin build {}` first, or name a .wasm file",
                build.display(),
                self.plugin.display()
            ),
            several => bail!("{} has {} modules; name one of them", build.display(), several.len()),
        }
    }

    fn code_cache(&self) -> anyhow::Result<Option<CodeCache>> {
        let directory = match &self.code_cache {
            Some(directory) => directory.clone(),
            None => match std::env::home_dir() {
                Some(home) => home.join(".cache/meed"),
                None => return Ok(None),
            },
        };
        let mut private = fs::DirBuilder::new();
        private
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .with_context(|| format!("create {}", directory.display()))?;
        ensure!(
            fs::metadata(&directory)?.permissions().mode() & 0o022 == 0 && is_ours(&directory)?,
            "other users can write to {}, and could run code as you; choose another folder with --code-cache",
            directory.display()
        );
        let key = cache_key(&directory.join("key"))?;
        Ok(Some(CodeCache { directory, key }))
    }
}

fn is_ours(path: &Path) -> std::io::Result<bool> {
    Ok(fs::metadata(path)?.uid() == rustix::process::geteuid().as_raw())
}

/// Created once per user, in a folder that only this user can write to.
fn cache_key(path: &Path) -> anyhow::Result<[u8; 32]> {
    let key: [u8; 32] = Clock::System.random();
    match fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(mut file) => {
            use std::io::Write as _;
            file.write_all(&key)
                .with_context(|| format!("write {}", path.display()))?;
            return Ok(key);
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("create {}", path.display())),
    }
    ensure!(is_ours(path)?, "{} belongs to another user", path.display());
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    bytes
        .try_into()
        .map_err(|_| anyhow!("{} is not a key of 32 bytes; delete it", path.display()))
}

/// The files with this extension, sorted by name.
fn files(folder: &Path, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The cases of a folder, sorted by file name, or the single case of a file.
pub(super) fn read_cases(path: &Path) -> anyhow::Result<Vec<(PathBuf, Case)>> {
    let paths = if path.is_dir() {
        files(path, "json")?
    } else {
        vec![path.to_owned()]
    };
    ensure!(!paths.is_empty(), "{} has no cases (*.json)", path.display());
    paths
        .into_iter()
        .map(|path| {
            let case = read_case(&path)?;
            Ok((path, case))
        })
        .collect()
}

pub(super) fn read_case(path: &Path) -> anyhow::Result<Case> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    parse_case(&text).with_context(|| format!("{} is not a case", path.display()))
}

/// Parses exactly one case.
pub(super) fn parse_case(text: &str) -> anyhow::Result<Case> {
    let mut json = serde_json::Deserializer::from_str(text);
    let case = serde_path_to_error::deserialize(&mut json)?;
    json.end()?;
    Ok(case)
}

pub(super) async fn history() -> anyhow::Result<History> {
    Ok(History::open(Clock::System).await?)
}
