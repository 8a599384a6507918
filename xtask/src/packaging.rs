//! `cargo xtask packaging`: checks the files of `deploy/` and `.github/`, each with its own tool. Deploys nothing.

mod tools;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::{output, run as run_program, status, step};
use crate::workspace::Workspace;
use tools::Tools;

/// The oldest and the newest supported version that the tool has a schema for.
const KUBERNETES: [&str; 2] = ["1.29.0", "1.37.0"];
const UNITS: [&str; 2] = ["meed-serve.service", "meed-migrate.service"];
/// The allowed exposure by systemd's scale in tenths: 0 is best, 100 is worst.
const EXPOSURE: &str = "15";
const SCRIPTS: [&str; 3] = ["deploy/compose/prepare", "clients/pack", ".ci/run"];

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let tools = Tools::install(workspace)?;
    let check = Check {
        tools,
        root: &workspace.root,
        scratch: workspace.target.join("packaging/scratch"),
    };
    check.clear()?;
    step("scripts", || run_program(check.command("shellcheck")?.args(SCRIPTS)))?;
    step("Dockerfile", || {
        run_program(check.command("hadolint")?.arg("deploy/docker/Dockerfile"))
    })?;
    step("compose", || check.compose())?;
    step("chart", || check.chart())?;
    step("units", || check.units())?;
    step("Ansible", || check.ansible())?;
    step("alerts", || check.alerts())?;
    step("workflows", || {
        run_program(&mut check.command("actionlint")?)?;
        let mut zizmor = check.command("zizmor")?;
        run_program(zizmor.args(["--offline", "--no-progress", "--min-severity=medium", ".github"]))
    })
}

struct Check<'a> {
    tools: Tools,
    root: &'a Path,
    /// Empty at the start.
    scratch: PathBuf,
}

