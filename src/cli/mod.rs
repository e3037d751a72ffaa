//! The commands of `roger`: be a client, operate the fleet, replay recordings, measure.
//!
//! Each command is a function of its own over what it needs: clients need the fleet's addresses alone, operators Redis or SQL. Answers go
//! to stdout, as JSON with `--json`; what goes on meanwhile to stderr.

mod access;
mod accounts;
mod alerts;
mod args;
mod bench;
mod changes;
mod check;
mod context;
mod dead;
mod demo;
mod devices;
mod doctor;
mod error;
mod fate;
mod fences;
mod file;
mod fresh;
mod groups;
mod heard;
mod http;
mod operate;
mod output;
mod pause;
mod primary;
mod queues;
mod radio;
mod recordings;
mod release;
mod replay;
mod rooms;
mod roster;
mod sessions;
mod sql;
mod state;
mod streams;
mod talk;
mod top;
mod trace;
mod track;
mod tree;
mod when;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use args::{Cli, Command};
use context::Context;
use error::Error;
use output::note;

/// Runs `roger` with the arguments of the process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _gone = error.print();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(run(cli));
            // A line of stdin that is waited for must not hold the end up.
            runtime.shutdown_background();
            done
        }
        Err(source) => Err(Error::Program { program: "the runtime".to_owned(), source }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !matches!(error, Error::Findings) {
                note(&format!("roger: {}", crate::worker::chain(&error)));
                if !error.advice().is_empty() {
                    note(&format!("roger: {}", error.advice()));
                }
            }
            ExitCode::from(error.exit_code())
        }
    }
}

async fn run(cli: Cli) -> Result<(), Error> {
    if let Command::Completions { shell } = cli.command {
        // Through a buffer: clap_complete panics when whoever reads it has enough.
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "roger", &mut script);
        output::raw(&script);
        return Ok(());
    }
    let context = Context::new(&cli)?;
    match cli.command {
        Command::Login(args) => radio::login(&context, args).await,
        Command::Logout(args) => radio::logout(&context, args).await,
        Command::Send(args) => radio::send(&context, args).await,
        Command::Listen(args) => radio::listen(&context, args).await,
        Command::Talk(args) => talk::talk(&context, args).await,
        Command::Sos(args) => alerts::sos(&context, args).await,
        Command::Alerts(command) => alerts::alerts(&context, command).await,
        Command::Escalation(command) => alerts::escalation(&context, command).await,
        Command::Fence(command) => fences::fence(&context, command).await,
        Command::Room(args) => radio::room(&context, args).await,
        Command::Groups(args) => radio::groups(&context, args).await,
        Command::Sessions(args) => sessions::sessions(&context, args).await,
        Command::Rooms => rooms::rooms(&context).await,
        Command::Floor(args) => rooms::floor(&context, args).await,
        Command::Queues => queues::queues(&context).await,
        Command::Pause(args) => pause::pause(&context, &args).await,
        Command::Redis(command) => primary::run(&context, &command).await,
        Command::Resume(args) => pause::resume(&context, &args).await,
        Command::Top(args) => top::top(&context, args).await,
        Command::Dead(args) => dead::dead(&context, args).await,
        Command::Doctor { fix } => doctor::doctor(&context, fix).await,
        Command::Config(args::ConfigCommand::Check { supervisor }) => check::check(&context, supervisor),
        Command::Sql(command) => sql::sql(&context, command).await,
        Command::Audit => operate::audit(&context).await,
        Command::Changes(args) => changes::changes(&context, args).await,
        Command::Trace(args) => trace::trace(&context, args).await,
        Command::Fate(args) => fate::fate(&context, args).await,
        Command::Keys(command) => operate::keys(&context, &command),
        Command::Apply(args) => accounts::apply(&context, args).await,
        Command::Account(command) => accounts::account(&context, command).await,
        Command::Device(command) => devices::device(&context, command).await,
        Command::Import(args) => devices::import(&context, args).await,
        Command::Group(command) => groups::group(&context, command).await,
        Command::Member(command) => groups::member(&context, command).await,
        Command::Friend(command) => groups::friend(&context, command).await,
        Command::Release(command) => release::release(&context, command).await,
        Command::File(command) => file::file(&context, command).await,
        Command::Replay(args::Replay::Radio(args)) => replay::radio(&context, args).await,
        Command::Replay(args::Replay::Track(args)) => track::track(&context, args).await,
        Command::Demo(args) => demo::demo(&context, args).await,
        Command::Bench(args) => bench::bench(context, args).await,
        Command::Completions { .. } => Ok(()),
    }
}
