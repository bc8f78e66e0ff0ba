//! The `ferry` command: turns arguments into configurations, owns the terminal, and reports errors. What it starts is
//! in the `machine`, `images` and `disk-formats` crates.

mod args;
mod disk;
mod install;
mod parse;
mod progress;
mod run;
mod signals;
mod terminal;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tracing_subscriber::EnvFilter;

use args::{Cli, Command};

/// The exit code of ferry's own errors; a guest's code is passed through.
const FAILED: u8 = 125;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Where clap writes its message fails only if there is nobody to read it.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS };
        }
    };
    let filter = EnvFilter::try_from_env("FERRY_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(terminal::Stderr::default)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let done = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Disk(command) => disk::run(&command),
        Command::Images => {
            for image in images::catalog::IMAGES {
                let arches: Vec<_> = image.arches.iter().map(|arch| arch.debian_name()).collect();
                println!("{:<10} {} ({})", image.name, image.description, arches.join(", "));
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "ferry", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("ferry: {}", one_line(&error));
        ExitCode::from(FAILED)
    })
}

/// The error with its causes, those left out that the message before them has already told.
fn one_line(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
