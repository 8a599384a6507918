//! PostgreSQL for the tests: the server that `MEED_TEST_POSTGRES_URL` names, or a throwaway cluster on a free local
//! port, which is removed at the end. On a named server the tests create databases `it_…` and change nothing else.

mod install;
mod user;

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::geteuid;

use crate::process::{output, step};
use crate::workspace::{Workspace, path_directories};
use user::User;

/// The programs of the server that we call.
const PROGRAMS: [&str; 3] = ["initdb", "postgres", "pg_ctl"];

/// The prefix of the cluster directories; [`sweep`] looks for it.
const PREFIX: &str = "meed-postgres-";

const SETTINGS: &str = "-c max_connections=300 -c listen_addresses=127.0.0.1 -c unix_socket_directories=''";

/// Names a PostgreSQL server, without a database, on which the user may create databases.
const URL: &str = "MEED_TEST_POSTGRES_URL";

/// The PostgreSQL server that all tests share.
pub(crate) enum Postgres {
    Named(Named),
    Started(Cluster),
}

impl Postgres {
    pub(crate) fn find_or_start(workspace: &Workspace) -> Result<Self> {
        let server = Server::find_or_install()?;
        if let Some(url) = std::env::var_os(URL) {
            let url = url.to_string_lossy().trim_end_matches('/').to_owned();
            println!("PostgreSQL: {URL} names the server");
            return Ok(Self::Named(Named { url, server }));
        }
        step("start PostgreSQL", || {
            Cluster::start(server, &workspace.target, Durability::None).map(Self::Started)
        })
    }

    /// Tells tests where the server is, where the programs of a server are and which user may run them.
    pub(crate) fn describe(&self, command: &mut Command) {
        let (url, server) = match self {
            Self::Named(Named { url, server }) => (url.clone(), server),
            Self::Started(cluster) => (cluster.url(), &cluster.server),
        };
        command.env(URL, url);
        // Distributions link only some of the programs from a directory on the PATH.
        let postgres = fs::canonicalize(server.programs.join("postgres"));
        let programs = postgres.ok().and_then(|program| program.parent().map(Path::to_owned));
        command.env("MEED_TEST_POSTGRES_BIN", programs.as_ref().unwrap_or(&server.programs));
        if let Some(user) = &server.user {
            command.env("MEED_TEST_POSTGRES_USER", format!("{}:{}", user.id, user.group));
        }
    }
}

/// A contributor's own server. Dropping it removes the databases of the tests.
pub(crate) struct Named {
    url: String,
    /// For the tests that stop their server.
    server: Server,
}

impl Named {
    fn remove_databases(&self) -> Result<()> {
        const SQL: &[u8] = b"SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database \
            WHERE datname ~ '^it_[0-9a-f]{32}$' \\gexec\n";
        let psql = self.server.programs.join("psql");
        let psql = if psql.is_file() { psql } else { "psql".into() };
        let mut child = Command::new(psql)
            .args(["--quiet", "--no-psqlrc", "--output", "/dev/null"])
            .arg(format!("{}/postgres", self.url))
            .stdin(Stdio::piped())
            .spawn()
            .context("start psql")?;
        child.stdin.take().context("write to psql")?.write_all(SQL)?;
        let status = child.wait()?;
        ensure!(status.success(), "psql ended with {status}");
        Ok(())
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if let Err(error) = self.remove_databases() {
            eprintln!("warning: the databases it_* stay on the server in {URL}: {error:#}");
        }
    }
}

/// Whether commits survive a crash of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The default of PostgreSQL: every commit waits for the disk.
    Real,
    /// Faster; the data of tests need not survive.
    None,
}

impl Durability {
    fn settings(self) -> &'static str {
        match self {
            Self::Real => "-c shared_buffers=512MB -c max_wal_size=4GB",
            Self::None => "-c fsync=off -c synchronous_commit=off -c full_page_writes=off",
        }
    }
}

