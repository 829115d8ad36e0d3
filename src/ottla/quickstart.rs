//! `ottla quickstart`: a broker as `ottla server` starts it, and a first record through its socket. With `--nodes`, several
//! of them.

use std::process::ExitCode;

/// Serves like `ottla server`, after showing a record that went in and came out.
pub fn main(args: &[String]) -> ExitCode {
    match crate::cluster::nodes(args).map(|nodes| nodes.map(crate::cluster::run)) {
        Ok(None) => alone(args),
        Ok(Some(Ok(()))) => ExitCode::SUCCESS,
        Ok(Some(Err(error))) | Err(error) => {
            eprintln!("ottla: {}", ottla_cli::line_of(&error));
            ExitCode::FAILURE
        }
    }
}

fn alone(args: &[String]) -> ExitCode {
    crate::server::run(args, |address| {
        Box::pin(async move {
            let address = format!("localhost:{}", address.port());
            let (seen, _) = ottla_cli::first_record(&address, 1).await?;
            println!("\n{seen}\nThe broker is at {address}. Ctrl-C stops it.\n");
            Ok(())
        })
    })
}
