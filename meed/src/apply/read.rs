//! Reads files and folders into the objects that they want. Every fault is told with its file, line and column. Must not know:
//! the server.
//!
//! A file may come from a stranger's pull request, so its size, depth and aliases are bounded, and no message shows its text.

use std::collections::HashMap;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use meed_author::signature_beside;
use serde_saphyr::{DuplicateKeyPolicy, Location};

use meed_host::name::stable_name;
use meed_host::sandbox::Digest;

use super::file::{Content, Document, PluginVersion, Rule, Section};
use super::kind::Kind;

/// The largest file, and all files together.
const LARGEST: u64 = 16 << 20;
const LARGEST_IN_ALL: usize = 64 << 20;
/// The most files of all folders together.
const MOST_FILES: usize = 10_000;
/// The deepest nesting of folders.
const DEEPEST: usize = 32;
/// The largest module that is read.
pub(super) const LARGEST_MODULE: u64 = 64 << 20;
/// What a core module and a component begin with.
const MAGIC: &[u8] = b"\0asm";

/// Where something is in a file.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub file: String,
    pub line: u64,
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// An object that a file wants.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub kind: Kind,
    pub name: String,
    pub content: Content,
    pub place: Place,
    /// Of a plugin with a file.
    pub module: Option<PathBuf>,
}

/// What all files want together.
#[derive(Debug, Default)]
pub(super) struct Wants {
    pub objects: Vec<Wanted>,
    /// How many YAML documents were read.
    pub documents: usize,
    /// Why the files cannot be applied.
    pub faults: Vec<String>,
}

/// A file, and the folder that it was found below.
#[derive(Debug, PartialEq)]
struct Source {
    path: PathBuf,
    root: PathBuf,
}

/// Reads these files, the `*.yaml` and `*.yml` files of these folders, and standard input for `-`.
pub(super) fn read(paths: &[PathBuf]) -> anyhow::Result<Wants> {
    let mut files = Vec::new();
    for path in paths {
        let root = if path != Path::new("-") && path.is_dir() {
            path.as_path()
        } else {
            path.parent().unwrap_or(Path::new(""))
        };
        find(path, root, 0, &mut files)?;
    }
    files.dedup();
    let mut reader = Reader::default();
    for file in files {
        reader.file(&file)?;
    }
    Ok(reader.wants)
}

/// Adds the files of a path, in the order of their names.
fn find(path: &Path, root: &Path, depth: usize, files: &mut Vec<Source>) -> anyhow::Result<()> {
    if path == Path::new("-") || !path.is_dir() {
        ensure!(files.len() < MOST_FILES, "there are more than {MOST_FILES} files");
        files.push(Source {
            path: path.to_owned(),
            root: root.to_owned(),
        });
        return Ok(());
    }
    ensure!(depth < DEEPEST, "{}: folders are nested too deeply", path.display());
    let entries = std::fs::read_dir(path).with_context(|| format!("read {}", path.display()))?;
    let mut entries: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .with_context(|| format!("read {}", path.display()))?;
    entries.sort();
    for entry in entries {
        let is_hidden = entry
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let is_yaml = entry.extension().is_some_and(|end| end == "yaml" || end == "yml");
        if !is_hidden && (entry.is_dir() || is_yaml) {
            find(&entry, root, depth + 1, files)?;
        }
    }
    Ok(())
}

#[derive(Default)]
struct Reader {
    wants: Wants,
    bytes: usize,
    seen: HashMap<(Kind, String), Place>,
}

