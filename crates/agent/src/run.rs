//! The life of an agent: start, signals, reload, leave, end. What it says on the way is what operators and scripts know.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use serf::transport::{Plain, Transport};
use serf::{Serf, StartError};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::banner::{Banner, Console, rpc_addr_shown};
use crate::config::duration::GoDuration;
use crate::config::{self, Config, Setup, Sources};
use crate::handlers::Handlers;
use crate::http::{self, Http};
use crate::join::{join, on_one_line};
use crate::listener::{Place, SocketFile};
use crate::log_format::LogFormat;
use crate::logging::Log;
use crate::matching::Matching;
use crate::mdns;
use crate::notify::Manager;
use crate::remedy::{self, told};
use crate::service::{Service, serve};
use crate::stdout::{self, Stdout};
use crate::syslog::Syslog;
use crate::tag_store::TagStore;
use crate::telemetry::{self, Feeding, Telemetry};

/// The exit code for everything but a graceful end.
const FAILURE: u8 = 1;
/// The exit code of an agent that has left.
const SUCCESS: u8 = 0;
/// The least time a graceful leave gets. More if broadcasts, and the pause after them, may take longer (E13).
const LEAVE_PATIENCE: Duration = Duration::from_secs(3);

/// Runs an agent until it has left, failed, or been told to end. Gives the exit code: 0 only when it has left.
pub fn run(sources: &Sources) -> u8 {
    stdout::start();
    let code = run_to_the_end(sources);
    stdout::finish();
    code
}

fn run_to_the_end(sources: &Sources) -> u8 {
    let console = Console;
    let log = Log::new(Box::new(Stdout));
    if log.install().is_err() {
        console.error("Error: this program logs already");
        return FAILURE;
    }
    // One thread: the machine is one task, and the rest has little to do.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            console.error(&format!("Error: cannot start: {error}"));
            return FAILURE;
        }
    };
    let code = runtime.block_on(async {
        match Agent::start(sources, &log).await {
            Ok(agent) => agent.live(sources, &log).await,
            Err(message) => {
                // What was logged up to here may tell why (E8).
                log.release();
                console.error(&message);
                FAILURE
            }
        }
    });
    // Whoever still waits for a name to be resolved need not be waited for.
    runtime.shutdown_background();
    code
}

/// A running agent.
struct Agent {
    config: Config,
    serf: Serf,
    service: Arc<Service>,
    /// The HTTP API is served.
    http: Option<Http>,
    signals: Signals,
    /// What has started us, and may want to know how we are.
    manager: Manager,
    /// It has been told that we are ready.
    is_ready: bool,
    /// A client made the node leave.
    left: mpsc::Receiver<()>,
    /// Joining in the background was given up.
    gave_up: mpsc::Receiver<()>,
    giving_up: mpsc::Sender<()>,
    /// Somebody collects metrics.
    feeding: Option<Feeding>,
    /// Where clients come in, if that is a file. It goes with the agent.
    _socket_file: Option<SocketFile>,
    /// How long a graceful leave may take.
    leave_patience: Duration,
}

/// Why the agent is to end.
enum End {
    /// Leave first, and say so.
    Gracefully,
    /// At once, with this exit code.
    Now(u8),
}

