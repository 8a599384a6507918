//! Compiles this crate again when the built console has changed.

#![expect(clippy::print_stdout, reason = "Cargo reads what a build script prints")]

fn main() {
    println!("cargo:rerun-if-changed=../console/dist");
}
