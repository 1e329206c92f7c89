//! The command line: parse, dispatch, exit code.

// They panic where nobody reads any more: see `command/terminal.rs`.
#![warn(clippy::print_stderr, clippy::print_stdout)]

mod cli;
mod command;
#[cfg(test)]
mod documented;
mod exit;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use tokio::runtime;

use cli::{Cli, Command};
use exit::Exit;

fn main() -> ExitCode {
    let cli = Cli::parse();
    run(&cli).unwrap_or_else(|error| {
        // Whoever read our output is gone: there is nobody to complain to.
        if is_broken_pipe(&error) {
            return Exit::Error.into();
        }
        command::terminal::tell(&exit::words(&error));
        exit::of(&error).into()
    })
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    command::throttle::look_back(&cli.command);
    match &cli.command {
        Command::Start(options) => runtime()?.block_on(command::start::run(options)),
        Command::Monitor(options) => runtime()?.block_on(command::monitor::run(options)),
        Command::Wait(options) => runtime()?.block_on(command::wait::run(options)),
        Command::Resume(options) => runtime()?.block_on(command::resume::run(options)),
        Command::Finish(options) => command::finish::run(options),
        Command::Dump(options) => runtime()?.block_on(command::dump::run(options)),
        Command::Plan(options) => command::plan::run(options),
        Command::Explain(options) => runtime()?.block_on(command::explain::run(options)),
        Command::Throttle(options) => runtime()?.block_on(command::throttle::run(options)),
        Command::Record(options) => runtime()?.block_on(command::record::run(options)),
        Command::Replay(options) => runtime()?.block_on(command::replay::run(options)),
        Command::Report(options) => runtime()?.block_on(command::report::run(options)),
        Command::Doctor(options) => command::doctor::run(options),
        Command::Export(options) => runtime()?.block_on(command::export::run(options)),
        Command::Guard => command::guard::run(),
        Command::Status(options) => {
            command::status::run(options.name.as_deref(), options.json).map(|()| Exit::Done.into())
        }
    }
}

/// One thread is enough to wait for a timer, a ring buffer and a keyboard.
fn runtime() -> io::Result<runtime::Runtime> {
    runtime::Builder::new_current_thread().enable_all().build()
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