impl Agent {
    /// Everything up to a running agent that has yet to join. An error is a line for the operator.
    async fn start(sources: &Sources, log: &Log) -> Result<Self, String> {
        let console = Console;
        let mut notices = sources.notices.clone();
        let loaded = config::load(sources, &mut |notice| notices.push(notice.to_owned()));
        // Only now it is known in which form they are to be told.
        let format = loaded.as_ref().map_or_else(|_| config::log_format(sources), |config| config.log_format);
        stdout::set_format(format);
        log.set_format(format);
        notices.iter().for_each(|notice| console.warn(notice));
        let config = loaded.map_err(|e| told(&e, remedy::of_config(&e)))?;
        log.set_level(config.log_level);
        if config.log_format == LogFormat::Json {
            // There is no banner that it would tear apart.
            log.release();
        }
        if config.enable_syslog {
            let syslog = Syslog::connect(&config.syslog_facility);
            log.tell_syslog(syslog.map_err(|e| told(&e, remedy::of_syslog(&e)))?);
        }
        console.status("Starting Serf agent...");
        log::info!(target: "agent", "Serf agent starting");
        let setup = config::setup(&config)
            .map_err(|e| told(&config.beside(e.key(), &e), remedy::of_setup(&e, &config)))?;
        config::check(&config, &setup).map_err(|e| told(&e, remedy::of_limit(&e)))?;
        // Taken before gossip begins (E9).
        let runtime = serf::runtime::current().map_err(|e| start_error(&e.into()))?;
        let place = take_place(&config).map_err(|error| match Plain.bind(config.bind, &runtime) {
            // Operators know this order: of two ports that are not to be had, that of gossip is told.
            Err(bind) => start_error(&bind.into()),
            Ok(_) => error,
        })?;
        let http = http::listen(&config).await?;
        // Up to here, where names are resolved, a signal simply ends the process.
        let deaf = |error| format!("Error: cannot listen for signals: {error}");
        let signals = Signals::listen().map_err(deaf)?;
        let dumps = signal(SignalKind::user_defined1()).map_err(deaf)?;
        let (telemetry, feeding) = telemetry::begin(&config);
        let settings = serf::Config { meter: Some(telemetry.meter()), ..serf_config(&config, &setup)? };
        let leave_patience = LEAVE_PATIENCE.max(settings.broadcast_timeout + settings.leave_propagate_delay);
        let (serf, events) = Serf::start_with_events(settings).await.map_err(|e| start_error(&e))?;
        tokio::spawn(dump_when_asked(dumps, telemetry.clone()));
        let handlers = Handlers::start(&serf, &telemetry, events, config.event_handlers.clone());
        mdns::start(&serf, &config).map_err(|e| told(&e, remedy::of_mdns(&e)))?;
        console.status("Starting Serf agent RPC...");

        let (leaving, left) = mpsc::channel(1);
        let (giving_up, gave_up) = mpsc::channel(1);
        let service = Arc::new(Service {
            serf: serf.clone(),
            token: config.rpc_auth.as_ref().map(|t| t.as_bytes().to_vec()).unwrap_or_default(),
            handlers,
            tags: TagStore::new(config.tags_file.clone(), setup.tags.clone()),
            telemetry,
            log: log.clone(),
            matching: Matching::new(),
            left: leaving,
        });
        let banner = Banner {
            node_name: config.node_name.clone(),
            bind: serf.local_addr(),
            advertise: config.advertise,
            rpc_addr: rpc_addr_shown(&config.rpc_addr, place.port()),
            http_addr: http.as_ref().map(|it| it.local_addr()).transpose().map_err(|e| e.to_string())?,
            encrypted: !setup.keys.is_empty(),
            snapshot: config.snapshot_path.is_some(),
            profile: config.profile,
            compression: config.enable_compression,
            mdns_cluster: config.discover.clone(),
        };
        console.running(&banner);
        // Whoever waits for the agent to answer finds the banner where its output goes.
        stdout::written().await;
        let (listener, _socket_file) = place.open().map_err(|e| e.to_string())?;
        tokio::spawn(serve(service.clone(), listener));
        let http = http.map(|listener| Http::start(service.clone(), listener));
        let (manager, is_ready) = (Manager::of_this_process(), false);
        Ok(Self {
            config,
            serf,
            service,
            http,
            signals,
            manager,
            is_ready,
            left,
            gave_up,
            giving_up,
            feeding,
            _socket_file,
            leave_patience,
        })
    }

    /// Until the end; the exit code.
    async fn live(mut self, sources: &Sources, log: &Log) -> u8 {
        let end = match self.join_first(sources, log).await {
            Ok(()) => {
                Console.log_follows();
                log.release();
                self.manager.ready(&self.serf).await;
                self.is_ready = true;
                if !self.config.retry_join.is_empty() {
                    let (serf, config, giving_up) =
                        (self.serf.clone(), self.config.clone(), self.giving_up.clone());
                    tokio::spawn(async move { keep_joining(&serf, &config, giving_up).await });
                }
                self.until_told(sources, log).await
            }
            Err(end) => end,
        };
        self.manager.stopping().await;
        let code = match end {
            End::Now(code) => code,
            End::Gracefully => self.leave().await,
        };
        log::info!(target: "agent", "requesting serf shutdown");
        if code != SUCCESS {
            log::warn!(target: "serf", "Shutdown without a Leave");
        }
        self.serf.shutdown().await;
        if let Some(http) = self.http {
            http.finish().await;
        }
        self.service.handlers.finish().await;
        if let Some(feeding) = self.feeding {
            feeding.finish().await;
        }
        log::info!(target: "agent", "shutdown complete");
        code
    }

