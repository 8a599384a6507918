//! The executable as users start it: the demo and its printed tour, the steps to production, replay without a server.

mod apply;
mod backup;
pub mod db;
mod demo;
mod import;
mod key;
pub mod life;
mod parts;
mod plugin;
#[cfg(feature = "otel")]
mod traces;
mod user;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

/// `meed` with its data below `directory` and without the settings of the environment.
pub fn meed(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meed"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MEED__") {
            command.env_remove(name);
        }
    }
    command
        .env("MEED__HTTP__ADMIN_LISTEN", "")
        .env("MEED__HTTP__DRAIN_SECONDS", "0")
        .env("MEED__RELEASES__REQUIRED", "never")
        .current_dir(directory)
        .arg("--data-dir")
        .arg(directory.join("data"));
    command
}

fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("the command starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A server in a separate process; killed if the test does not stop it.
struct Server {
    child: Child,
    printed: String,
}

impl Server {
    /// Starts a server and reads what it prints until `last` is part of it.
    fn start(command: &mut Command, last: &str) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let stdout = child.stdout.take().expect("a pipe");
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        let mut printed = String::new();
        while !printed.contains(last) {
            let Ok(line) = receive.recv_timeout(Duration::from_mins(1)) else {
                child.kill().ok();
                let mut errors = String::new();
                child.stderr.take().expect("a pipe").read_to_string(&mut errors).ok();
                panic!("{last:?} was not printed, but: {printed}\n{errors}");
            };
            printed = printed + &line + "\n";
        }
        // Later output is read and dropped, so that the pipe does not fill.
        std::thread::spawn(move || for _ in receive {});
        Self { child, printed }
    }

    /// Stops it like a service manager, and returns whether it stopped in order.
    fn stop(mut self) -> bool {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the server lives");
        self.child.wait().expect("the server ends").success()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn demo(directory: &Path) -> Server {
    demo_with(directory, &[])
}

fn demo_with(directory: &Path, settings: &[(&str, &str)]) -> Server {
    let plugins = std::env::var("MEED_TEST_PLUGINS")
        .expect("MEED_TEST_PLUGINS is not set: run the tests with `cargo xtask test`, which builds the plugins");
    let mut command = meed(directory);
    command.args(["demo", "--listen", "127.0.0.1:0", "--plugins", &plugins]);
    command.envs(settings.iter().copied());
    Server::start(&mut command, "\" replay receipt.json")
}

/// Runs the commands exactly as the demo printed them.
fn walk(server: &Server, directory: &Path) -> String {
    let start = server.printed.find("# Log in").expect("the walk");
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &server.printed[start..]])
        .current_dir(directory)
        .output()
        .expect("bash is there");
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{printed}\n{}", text(&output.stderr));
    printed
}

