//! Compiles this crate again when the built console has changed.

fn main() {
    println!("cargo:rerun-if-changed=../console/dist");
}
