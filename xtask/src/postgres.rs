//! A PostgreSQL server of our own for the tests: on a throwaway cluster and a free port, reachable from this machine
//! only, gone when the tests are. It never touches a server that is not ours.

mod install;
mod user;

use std::fs::{self, File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use rustix::process::geteuid;

use crate::process::{output, step};
use crate::workspace::path_directories;
use user::User;

/// The programs of the server that we call.
const PROGRAMS: [&str; 3] = ["initdb", "postgres", "pg_ctl"];

/// What the names of our clusters' folders begin with; [`sweep`] looks for it.
const PREFIX: &str = "meed-postgres-";

const SETTINGS: &str = "-c max_connections=300 -c listen_addresses=127.0.0.1 -c unix_socket_directories=''";

/// What becomes of the data when the machine loses its power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// As PostgreSQL comes: every commit waits for the disk.
    Real,
    /// Fast and careless: this data need not survive anything.
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

/// The installed server programs, and who is to run them.
#[derive(Debug)]
pub(crate) struct Server {
    programs: PathBuf,
    /// The server refuses to run as root; then it runs as somebody else.
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

    /// Ends the server of this cluster, if it runs, and removes the cluster.
    fn remove(&self, directory: &Path) -> Result<()> {
        let data = directory.join("data");
        if data.join("postmaster.pid").is_file() {
            let mut stop = self.command("pg_ctl", directory);
            stop.args(["stop", "--silent", "--mode", "immediate", "--timeout", "10", "--pgdata"]);
            // A server that was killed leaves its pid file, and is as good as stopped.
            let _ = stop.arg(&data).output();
        }
        fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))
    }
}

/// A running server. Dropping it, for whatever reason, ends the server and removes its data.
#[derive(Debug)]
pub(crate) struct Cluster {
    server: Server,
    directory: PathBuf,
    port: u16,
    durability: Durability,
    /// Held as long as we live, which tells [`sweep`] that the cluster is in use.
    _lock: File,
}

impl Cluster {
    pub(crate) fn start(server: Server, target: &Path, durability: Durability) -> Result<Self> {
        // Only where the server's user gets to: a checkout below /root is closed to them.
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
        // From here on an error drops `cluster`, which removes it.
        cluster.create()?;
        cluster.serve()?;
        Ok(cluster)
    }

    /// Where tests may create databases, without a database name.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}", self.port)
    }

    /// Where the server's programs are, `pgbench` among them.
    pub(crate) fn programs(&self) -> &Path {
        &self.server.programs
    }

    /// Gives a test that runs servers of its own what it needs: their programs, and whom to run them as.
    pub(crate) fn tell(&self, command: &mut Command) {
        command.env("MEED_TEST_POSTGRES", self.url());
        // Distributions put some of the programs on the PATH as links, and not all.
        let server = fs::canonicalize(self.server.programs.join("postgres"));
        let programs = server.ok().and_then(|program| program.parent().map(Path::to_owned));
        command.env(
            "MEED_TEST_POSTGRES_BIN",
            programs.as_ref().unwrap_or(&self.server.programs),
        );
        if let Some(user) = &self.server.user {
            command.env("MEED_TEST_POSTGRES_USER", format!("{}:{}", user.id, user.group));
        }
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
        // `pg_ctl` waits until the server accepts connections, and puts it out of the reach of this terminal's Ctrl-C.
        start.args(["start", "--silent", "--wait", "--timeout", "60"]);
        start
            .arg("--options")
            .arg(format!("{SETTINGS} {} -p {}", self.durability.settings(), self.port));
        start.arg("--log").arg(&log).arg("--pgdata").arg(&data);
        // Nothing piped: the server would inherit the pipe and hold it open.
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
            eprintln!("warning: a PostgreSQL cluster is left behind; the next run tries again: {error:#}");
        }
    }
}

/// Nothing of the developer's own settings (`PGHOST`, `PGSSLMODE`, `PGDATA`, …) may reach a server or a test.
pub(crate) fn clear_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
}

/// Removes what a run that was killed has left: clusters of ours whose lock nobody holds.
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
                Ok(()) => println!("removed {}, left by a run that was killed", directory.display()),
                Err(error) => eprintln!("warning: {error:#}"),
            }
        }
    }
}

/// A directory with all server programs: from the PATH, or where the packages put them, the newest first.
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

/// Whether any user may pass through this directory and all above it.
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
    fn a_closed_directory_is_seen() {
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