impl Check<'_> {
    /// Checks that the alerts are valid and fire when they should.
    fn alerts(&self) -> Result<()> {
        let folder = self.root.join("deploy/monitoring");
        let promtool = || self.tools.command("promtool", &folder);
        run_program(promtool()?.args(["check", "rules", "--lint-fatal", "alerts.yaml"]))?;
        run_program(promtool()?.args(["test", "rules", "alerts.test.yaml"]))
    }

    /// A tool, in the root of the checkout.
    fn command(&self, name: &str) -> Result<Command> {
        self.tools.command(name, self.root)
    }

    fn clear(&self) -> Result<()> {
        let scratch = &self.scratch;
        if scratch.exists() {
            fs::remove_dir_all(scratch).with_context(|| format!("remove {}", scratch.display()))?;
        }
        fs::create_dir_all(scratch).with_context(|| format!("create {}", scratch.display()))
    }

    /// In a copy, so that a developer's secrets stay unchanged.
    fn compose(&self) -> Result<()> {
        let folder = self.scratch.join("compose");
        copy_tree(&self.root.join("deploy/compose"), &folder)?;
        let secrets = folder.join("secrets");
        if secrets.exists() {
            fs::remove_dir_all(&secrets).with_context(|| format!("remove {}", secrets.display()))?;
        }
        let prepare = || output(&mut Command::new(folder.join("prepare")));
        let made = prepare()?;
        print!("{made}");
        if !made.contains("created ") {
            bail!("deploy/compose/prepare created no secrets");
        }
        for name in made.lines().filter_map(|line| line.strip_prefix("created ")) {
            if fs::read_to_string(folder.join(name)).is_ok_and(|text| !text.trim().is_empty()) {
                continue;
            }
            bail!("{name} is empty");
        }
        if !prepare()?.is_empty() {
            bail!("deploy/compose/prepare overwrote existing secrets");
        }
        let mut compose = self.tools.command("docker-compose", &folder)?;
        let rendered = output(compose.arg("config"))?;
        // Every mounted file must exist.
        for name in made.lines().filter_map(|line| line.strip_prefix("created secrets/")) {
            if !rendered.contains(&format!("source: {name}\n")) {
                bail!("no service of deploy/compose/compose.yaml gets the secret {name}");
            }
        }
        Ok(())
    }

    fn chart(&self) -> Result<()> {
        let chart = self.root.join("deploy/helm/meed");
        let versions = fs::read_to_string(chart.join("Chart.yaml")).context("read Chart.yaml")?;
        for key in ["version", "appVersion"] {
            let wanted = format!("{key}: {}", env!("CARGO_PKG_VERSION"));
            if !versions.lines().any(|line| line == wanted) {
                bail!("deploy/helm/meed/Chart.yaml: expected `{wanted}`, as in Cargo.toml");
            }
        }
        let mut values: Vec<_> = fs::read_dir(chart.join("ci"))
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>())
            .context("read deploy/helm/meed/ci")?;
        values.sort();
        for values in values {
            let mut lint = self.command("helm")?;
            run_program(
                lint.args(["lint", "--strict", "--quiet", "--values"])
                    .arg(&values)
                    .arg(&chart),
            )?;
            let mut template = self.command("helm")?;
            template
                .args(["template", "rewards"])
                .arg(&chart)
                .args(["--namespace", "prod", "--values"])
                .arg(&values);
            let manifests = output(&mut template)?;
            let file = self.scratch.join(values.file_name().unwrap_or_default());
            fs::write(&file, manifests).with_context(|| format!("write {}", file.display()))?;
            for version in KUBERNETES {
                let mut validate = self.command("kubernetes-validate")?;
                // Without warnings, because it does not know PodMonitor, which is not part of Kubernetes.
                validate.args(["--strict", "--quiet", "--no-warn", "--kubernetes-version", version]);
                run_program(validate.arg(&file))?;
            }
        }
        let mut without_image = self.command("helm")?;
        without_image.args(["template", "rewards"]).arg(&chart);
        without_image.stdout(std::process::Stdio::null());
        without_image.stderr(std::process::Stdio::null());
        if status(&mut without_image)?.success() {
            bail!("the chart accepts a missing image");
        }
        Ok(())
    }

    /// In a separate root directory that contains the executable of the units.
    fn units(&self) -> Result<()> {
        let root = self.scratch.join("root");
        copy_tree(&self.root.join("deploy/systemd"), &root.join("etc/systemd/system"))?;
        copy_tree(
            Path::new("/usr/lib/systemd/system"),
            &root.join("usr/lib/systemd/system"),
        )?;
        let program = root.join("opt/meed/current/bin/meed");
        fs::create_dir_all(program.parent().unwrap_or(&program)).context("make a root for the units")?;
        fs::copy("/bin/true", &program).context("make a program for the units")?;
        let root = format!("--root={}", root.display());
        let mut verify = self.command("systemd-analyze")?;
        let verified = verify
            .args(["verify", "--man=no", &root])
            .args(UNITS)
            .output()
            .context("start systemd-analyze")?;
        let findings = String::from_utf8_lossy(&verified.stderr);
        // It exits with 0 even when it ignores an unknown line.
        let findings: Vec<_> = findings.lines().filter(|line| line.contains("/meed")).collect();
        if !verified.status.success() || !findings.is_empty() {
            bail!("systemd-analyze verify: {}\n{}", verified.status, findings.join("\n"));
        }
        for unit in UNITS {
            let mut security = self.command("systemd-analyze")?;
            security.args(["security", "--offline=true", "--no-pager", &root]);
            let report = output(security.arg(format!("--threshold={EXPOSURE}")).arg(unit))?;
            println!("{}", report.trim_end().lines().last().unwrap_or_default());
        }
        Ok(())
    }

    fn ansible(&self) -> Result<()> {
        let folder = self.root.join("deploy/ansible");
        let mut lint = self.tools.command("ansible-lint", &folder)?;
        run_program(lint.args(["--offline", "-q", "--nocolor", "--strict", "--profile", "production"]))?;
        let mut playbook = self.tools.command("ansible-playbook", &folder)?;
        run_program(playbook.args(["--syntax-check", "--inventory", "inventory.example.ini", "site.yml"]))
    }
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    run_program(
        Command::new("cp")
            .args(["-R", "--no-preserve=ownership"])
            .arg(from.join("."))
            .arg(to),
    )
}
