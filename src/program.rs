//! The frame of every program: flags, configuration, telemetry, signals, exit code. No rule of dispatch.
//!
//! Each program's entry is a plain function here, so that a further binary costs a link and no build.

use std::error::Error as StdError;
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::broker::{Redis, Settings};
use crate::clock::Clock;
use crate::config::{self, Config, Program, Sources};
use crate::retry::ErrorClass;
use crate::shutdown::Shutdown;
use crate::{directory, edge, gateway, jobs, listener, telemetry, worker};

/// Exit code: wrong usage; supervisord takes it as final.
pub const EXIT_USAGE: u8 = 64;
/// Exit code: a server or an address is missing; supervisord tries again.
pub const EXIT_MISSING: u8 = 69;
/// Exit code: a defect.
pub const EXIT_DEFECT: u8 = 70;

/// How a program ended that did not just stop.
pub type Failure = (ErrorClass, Box<dyn StdError + Send + Sync>);

#[derive(clap::Parser)]
#[command(version, about)]
struct Flags {
    /// The configuration file; defaults alone without one.
    #[arg(long, env = "ROGER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(clap::Parser)]
#[command(version, about = "Holds the streams of clients")]
struct EdgeFlags {
    #[command(flatten)]
    flags: Flags,
    /// Names this edge; overrides edge.name.
    #[arg(long)]
    name: Option<String>,
    /// Where clients connect; overrides edge.listen.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
}

#[derive(clap::Parser)]
#[command(version, about = "Listens to supervisord, on stdin and stdout, and sends texts")]
struct ListenerFlags {
    #[command(flatten)]
    flags: Flags,
    /// Names this listener among those of this machine: 1 to 32 lower-case letters, digits and hyphens.
    #[arg(long, default_value = "a", value_parser = listener::name)]
    name: String,
}

/// The program `edge`.
pub fn edge() -> ExitCode {
    let EdgeFlags { flags, name, listen } = match flags::<EdgeFlags>() {
        Ok(flags) => flags,
        Err(code) => return code,
    };
    let sources = Sources::of_process(flags.config).flag("edge.name", "--name", name).flag("edge.listen", "--listen", listen);
    main("edge", Program::Edge, &sources, |config, clock, shutdown| {
        Box::pin(async { edge::run(config, clock, shutdown).await.map_err(|error| (error.class(), error.into())) })
    })
}

/// The program `directory`.
pub fn directory() -> ExitCode {
    let flags = match flags::<Flags>() {
        Ok(flags) => flags,
        Err(code) => return code,
    };
    let sources = Sources::of_process(flags.config);
    main("directory", Program::Directory, &sources, |config, clock, shutdown| {
        Box::pin(async { directory::run(config, clock, shutdown).await.map_err(|error| (error.class(), error.into())) })
    })
}

/// The program `gateway`.
pub fn gateway() -> ExitCode {
    let flags = match flags::<Flags>() {
        Ok(flags) => flags,
        Err(code) => return code,
    };
    let sources = Sources::of_process(flags.config);
    main("gateway", Program::Gateway, &sources, |config, clock, shutdown| {
        Box::pin(async { gateway::run(config, clock, shutdown).await.map_err(|error| (error.class(), error.into())) })
    })
}

/// The program `delivery`.
pub fn delivery() -> ExitCode {
    let flags = match flags::<Flags>() {
        Ok(flags) => flags,
        Err(code) => return code,
    };
    let sources = Sources::of_process(flags.config);
    main("delivery", Program::Delivery, &sources, |config, clock, shutdown| {
        Box::pin(async { jobs::deliver::run(config, clock, shutdown).await.map_err(|error| (error.class(), error.into())) })
    })
}

/// The program `offline`.
pub fn offline() -> ExitCode {
    let flags = match flags::<Flags>() {
        Ok(flags) => flags,
        Err(code) => return code,
    };
    let sources = Sources::of_process(flags.config);
    main("offline", Program::Offline, &sources, |config, clock, shutdown| {
        Box::pin(async { jobs::offline::run(config, clock, shutdown).await.map_err(|error| (error.class(), error.into())) })
    })
}

/// The program `sos`.
pub fn sos() -> ExitCode {
    let flags = match flags::<Flags>() {
        Ok(flags) => flags,
        Err(code) => return code,
    };
    let sources = Sources::of_process(flags.config);
    main("sos", Program::Sos, &sources, |config, clock, shutdown| {
        Box::pin(async { jobs::alert::run(config, clock, shutdown).await.map_err(|error| (error.class(), error.into())) })
    })
}

/// The program `gps`.
pub fn gps() -> ExitCode {
    let flags = match flags::<Flags>() {
        Ok(flags) => flags,
        Err(code) => return code,
    };
    let sources = Sources::of_process(flags.config);
    main("gps", Program::Gps, &sources, |config, clock, shutdown| {
        Box::pin(async { jobs::locate::run(config, clock, shutdown).await.map_err(|error| (error.class(), error.into())) })
    })
}

/// The program `janus`.
pub fn janus() -> ExitCode {
    let flags = match flags::<Flags>() {
        Ok(flags) => flags,
        Err(code) => return code,
    };
    let sources = Sources::of_process(flags.config);
    main("janus", Program::Janus, &sources, |config, clock, shutdown| {
        Box::pin(async { jobs::talk::run(config, clock, shutdown).await.map_err(|error| (error.class(), error.into())) })
    })
}

/// The program `sms-listener`.
pub fn listener() -> ExitCode {
    let ListenerFlags { flags, name } = match flags::<ListenerFlags>() {
        Ok(flags) => flags,
        Err(code) => return code,
    };
    let sources = Sources::of_process(flags.config);
    main("sms-listener", Program::Listener, &sources, |config, clock, shutdown| async {
        listener::run(config, name, clock, shutdown).await.map_err(|error| (error.class(), error.into()))
    })
}

/// The flags; or, when there is nothing to run, the exit code: wrong usage is final for supervisord.
fn flags<F: clap::Parser>() -> Result<F, ExitCode> {
    F::try_parse().map_err(|error| {
        // Nothing more can be done about a terminal that is gone.
        drop(error.print());
        if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS }
    })
}

