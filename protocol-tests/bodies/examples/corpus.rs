//! Writes what each target begins with where `cargo fuzz` looks for it:
//! `cargo run -p fuzz-bodies --example corpus -- protocol-tests/fuzz/corpus`.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let to = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "protocol-tests/fuzz/corpus".into()));
    for target in fuzz_bodies::TARGETS {
        let folder = to.join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (number, bytes) in (target.seeds)().iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number:04}")), bytes)?;
        }
    }
    Ok(())
}