impl Reader {
    fn file(&mut self, source: &Source) -> anyhow::Result<()> {
        let path = source.path.as_path();
        let shown = path.display().to_string();
        let text = match read_bounded(path, LARGEST)? {
            Ok(bytes) => String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned()),
            Err(size) => Err(format!("has more than {size} bytes; split it")),
        };
        let text = match text {
            Ok(text) => text,
            Err(fault) => {
                self.wants.faults.push(format!("{shown}: {fault}"));
                return Ok(());
            }
        };
        self.bytes += text.len();
        ensure!(
            self.bytes <= LARGEST_IN_ALL,
            "the files have more than {LARGEST_IN_ALL} bytes together"
        );
        if let Some(line) = line_of_secret(&text) {
            self.wants.faults.push(format!(
                "{shown}:{line}: contains a secret. Remove it, and rotate it, because others may have read the file"
            ));
            return Ok(());
        }
        let options = serde_saphyr::options! {
            duplicate_keys: DuplicateKeyPolicy::Error,
            strict_booleans: true,
            // A snippet could show a secret in the log of a build.
            with_snippet: false,
        };
        let documents: Vec<Document> = match serde_saphyr::from_multiple_with_options(&text, options) {
            Ok(documents) => documents,
            Err(error) => {
                let at = error.location().map(|at| place(&shown, at));
                let at = at.map_or(shown, |at| at.to_string());
                self.wants.faults.push(format!("{at}: {}", message(&error)));
                return Ok(());
            }
        };
        self.wants.documents += documents.len();
        for document in documents {
            self.plugins(&shown, source, document.plugins);
            self.section(&shown, Kind::Rewards, document.rewards);
            self.section(&shown, Kind::EventGroups, document.event_groups);
            self.section(&shown, Kind::Events, document.events);
            self.section(&shown, Kind::Webhooks, document.webhooks);
            self.section(&shown, Kind::ServiceKeys, document.service_keys);
        }
        Ok(())
    }

    fn section<T: Rule>(&mut self, file: &str, kind: Kind, section: Section<T>) {
        for (name, rule) in section.into_iter().flatten() {
            let place = place(file, rule.referenced);
            self.add(kind, name, rule.value.content(), place, None);
        }
    }

    fn plugins(&mut self, file: &str, source: &Source, section: Section<PluginVersion>) {
        let folder = source.path.parent().unwrap_or(Path::new(""));
        for (name, version) in section.into_iter().flatten() {
            let place = place(file, version.referenced);
            let mut version = version.value;
            if name
                .split_once('@')
                .is_none_or(|(name, version)| name.is_empty() || version.is_empty())
            {
                let fault =
                    format!("{place}: the plugin {name:?} needs its version in its name, such as login-streak@1.0.0");
                self.wants.faults.push(fault);
                continue;
            }
            let module = version.file.take().map(|file| folder.join(file));
            if let Some(path) = &module {
                match digest_of(path, &source.root, version.digest.as_deref()) {
                    Ok(digest) => version.digest = Some(digest),
                    Err(fault) => {
                        self.wants.faults.push(format!("{place}: {fault:#}"));
                        continue;
                    }
                }
            }
            self.add(Kind::Plugins, name, version.content(), place, module);
        }
    }

    fn add(&mut self, kind: Kind, name: String, content: Content, place: Place, module: Option<PathBuf>) {
        let fault = match kind {
            Kind::Rewards | Kind::Events | Kind::Webhooks => stable_name(&name, &()).err(),
            Kind::Plugins | Kind::EventGroups | Kind::ServiceKeys => None,
        };
        if let Some(fault) = fault {
            self.wants.faults.push(format!("{place}: the name {fault}"));
            return;
        }
        if let Some(first) = self.seen.insert((kind, name.clone()), place.clone()) {
            let noun = kind.noun();
            self.wants
                .faults
                .push(format!("{place}: the {noun} {name:?} is also at {first}; keep one"));
            return;
        }
        self.wants.objects.push(Wanted {
            kind,
            name,
            content,
            place,
            module,
        });
    }
}

/// The digest of a module. Of other files nothing is told, because the files that name them may come from a stranger.
fn digest_of(path: &Path, root: &Path, wanted: Option<&str>) -> anyhow::Result<String> {
    let shown = path.display();
    let signature = signature_beside(path);
    for file in [path, signature.as_path()] {
        if file == path || file.exists() {
            require_inside(file, root)?;
        }
    }
    let bytes = match read_bounded(path, LARGEST_MODULE)? {
        Ok(bytes) => bytes,
        Err(size) => bail!("{shown} has more than {size} bytes"),
    };
    ensure!(bytes.starts_with(MAGIC), "{shown} is no WebAssembly module");
    let digest = Digest::of(&bytes).to_string();
    ensure!(
        wanted.is_none_or(|wanted| wanted == digest),
        "{shown} has the digest {digest}, not the one given here"
    );
    Ok(digest)
}

/// A file must be an ordinary one below the folder of the rules or the folder in which the command runs, wherever links lead.
fn require_inside(path: &Path, root: &Path) -> anyhow::Result<()> {
    let context = || format!("read {}", path.display());
    let real = path.canonicalize().with_context(context)?;
    let root = if root == Path::new("") { Path::new(".") } else { root };
    let allowed = [root, Path::new(".")];
    let is_inside = allowed
        .iter()
        .filter_map(|folder| folder.canonicalize().ok())
        .any(|folder| real.starts_with(folder));
    ensure!(
        is_inside,
        "{} is neither below the folder of the rules nor below the current folder; move it there",
        path.display()
    );
    ensure!(real.is_file(), "{} is no file", path.display());
    Ok(())
}

/// The bytes of a file, or the limit that it exceeds.
pub(super) fn read_bounded(path: &Path, limit: u64) -> anyhow::Result<Result<Vec<u8>, u64>> {
    let context = || format!("read {}", path.display());
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        let stdin = std::io::stdin().lock();
        stdin.take(limit + 1).read_to_end(&mut bytes).with_context(context)?;
    } else {
        let file = std::fs::File::open(path).with_context(context)?;
        file.take(limit + 1).read_to_end(&mut bytes).with_context(context)?;
    }
    Ok(if bytes.len() as u64 > limit {
        Err(limit)
    } else {
        Ok(bytes)
    })
}

/// The first line with a service key or a signing secret.
fn line_of_secret(text: &str) -> Option<usize> {
    let is_secret = |line: &str| {
        ["meed_sk_", "whsec_"].iter().any(|prefix| {
            line.split(prefix)
                .skip(1)
                .any(|rest| rest.bytes().take_while(u8::is_ascii_alphanumeric).count() >= 16)
        })
    };
    Some(text.lines().position(is_secret)? + 1)
}

fn place(file: &str, at: Location) -> Place {
    Place {
        file: file.to_owned(),
        line: at.line(),
        column: at.column(),
    }
}

/// The message without the position, which the place has.
fn message(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    // The library's advice is for programmers.
    let ends = [" at line ", ", set DuplicateKeyPolicy", "; use Option<String>"];
    let end = ends.iter().filter_map(|end| first.find(end)).min();
    end.map_or(first, |end| &first[..end]).to_owned()
}
