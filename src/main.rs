//! Arguments → configuration → run; decides nothing. Exit code 1: the command failed; 2: its settings cannot be used.
//!
//! The library runs everything to its end on the calling thread: an `async fn` called from here would be compiled once
//! more, with all that it awaits, into the binary.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use hyper_chat::app::Mend;
use hyper_chat::config::{Config, DEFAULTS};
use hyper_chat::{app, telemetry, terminal};

/// Keeps memory of sockets apart from memory of requests, so that fewer holes stay: a third less memory a socket.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A one-to-one chat server.
#[derive(Parser)]
#[command(name = "hyper-chat", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server (also without a command); configured by hyper_chat.toml and the environment.
    Serve,
    /// Bring the database's tables up to date, then end.
    Migrate,
    /// Copy the SQLite database into a new file, also while the server runs, then end.
    Backup {
        /// The file of the copy, which must not exist.
        file: PathBuf,
    },
    /// Look for what is wrong with the database: its schema, its sequences of ids, and SQLite's file.
    Check {
        /// Move sequences of ids that are behind their tables.
        #[arg(long)]
        fix: bool,
    },
    /// Print the name of the database's epoch, then end.
    Epoch {
        /// Begin a new epoch first: after a restore, so that sign-ins and cursors of the lost time end.
        #[arg(long)]
        new: bool,
    },
    /// Put a backup in the place of the SQLite file, with a new epoch, then end; the server must not run.
    Restore {
        /// The backup; a write-ahead log beside it counts too.
        file: PathBuf,
    },
    /// Print the OpenAPI document of the REST interface, then end.
    Openapi,
    /// Print the AsyncAPI document of the sockets, then end.
    Asyncapi,
    /// Print every setting with its default and what it does, as a hyper_chat.toml to begin with.
    Config,
    /// Chat with another chatter from this terminal.
    Chat(terminal::Arguments),
}

fn main() -> ExitCode {
    // Dependencies may bring more than one provider of TLS; the choice is made here, once.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        return fail("a TLS provider is already installed", 1);
    }
    match Arguments::parse().command {
        Some(Command::Chat(arguments)) => finish(terminal::chat(arguments)),
        Some(Command::Openapi) => print(app::OPENAPI_TEXT),
        Some(Command::Asyncapi) => print(app::ASYNCAPI_TEXT),
        Some(Command::Config) => print(DEFAULTS),
        command => match configured() {
            Err(problem) => fail(&problem, 2),
            Ok(config) => match command {
                Some(Command::Migrate) => run(app::migrate(config)),
                Some(Command::Backup { file }) => run(app::backup(config, &file)),
                Some(Command::Check { fix }) => check(config, if fix { Mend::Yes } else { Mend::No }),
                Some(Command::Epoch { new: false }) => show(app::epoch(config)),
                Some(Command::Epoch { new: true }) => show(app::begin_epoch(config)),
                Some(Command::Restore { file }) => run(app::restore(config, &file)),
                _ => run(app::serve(config)),
            },
        },
    }
}

fn configured() -> Result<Config, String> {
    let config = Config::load().map_err(|e| e.to_string())?;
    telemetry::start(&config.log).map_err(|e| e.to_string())?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    Ok(config)
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string(), 1),
    }
}

fn show(result: Result<String, app::RunError>) -> ExitCode {
    match result {
        Ok(text) => print(&format!("{text}\n")),
        Err(error) => run(Err(error)),
    }
}

fn check(config: Config, mend: Mend) -> ExitCode {
    match app::check(config, mend) {
        Err(error) => run(Err(error)),
        Ok(report) => {
            let printed = print(&format!("{}\n", report.lines.join("\n")));
            if report.is_faulty { ExitCode::FAILURE } else { printed }
        }
    }
}

fn run(result: Result<(), app::RunError>) -> ExitCode {
    match result {
        Err(error) if error.is_setting() => fail(&telemetry::chain(&error), 2),
        result => finish(result),
    }
}

fn finish<E: Error + 'static>(result: Result<(), E>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    fail(&telemetry::chain(&error), 1)
}

fn fail(text: &str, code: u8) -> ExitCode {
    // Without stderr there is no place for the text.
    let _ = writeln!(std::io::stderr(), "hyper-chat: {text}");
    ExitCode::from(code)
}
