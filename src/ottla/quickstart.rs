//! `ottla quickstart`: a broker as `ottla server` starts it, and a first record through its socket.

use std::process::ExitCode;

/// Serves like `ottla server`, after showing a record that went in and came out.
pub fn main(args: &[String]) -> ExitCode {
    crate::server::run(args, |address| {
        Box::pin(async move {
            let address = format!("localhost:{}", address.port());
            let seen = ottla_cli::first_record(&address).await?;
            println!("\n{seen}\nThe broker is at {address}. Ctrl-C stops it.\n");
            Ok(())
        })
    })
}
