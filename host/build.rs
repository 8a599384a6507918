//! Builds the host again when a file is added to the folders that it embeds: cargo sees changes in them by itself.

fn main() {
    for folder in ["../templates", "../plugin-sdk"] {
        println!("cargo:rerun-if-changed={folder}");
    }
}