    /// The joins that come before everything else. Signals and clients are heard meanwhile: whoever gave an address
    /// where nobody answers need not wait until that is certain.
    async fn join_first(&mut self, sources: &Sources, log: &Log) -> Result<(), End> {
        if self.config.start_join.is_empty() {
            return Ok(());
        }
        let (console, serf) = (Console, self.serf.clone());
        let (addresses, replay) = (self.config.start_join.clone(), self.config.replay_on_join);
        console.status(&format!("Joining cluster...(replay: {replay})"));
        let joined = tokio::select! {
            joined = join(&serf, &addresses, replay) => joined,
            end = self.until_told(sources, log) => {
                log.release();
                return Err(end);
            }
        };
        match joined {
            Ok(joined) => {
                console.detail(&format!("Join completed. Synced with {joined} initial agents"));
                Ok(())
            }
            // The log stays hidden: this message tells all.
            Err(error @ serf::Error::NotJoined(_)) => {
                console.error(&error.to_string());
                Err(End::Now(FAILURE))
            }
            // The node leaves, and what made it leave ends the agent.
            Err(_) => {
                log.release();
                Err(self.until_told(sources, log).await)
            }
        }
    }

    async fn until_told(&mut self, sources: &Sources, log: &Log) -> End {
        loop {
            tokio::select! {
                Some(()) = self.left.recv() => return End::Now(SUCCESS),
                Some(()) = self.gave_up.recv() => return End::Now(FAILURE),
                () = self.serf.closed() => {
                    log::warn!(target: "agent", "Serf shutdown detected, quitting");
                    return End::Now(SUCCESS);
                }
                caught = self.signals.next() => {
                    Console.status(&format!("Caught signal: {}", caught.name()));
                    match caught {
                        // Not before the end of the start: a manager takes the end of a reload for that.
                        Caught::Hangup if self.is_ready => {
                            self.manager.reloading().await;
                            self.reload(sources, log);
                            self.manager.reloaded().await;
                        }
                        Caught::Hangup => self.reload(sources, log),
                        Caught::Interrupt if !self.config.skip_leave_on_interrupt => return End::Gracefully,
                        Caught::Terminate if self.config.leave_on_terminate => return End::Gracefully,
                        Caught::Interrupt | Caught::Terminate => return End::Now(FAILURE),
                    }
                }
            }
        }
    }

    /// Leaves, within bounds: a second signal ends the wait at once.
    async fn leave(&mut self) -> u8 {
        Console.status("Gracefully shutting down agent...");
        log::info!(target: "agent", "requesting graceful leave from Serf");
        let patience = self.leave_patience;
        let leave = self.serf.leave();
        tokio::select! {
            result = leave => match result {
                Ok(()) => SUCCESS,
                Err(error) => {
                    Console.error(&format!("Error: {error}"));
                    FAILURE
                }
            },
            () = tokio::time::sleep(patience) => {
                log::warn!(target: "agent", "leaving takes longer than {patience:?}, ending without it");
                FAILURE
            }
            _ = self.signals.next() => FAILURE,
        }
    }

    /// Takes over what can change in a running agent. What is wrong changes nothing.
    fn reload(&mut self, sources: &Sources, log: &Log) {
        let console = Console;
        console.status("Reloading configuration...");
        let reloaded = match config::reload(sources, &self.config, &mut |notice| console.warn(notice)) {
            Ok(reloaded) => reloaded,
            Err(error) => {
                console.error(&error.to_string());
                console.error("Failed to reload configs");
                return;
            }
        };
        if !reloaded.restart_for.is_empty() {
            let keys = reloaded.restart_for.join(", ");
            console.warn(&format!("Changed, but in effect only after a restart of the agent: {keys}"));
        }
        match reloaded.log_level {
            Ok(level) => log.set_level(level),
            Err(error) => {
                console.error(&format!("{error}\n    (the level stays as it is; all else is taken over)"));
            }
        }
        self.service.handlers.replace(reloaded.event_handlers);
        self.config.leave_on_terminate = reloaded.leave_on_terminate;
        self.config.skip_leave_on_interrupt = reloaded.skip_leave_on_interrupt;
        let Some(tags) = reloaded.tags else { return };
        // In the background: the news may take a while to spread, and signals should not wait for that.
        let service = self.service.clone();
        tokio::spawn(async move {
            if service.tags.get() != tags {
                log::info!(target: "agent", "setting tags to those of the configuration");
            }
            if let Err(error) = service.tags.set(&service.serf, |_| tags).await {
                Console.error(&format!("Failed to update tags: {error}\n    (they stay as they are)"));
            }
        });
    }
}

fn take_place(config: &Config) -> Result<Place, String> {
    let address = config.rpc_address().map_err(|e| told(&e, remedy::of_rpc_address(&e)))?;
    Place::take(&address).map_err(|e| e.to_string())
}