#[test]
fn the_demo_prints_a_walk_that_works_and_keeps_its_data() {
    let directory = TempDir::new().expect("a directory");
    let server = demo(directory.path());
    let printed = walk(&server, directory.path());
    assert!(printed.contains(r#""current":5,"target":7"#), "{printed}");
    assert!(
        printed.contains(r#""status":"REJECTED""#) && printed.contains("too-few-activities"),
        "{printed}"
    );
    assert!(printed.contains(r#""recorded":2"#), "{printed}");
    assert!(printed.contains(r#""status":"GRANTED""#), "{printed}");
    assert!(printed.contains("MATCH"), "{printed}");
    assert!(server.stop(), "it ends in order");

    let server = demo(directory.path());
    let printed = walk(&server, directory.path());
    assert!(
        printed.contains("already-granted") && printed.contains(r#""duplicates":2"#),
        "{printed}"
    );
    assert!(printed.contains("MATCH"), "{printed}");
    assert!(server.stop(), "it ends in order");

    for hint in ["keys of a demo", "a demo's database"] {
        let refused = output(meed(directory.path()).args(["serve", "--listen", "127.0.0.1:0"]));
        assert!(!refused.status.success());
        assert!(text(&refused.stderr).contains(hint), "{}", text(&refused.stderr));
        // With other keys, the demo's database is still refused.
        std::fs::remove_dir_all(directory.path().join("data/keys")).ok();
        assert!(
            output(meed(directory.path()).args(["keys", "generate"]))
                .status
                .success()
        );
    }
}

#[test]
fn each_step_to_production_prints_the_next() {
    let directory = TempDir::new().expect("a directory");
    let serve = || output(meed(directory.path()).args(["serve", "--listen", "127.0.0.1:0"]));
    assert!(
        text(&serve().stderr).contains("meed migrate"),
        "{}",
        text(&serve().stderr)
    );
    assert!(output(meed(directory.path()).arg("migrate")).status.success());
    assert!(
        text(&serve().stderr).contains("meed keys generate"),
        "{}",
        text(&serve().stderr)
    );
    assert!(
        output(meed(directory.path()).args(["keys", "generate"]))
            .status
            .success()
    );

    let created = output(meed(directory.path()).args(["user", "create", "root@example.com", "--role", "ADMIN"]));
    let printed = text(&created.stdout);
    assert!(created.status.success(), "{}", text(&created.stderr));
    assert!(
        printed.contains("Created ADMIN root@example.com") && printed.contains("Password: "),
        "{printed}"
    );
    let again = output(meed(directory.path()).args(["user", "create", "root@example.com"]));
    assert!(
        !again.status.success() && text(&again.stderr).contains("root@example.com"),
        "{}",
        text(&again.stderr)
    );

    let mut command = meed(directory.path());
    command
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("MEED__LOG__FORMAT", "text");
    let mut child = command.stderr(Stdio::piped()).spawn().expect("the server starts");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe"))
        .lines()
        .map_while(Result::ok);
    let line = lines.find(|line| line.contains("server started")).expect("it listens");
    std::thread::spawn(move || for _ in lines {});
    let server = Server {
        child,
        printed: String::new(),
    };
    let plain: String = line
        .split('\u{1b}')
        .map(|part| part.split_once('m').map_or(part, |(_, rest)| rest))
        .collect();
    let address = plain
        .split("address=")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .expect("an address")
        .to_owned();
    assert!(
        output(meed(directory.path()).args(["healthcheck", &address]))
            .status
            .success()
    );
    assert!(server.stop(), "it ends in order");
    let gone = output(meed(directory.path()).args(["healthcheck", &address]));
    assert!(
        !gone.status.success() && text(&gone.stderr).contains(&address),
        "{}",
        text(&gone.stderr)
    );
}

#[test]
fn invalid_settings_are_named() {
    let directory = TempDir::new().expect("a directory");
    for (name, value, hint) in [
        ("MEED__HTTP__LISTEN", "nowhere", "listen"),
        ("MEED__HTTP__LISSEN", "127.0.0.1:0", "lissen"),
        ("MEED__DATABASE__URL", "mysql://localhost/meed", "database.url"),
        ("MEED__LOG__FORMAT", "xml", "format"),
        (
            "MEED__AUTH__PASSWORD_CONCURRENCY",
            "0",
            "auth.password_concurrency: 0 is not between 1 and 1024",
        ),
        (
            "MEED__DATABASE__MAX_CONNECTIONS",
            "0",
            "database.max_connections: 0 is not between",
        ),
        (
            "MEED__SANDBOX__STANDARD__NOTE_LINES",
            "1",
            "sandbox.standard: unknown field `note_lines`",
        ),
    ] {
        let refused = output(meed(directory.path()).args(["serve"]).env(name, value));
        assert!(!refused.status.success());
        assert!(
            text(&refused.stderr).contains(hint),
            "{name}={value}: {}",
            text(&refused.stderr)
        );
    }
}

#[test]
fn the_database_url_can_be_read_from_a_file() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("database-url");
    std::fs::write(&file, "sqlite:elsewhere.db\n").expect("a file");
    let run = || {
        output(
            meed(directory.path())
                .arg("migrate")
                .env("MEED__DATABASE__URL_FILE", &file),
        )
    };
    assert!(run().status.success(), "{}", text(&run().stderr));
    assert!(directory.path().join("elsewhere.db").is_file());
    assert!(!directory.path().join("data").exists(), "the default does not count");

    std::fs::write(&file, "").expect("a file");
    let refused = run();
    assert!(!refused.status.success());
    assert!(
        text(&refused.stderr).contains("database.url_file"),
        "{}",
        text(&refused.stderr)
    );
}

#[test]
fn shell_completions_have_every_command() {
    let directory = TempDir::new().expect("a directory");
    let commands = commands(directory.path());
    assert!(commands.contains(&"serve".to_owned()), "{commands:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let printed = output(meed(directory.path()).args(["completions", shell]));
        assert!(printed.status.success(), "{}", text(&printed.stderr));
        let script = text(&printed.stdout);
        for command in &commands {
            assert!(script.contains(command.as_str()), "{shell}: {command}");
        }
    }
    // A shell accepts the script and then completes commands.
    let complete = "source <(\"$MEED\" completions bash) && COMP_WORDS=(meed mig) COMP_CWORD=1 && \
                    _meed meed mig meed && echo \"${COMPREPLY[*]}\"";
    let mut bash = Command::new("bash");
    let completed = output(bash.args(["-c", complete]).env("MEED", env!("CARGO_BIN_EXE_meed")));
    assert_eq!(text(&completed.stdout), "migrate\n", "{}", text(&completed.stderr));
}

#[test]
fn every_command_has_a_man_page() {
    let directory = TempDir::new().expect("a directory");
    let printed = output(meed(directory.path()).arg("man"));
    assert!(printed.status.success(), "{}", text(&printed.stderr));
    let page = text(&printed.stdout);
    assert!(page.contains(".TH meed 1"), "{page}");
    assert!(page.contains("MEED__HTTP__LISTEN"), "{page}");

    let pages = directory.path().join("share/man1");
    let written = output(meed(directory.path()).arg("man").arg(&pages));
    assert!(written.status.success(), "{}", text(&written.stderr));
    assert_eq!(std::fs::read(pages.join("meed.1")).expect("a page"), printed.stdout);
    for command in commands(directory.path()) {
        assert!(pages.join(format!("meed-{command}.1")).is_file(), "{command}");
    }
    assert!(pages.join("meed-plugin-push.1").is_file());
    assert!(!directory.path().join("data").exists(), "it leaves nothing behind");

    let refused = output(meed(directory.path()).arg("man").arg(pages.join("meed.1")));
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains("meed.1"), "{}", text(&refused.stderr));
}

/// What `meed --help` lists.
fn commands(directory: &Path) -> Vec<String> {
    let help = output(meed(directory).arg("--help"));
    let help = text(&help.stdout);
    let list = help.split_once("Commands:\n").expect("a list of commands").1;
    list.lines()
        .map_while(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_openapi_document_needs_no_database_and_no_keys() {
    let directory = TempDir::new().expect("a directory");
    let printed = output(meed(directory.path()).arg("openapi"));
    assert!(printed.status.success(), "{}", text(&printed.stderr));
    let document: serde_json::Value = serde_json::from_slice(&printed.stdout).expect("JSON");
    assert_eq!(document["openapi"], "3.1.0");
    assert!(!directory.path().join("data").exists(), "it leaves nothing behind");
}
