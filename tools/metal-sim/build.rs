//! `objc2` asks the linker for `-lobjc`. The runtime's symbols are in this crate, so an empty archive answers.

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_CFG_METAL_SIM").is_some() {
        let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
        std::fs::write(out.join("libobjc.a"), b"!<arch>\n")?;
        println!("cargo:rustc-link-search=native={}", out.display());
    }
    Ok(())
}