fn main<R, F>(name: &'static str, program: Program, sources: &Sources, run: R) -> ExitCode
where
    R: FnOnce(Config, Clock, Shutdown) -> F,
    F: Future<Output = Result<(), Failure>> + Send,
{
    let config = match Config::load(program, sources) {
        Ok(config) => config,
        Err(error) => {
            // Nothing is set up yet that could log.
            #[expect(clippy::print_stderr, reason = "before the log is there")]
            {
                eprintln!("{name}: {error}");
            }
            return ExitCode::from(config::EXIT_CODE);
        }
    };
    telemetry::start(&config.log, name);
    // Before there are other threads: each has a niceness of its own, and begins with that of its maker.
    let niceness = if config.processor.yields { niceness(program) } else { 0 };
    if let Err(error) = rustix::process::nice(niceness) {
        tracing::warn!(error = &error as &dyn StdError, "this program does not yield the processor as it should");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(error = &error as &dyn StdError, "no runtime");
            return ExitCode::from(EXIT_MISSING);
        }
    };
    let outcome = runtime.block_on(serve(name, program, config, run));
    // What still runs on other threads is not waited for: the grace is over.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err((class, error)) => {
            tracing::error!(error = &*error as &dyn StdError, "{name} cannot run");
            match class {
                ErrorClass::Transient => ExitCode::from(EXIT_MISSING),
                ErrorClass::Permanent => ExitCode::from(config::EXIT_CODE),
                ErrorClass::Defect => ExitCode::from(EXIT_DEFECT),
            }
        }
    }
}

/// By how much a program yields the processor where there is not enough of it: Redis and SOS go before messages, and messages before what may
/// lag without anybody being hurt.
fn niceness(program: Program) -> i32 {
    match program {
        Program::Sos | Program::Listener | Program::Roger => 0,
        Program::Edge | Program::Delivery | Program::Directory | Program::Janus => 5,
        Program::Offline | Program::Gps | Program::Gateway => 10,
    }
}

async fn serve<R, F>(name: &'static str, program: Program, config: Config, run: R) -> Result<(), Failure>
where
    R: FnOnce(Config, Clock, Shutdown) -> F,
    F: Future<Output = Result<(), Failure>> + Send,
{
    let shutdown = Shutdown::on_signals(config.shutdown.grace).map_err(|error| (ErrorClass::Defect, error.into()))?;
    let listen = match program {
        Program::Edge => config.metrics.edge_listen,
        Program::Directory => config.metrics.directory_listen,
        Program::Gateway => config.metrics.gateway_listen,
        Program::Delivery => config.metrics.delivery_listen,
        Program::Offline => config.metrics.offline_listen,
        Program::Sos => config.metrics.sos_listen,
        Program::Gps => config.metrics.gps_listen,
        Program::Janus => config.metrics.janus_listen,
        Program::Listener => config.metrics.listener_listen,
        Program::Roger => None,
    };
    match telemetry::serve_metrics(listen) {
        // Whoever tells of trouble does not end for a port that is taken.
        Err(error) if program == Program::Listener => tracing::error!(error = &error as &dyn StdError, "goes on without metrics"),
        served => served.map_err(|error| (ErrorClass::Transient, error.into()))?,
    }
    let instance = format!("{}-{}", worker::host_name(), std::process::id());
    telemetry::trace::start(&config.trace, name, instance).map_err(|error| (ErrorClass::Permanent, error.into()))?;
    let clock = clock(program, &config, &shutdown).await;
    let outcome = run(config, clock, shutdown).await;
    // It waits for a thread of its own.
    let _sent = tokio::task::spawn_blocking(telemetry::trace::stop).await;
    outcome
}

/// The time of the fleet for all who have to do with its Redis.
async fn clock(program: Program, config: &Config, shutdown: &Shutdown) -> Clock {
    match (program, Redis::new(Settings::from(&config.redis))) {
        // It needs no Redis; and what is wrong with an address is told by who needs it.
        (Program::Listener, _) | (_, Err(_)) => Clock::system(),
        (_, Ok(redis)) => redis.fleet_clock(shutdown).await,
    }
}