/// The installed server programs and the user that runs them.
#[derive(Debug)]
pub(crate) struct Server {
    programs: PathBuf,
    /// Set when this process is root: PostgreSQL refuses to run as root.
    user: Option<User>,
}

impl Server {
    pub(crate) fn find_or_install() -> Result<Self> {
        if find().is_none() {
            step("install PostgreSQL", || install::POSTGRES.install())?;
        }
        let programs = find().context(
            "PostgreSQL was installed, but initdb, postgres and pg_ctl are not in a place that we know; \
             put their directory on the PATH",
        )?;
        let user = geteuid().is_root().then(User::unprivileged).transpose()?;
        Ok(Self { programs, user })
    }

    fn command(&self, program: &str, directory: &Path) -> Command {
        let mut command = Command::new(self.programs.join(program));
        clear_environment(&mut command);
        command.current_dir(directory);
        if let Some(user) = &self.user {
            user.run(&mut command);
        }
        command
    }

    /// Stops the server of this cluster, if it runs, and removes the cluster.
    fn remove(&self, directory: &Path) -> Result<()> {
        let data = directory.join("data");
        if data.join("postmaster.pid").is_file() {
            let mut stop = self.command("pg_ctl", directory);
            stop.args(["stop", "--silent", "--mode", "immediate", "--timeout", "10", "--pgdata"]);
            // Fails when the server was killed and left its pid file.
            let _ = stop.arg(&data).output();
        }
        fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))
    }
}

/// A running server. Dropping it stops the server and removes its data.
#[derive(Debug)]
pub(crate) struct Cluster {
    server: Server,
    directory: PathBuf,
    port: u16,
    durability: Durability,
    /// Locked while the cluster is in use, for [`sweep`].
    _lock: File,
}

impl Cluster {
    pub(crate) fn start(server: Server, target: &Path, durability: Durability) -> Result<Self> {
        // The user of the server must have access: a checkout below /root is closed to other users.
        let parents = [target.to_owned(), std::env::temp_dir()];
        sweep(&server, &parents);
        let parent = parents
            .iter()
            .find(|parent| server.user.is_none() || is_open(parent))
            .context("neither the target directory nor the temporary directory can be entered by another user")?;
        let directory = parent.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&directory).with_context(|| format!("create {}", directory.display()))?;
        let lock = File::create(directory.join("lock"))?;
        lock.lock().context("lock the cluster")?;
        let mut cluster = Self {
            server,
            directory,
            port: 0,
            durability,
            _lock: lock,
        };
        // From here on, an error drops `cluster` and removes it.
        cluster.create()?;
        cluster.serve()?;
        Ok(cluster)
    }

    /// Without a database name.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}", self.port)
    }

    /// The directory of the server's programs, with `pgbench`.
    pub(crate) fn programs(&self) -> &Path {
        &self.server.programs
    }

    fn create(&self) -> Result<()> {
        let data = self.directory.join("data");
        fs::create_dir(&data)?;
        if let Some(user) = &self.server.user {
            fs::set_permissions(&self.directory, Permissions::from_mode(0o755))?;
            chown(&data, Some(user.id), Some(user.group)).context("give the cluster to its user")?;
        }
        let mut initdb = self.server.command("initdb", &self.directory);
        initdb.args(["--auth", "trust", "--username", "postgres", "--no-sync"]);
        initdb
            .args(["--encoding", "UTF8", "--locale", "C", "--pgdata"])
            .arg(&data);
        output(&mut initdb).map(drop)
    }

    fn serve(&mut self) -> Result<()> {
        let data = self.directory.join("data");
        let log = data.join("server.log");
        self.port = free_port()?;
        let mut start = self.server.command("pg_ctl", &self.directory);
        // `pg_ctl` waits until the server accepts connections, and protects it from this terminal's Ctrl-C.
        start.args(["start", "--silent", "--wait", "--timeout", "60"]);
        start
            .arg("--options")
            .arg(format!("{SETTINGS} {} -p {}", self.durability.settings(), self.port));
        start.arg("--log").arg(&log).arg("--pgdata").arg(&data);
        // No pipe: the server would inherit it and keep it open.
        let status = start.status().context("start pg_ctl")?;
        if !status.success() {
            let log = fs::read_to_string(&log).unwrap_or_default();
            bail!("the PostgreSQL server did not start ({status}); its log says:\n{log}");
        }
        println!("{} at {}", self.server.programs.join("postgres").display(), self.url());
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.server.remove(&self.directory) {
            eprintln!("warning: cannot remove a PostgreSQL cluster; the next run tries again: {error:#}");
        }
    }
}

