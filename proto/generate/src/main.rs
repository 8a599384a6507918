//! `generate DESCRIPTOR-SET FOLDER`: the messages and services of the RPC face as Rust.

use anyhow::Context as _;

const FILES: [&str; 8] = [
    "google/rpc/error_details.proto",
    "meed/v1/activity_service.proto",
    "meed/v1/claim_service.proto",
    "meed/v1/event_service.proto",
    "meed/v1/progress_service.proto",
    "meed/v1/receipt_service.proto",
    "meed/v1/recurrence.proto",
    "meed/v1/reward_request.proto",
];

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let descriptors = arguments.next().context("no descriptor set")?;
    let folder = arguments.next().context("no folder")?;
    let mut messages = connectrpc_build::CodeGenConfig::default();
    // A client of a later contract cannot make the server keep what it does not know.
    messages.generate_json = true;
    messages.preserve_unknown_fields = false;
    messages.generate_with_setters = false;
    connectrpc_build::Config::new()
        .buffa_config(messages)
        .descriptor_set(descriptors)
        .files(&FILES)
        .out_dir(&folder)
        .file_per_package(true)
        .include_file("contract.rs")
        .client_feature_name("client")
        .emit_register_fn(false)
        .emit_rerun_directives(false)
        .compile()
}
