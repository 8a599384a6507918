//! A PostgreSQL server for one test, which the test may stop. `fsync` is on, so commits survive a crash.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

pub struct Cluster {
    directory: TempDir,
    port: u16,
    settings: String,
}

impl Cluster {
    /// Creates and starts an empty server.
    pub fn create() -> Self {
        let cluster = Self::folder();
        let mut initdb = program("initdb", cluster.directory.path());
        initdb.args([
            "--auth",
            "trust",
            "--username",
            "postgres",
            "--encoding",
            "UTF8",
            "--locale",
            "C",
            "--pgdata",
        ]);
        run(initdb.arg(cluster.data()));
        cluster.start();
        cluster
    }

    /// Creates and starts a standby of this server.
    pub fn standby(&self) -> Self {
        let standby = Self::folder();
        let mut copy = program("pg_basebackup", standby.directory.path());
        copy.args(["--dbname", &format!("{}/postgres?application_name=standby", self.url())]);
        run(copy
            .args(["--write-recovery-conf", "--checkpoint", "fast", "--pgdata"])
            .arg(standby.data()));
        standby.start();
        standby
    }

    /// Creates new tables in this folder. The write-ahead log stays where it is.
    pub async fn keep_tables_on(&self, folder: &Path) {
        if let Some((user, group)) = user() {
            chown(folder, Some(user), Some(group)).expect("the folder is given to its user");
        }
        let admin = sqlx::PgPool::connect(&format!("{}/postgres", self.url()))
            .await
            .expect("the server");
        let create = format!("CREATE TABLESPACE elsewhere LOCATION '{}'", folder.display());
        let settings = [
            create.as_str(),
            "ALTER SYSTEM SET default_tablespace = 'elsewhere'",
            "SELECT pg_reload_conf()",
        ];
        for sql in settings {
            let statement = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()));
            statement.execute(&admin).await.expect("a setting");
        }
        admin.close().await;
    }

    fn folder() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let data = directory.path().join("data");
        std::fs::create_dir(&data).expect("a folder");
        std::fs::set_permissions(&data, Permissions::from_mode(0o700)).expect("a private folder");
        if let Some((user, group)) = user() {
            // The server's user must be able to read the data.
            std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("an open folder");
            chown(&data, Some(user), Some(group)).expect("the folder is given to its user");
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a port")
            .port();
        Self {
            directory,
            port,
            settings: format!(
                "-c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=100 -c wal_keep_size=64 -p {port}"
            ),
        }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The URL without a database name.
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}", self.address())
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn start(&self) {
        self.control(&["start", "--wait", "--timeout", "60", "--options", &self.settings]);
    }

    /// Stops the server like a crash.
    pub fn crash(&self) {
        self.control(&["stop", "--mode", "immediate"]);
    }

    /// Promotes a standby to primary.
    pub fn promote(&self) {
        self.control(&["promote", "--wait", "--timeout", "60"]);
    }

    fn control(&self, arguments: &[&str]) {
        let mut control = program("pg_ctl", self.directory.path());
        control.args(arguments).args(["--silent", "--pgdata"]).arg(self.data());
        run(control.arg("--log").arg(self.data().join("server.log")));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut stop = program("pg_ctl", self.directory.path());
        stop.args(["stop", "--silent", "--mode", "immediate", "--pgdata"])
            .arg(self.data());
        // The server may have been stopped already.
        stop.stderr(Stdio::null()).status().ok();
    }
}

fn program(name: &str, directory: &Path) -> Command {
    let programs = std::env::var("MEED_TEST_POSTGRES_BIN")
        .expect("MEED_TEST_POSTGRES_BIN is not set: run the tests with `cargo xtask test`, which finds PostgreSQL");
    let mut command = Command::new(Path::new(&programs).join(name));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
        command.env_remove(name);
    }
    command
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    if let Some((user, group)) = user() {
        command.uid(user).gid(group);
    }
    command
}

/// The user of the server, if it cannot run as the current user: `MEED_TEST_POSTGRES_USER` is `UID:GID`.
fn user() -> Option<(u32, u32)> {
    let ids = std::env::var("MEED_TEST_POSTGRES_USER").ok()?;
    let (user, group) = ids.split_once(':').expect("UID:GID");
    Some((user.parse().expect("a number"), group.parse().expect("a number")))
}

fn run(command: &mut Command) {
    let status = command.status().expect("the program starts");
    assert!(status.success(), "{command:?} ended with {status}");
}