/// Keeps the developer's settings (`PGHOST`, `PGSSLMODE`, `PGDATA`, …) from servers and tests.
pub(crate) fn clear_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
}

/// Removes clusters that a killed run left: their locks are free.
fn sweep(server: &Server, parents: &[PathBuf]) {
    for entry in parents.iter().filter_map(|parent| fs::read_dir(parent).ok()).flatten() {
        let Ok(entry) = entry else { continue };
        let directory = entry.path();
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry
                .metadata()
                .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == geteuid().as_raw());
        if !is_ours {
            continue;
        }
        let is_stale = File::open(directory.join("lock")).is_ok_and(|lock| lock.try_lock().is_ok());
        if is_stale {
            match server.remove(&directory) {
                Ok(()) => println!("removed {}, which a killed run had left", directory.display()),
                Err(error) => eprintln!("warning: {error:#}"),
            }
        }
    }
}

/// A directory with all server programs: on the PATH first, then where packages install them, newest first.
fn find() -> Option<PathBuf> {
    let mut places = [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr", "pgsql-", "bin"),
        ("/usr/libexec", "postgresql", ""),
        ("/opt/homebrew/opt", "postgresql", "bin"),
        ("/usr/local/opt", "postgresql", "bin"),
        ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
    ]
    .iter()
    .flat_map(|(parent, prefix, below)| {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        entries
            .filter(move |entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(move |entry| (version(&entry.file_name().to_string_lossy()), entry.path().join(below)))
    })
    .collect::<Vec<_>>();
    places.sort_by(|a, b| b.cmp(a));
    path_directories()
        .chain(places.into_iter().map(|(_, directory)| directory))
        .find(|directory| PROGRAMS.iter().all(|program| directory.join(program).is_file()))
}

/// The major number in `17`, `pgsql-9.6` or `postgresql@17`.
fn version(name: &str) -> u32 {
    name.split(|c: char| !c.is_ascii_digit())
        .find_map(|digits| digits.parse().ok())
        .unwrap_or(0)
}

/// Whether every user may enter this directory.
fn is_open(directory: &Path) -> bool {
    directory
        .ancestors()
        .all(|ancestor| fs::metadata(ancestor).is_ok_and(|metadata| metadata.mode() & 0o001 != 0))
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_server_is_chosen_by_its_number() {
        assert!(version("postgresql@17") > version("postgresql@9"));
        assert_eq!((version("pgsql-9.6"), version("postgresql")), (9, 0));
    }

    #[test]
    fn an_inaccessible_directory_is_detected() {
        let parent = std::env::temp_dir().join(format!("meed-xtask-{}", std::process::id()));
        let inner = parent.join("inner");
        fs::create_dir_all(&inner).unwrap();
        fs::set_permissions(&inner, Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&parent, Permissions::from_mode(0o755)).unwrap();
        assert_eq!(is_open(&inner), is_open(&std::env::temp_dir()));
        fs::set_permissions(&parent, Permissions::from_mode(0o700)).unwrap();
        assert!(!is_open(&inner));
        fs::remove_dir_all(&parent).unwrap();
    }
}
