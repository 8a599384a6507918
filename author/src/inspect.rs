//! `meed plugin inspect`: shows how a server would read a module.

use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde_json::{Value, json};

use super::workbench::{Bench, Workbench};
use meed_host::contract::Binding;
use meed_host::exact_json;
use meed_host::plugins::{cases, check_params};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    bench: Bench,
    /// Bind these params and show the plan
    #[arg(long, value_name = "JSON")]
    params: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let workbench = arguments.bench.open().await?;
    let carried = cases::read(&workbench.module)?.len();
    let admitted = &workbench.admitted;
    let plan = match &arguments.params {
        Some(text) => {
            let params: Value = exact_json::parse(text).context("--params is not JSON")?;
            Some(plan(&workbench, &params).await?)
        }
        None => None,
    };
    let code = ExitCode::from(u8::from(matches!(plan, Some(Err(_)))));
    let plan = plan.map(|plan| plan.unwrap_or_else(|issues| issues));
    let manifest = &admitted.manifest;
    if arguments.json {
        let mut answer = json!({
            "digest": admitted.digest, "bytes": admitted.bytes, "class": admitted.class, "abi": admitted.abi,
            "imports": admitted.imports, "cases": carried, "manifest": manifest,
        });
        if let Some(plan) = plan {
            answer["plan"] = plan;
        }
        println!("{}", serde_json::to_string_pretty(&answer)?);
        return Ok(code);
    }
    println!("{} {}: {}", manifest.name, manifest.version, manifest.title);
    println!("  {}", manifest.description);
    if !manifest.texts.translations.is_empty() {
        let languages: Vec<_> = manifest.texts.translations.keys().map(String::as_str).collect();
        println!("texts    also in {}", languages.join(", "));
    }
    println!("file     {}", workbench.path.display());
    println!("digest   {}", admitted.digest);
    println!("size     {} bytes, class {}", admitted.bytes, admitted.class);
    println!("world    {}", admitted.abi);
    let imports = if admitted.imports.is_empty() {
        "nothing".to_owned()
    } else {
        admitted.imports.join(", ")
    };
    println!("imports  {imports}");
    println!("cases    {carried} in the module");
    println!("params   {}", serde_json::to_string_pretty(&manifest.params_schema)?);
    if let Some(plan) = plan {
        println!("plan     {}", serde_json::to_string_pretty(&plan)?);
    }
    Ok(code)
}

/// What `bind` answers, or the issues that the server finds before it. An issue makes the exit code 1.
async fn plan(workbench: &Workbench, params: &Value) -> anyhow::Result<Result<Value, Value>> {
    let admitted = &workbench.admitted;
    let issues = check_params(&workbench.sandbox, &admitted.manifest.params_schema, params).await?;
    if !issues.is_empty() {
        return Ok(Err(json!({"issues": issues})));
    }
    let call = workbench.sandbox.bind(&admitted.plugin, &params.to_string()).await;
    let answer = call
        .outcome
        .map_err(|failure| anyhow!("bind failed ({}): {failure}", failure.code()))?;
    Ok(match answer {
        Ok(Binding { queries, state }) => Ok(json!({"queries": queries, "stateBytes": state.len(), "fuel": call.fuel})),
        Err(issues) => Err(json!({"issues": issues, "fuel": call.fuel})),
    })
}