/// The configuration of the library.
fn serf_config(config: &Config, setup: &Setup) -> Result<serf::Config, String> {
    let mut serf = config.profile.node(&config.node_name);
    serf.bind = config.bind;
    serf.advertise = config.advertise.map(|a| a.ip());
    serf.advertise_port = config.advertise.map(|a| a.port());
    serf.tags = setup.tags.clone();
    serf.keys = setup
        .keys
        .iter()
        .map(|key| serf::Key::new(key.as_bytes()).map_err(|e| e.to_string()))
        .collect::<Result<_, _>>()?;
    serf.enable_name_conflict_resolution = !config.disable_name_resolution;
    serf.keyring_file = config.keyring_file.clone();
    serf.snapshot_path = config.snapshot_path.clone();
    serf.rejoin_after_leave = config.rejoin_after_leave;
    serf.gossip.compression = config.enable_compression;
    serf.protocol_version = u8::try_from(config.protocol).unwrap_or(u8::MAX);
    serf.broadcast_timeout = config.broadcast_timeout;
    serf.reconnect_interval = config.reconnect_interval;
    serf.reconnect_timeout = config.reconnect_timeout;
    serf.tombstone_timeout = config.tombstone_timeout;
    serf.validate_node_names = config.validate_node_names;
    serf.disable_coordinates = config.disable_coordinates;
    serf.user_event_size_limit = config.user_event_size_limit;
    serf.query_size_limit = config.query_size_limit;
    serf.query_response_size_limit = config.query_response_size_limit;
    config.gossip.apply(&mut serf);
    Ok(serf)
}

fn start_error(error: &StartError) -> String {
    let what = match error {
        StartError::Bind(error) => {
            format!(
                "Failed to create memberlist: Could not set up network transport: failed to obtain an address: {error}"
            )
        }
        StartError::Advertise(error) => {
            format!("Failed to create memberlist: failed to get final advertise address: {error}")
        }
        error => error.to_string(),
    };
    told(&format!("Failed to start the Serf agent: Error creating Serf: {what}"), remedy::of_start(error))
}

/// Joins again and again until somebody answers, or patience ends.
async fn keep_joining(serf: &Serf, config: &Config, giving_up: mpsc::Sender<()>) {
    let mut failures = 0;
    loop {
        log::info!(target: "agent", "Joining cluster...(replay: {})", config.replay_on_join);
        match join(serf, &config.retry_join, config.replay_on_join).await {
            Ok(n) => {
                log::info!(target: "agent", "Join completed. Synced with {n} initial agents");
                return;
            }
            Err(error @ serf::Error::NotJoined(_)) => {
                failures += 1;
                if config.retry_max_attempts > 0 && failures > config.retry_max_attempts {
                    log::error!(target: "agent", "maximum retry join attempts made, exiting");
                    let _ = giving_up.send(()).await;
                    return;
                }
                let wait = GoDuration::from_nanos(
                    i64::try_from(config.retry_interval.as_nanos()).unwrap_or(i64::MAX),
                );
                log::warn!(target: "agent", "Join failed: {}, retrying in {wait}", on_one_line(&error));
                tokio::time::sleep(config.retry_interval).await;
            }
            // The node leaves: what made it leave ends the agent, and with its own exit code.
            Err(_) => return,
        }
    }
}

/// Shows the metrics of the last minute on standard error, as often as SIGUSR1 comes. Somebody may have to read them
/// first, so a thread waits for that.
async fn dump_when_asked(mut signal: Signal, telemetry: Telemetry) {
    while signal.recv().await.is_some() {
        let text = telemetry.dump();
        let _ = tokio::task::spawn_blocking(move || io::stderr().write_all(text.as_bytes())).await;
    }
}

/// The signals that an agent knows.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    /// Taken, so that they do not end the agent. The second comes when a file may not grow any more, which whoever
    /// writes to it is told as well.
    _ignored: [Signal; 2],
}

enum Caught {
    Interrupt,
    Terminate,
    Hangup,
}

impl Caught {
    fn name(&self) -> &'static str {
        match self {
            Self::Interrupt => "interrupt",
            Self::Terminate => "terminated",
            Self::Hangup => "hangup",
        }
    }
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            _ignored: [
                signal(SignalKind::user_defined2())?,
                signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
            ],
        })
    }

    async fn next(&mut self) -> Caught {
        tokio::select! {
            Some(()) = self.interrupt.recv() => Caught::Interrupt,
            Some(()) = self.terminate.recv() => Caught::Terminate,
            Some(()) = self.hangup.recv() => Caught::Hangup,
            else => std::future::pending().await,
        }
    }
}
