//! Finding members of a cluster by its name alone, where multicast DNS reaches them (RFC 6762): an agent answers those
//! who ask for its cluster, asks for it itself now and then, and joins whom it finds.
//!
//! Anybody in the network may ask and answer, so both are bounded; who has a key for gossip joins nobody who has none.

mod message;
mod service;
mod socket;
#[cfg(test)]
mod tests;

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serf::{NodeState, Serf, Status};
use thiserror::Error;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use self::message::Message;
use self::service::Service;
use crate::complaints::Complaints;
use crate::config::Config;
use crate::config::interface::{self, Interface};
use crate::join::{join, on_one_line};
use crate::text::os_error;

/// Members taken of all answers to one question: one contact is enough, and joining many takes time.
const FOUND_MAX: usize = 64;
/// Answers that are looked at: some of each member of a large cluster.
const HEARD_MAX: usize = 1024;
/// Questions about members of whom an answer did not tell where they are.
const OPEN_MAX: usize = 16;
/// Answers of ours in a second; the reference's cluster of a hundred starts at once with less.
const ANSWERS_MAX: u32 = 128;
/// The largest message there is (RFC 6762 §17).
const DATAGRAM_MAX: usize = 9000;
/// After a socket failed.
const PAUSE: Duration = Duration::from_secs(1);

/// How long things take.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Between two questions for the cluster. The first ones follow each other faster: a question may be lost.
    poll: Duration,
    /// How long answers to one are heard.
    listen: Duration,
    /// After this time without another member those found are joined together.
    quiet: Duration,
}

/// As with the reference, which has no faster beginning.
const PACE: Pace =
    Pace { poll: Duration::from_secs(60), listen: Duration::from_secs(1), quiet: Duration::from_millis(100) };

const STARTING: &str = "Error starting mDNS listener: ";

/// Why members cannot be found.
#[derive(Debug, Error)]
pub(crate) enum MdnsError {
    /// The cluster's name does not fit into one of the DNS.
    #[error("{STARTING}'{0}' cannot be part of a DNS name: it may have 57 bytes, 63 between any dots in it")]
    Name(String),
    /// No socket can be had.
    #[error("{STARTING}No multicast listeners could be started (IPv4: {v4}; IPv6: {v6})")]
    Listen { v4: String, v6: String },
    /// The interface has gone since it was checked.
    #[error("{STARTING}{0}")]
    Interface(#[from] interface::InterfaceError),
    /// What we tell others is no IP address.
    #[error("{STARTING}there is no address to tell others")]
    Address,
}

/// Begins, if the configuration names a cluster to be found.
pub(crate) fn start(serf: &Serf, config: &Config) -> Result<(), MdnsError> {
    let Some(cluster) = &config.discover else { return Ok(()) };
    let interface = config.mdns_interface.as_ref().or(config.interface.as_ref());
    let interface = interface.map(|name| interface::find(name)).transpose()?;
    let address = serf.advertise_addr().socket_addr().ok_or(MdnsError::Address)?;
    let host = gethostname::gethostname();
    let service = Service::new(cluster, &serf.name().to_string(), &host.to_string_lossy(), address)
        .ok_or_else(|| MdnsError::Name(cluster.clone()))?;
    let service = Arc::new(service);
    match &interface {
        Some(it) => log::info!(target: "agent", "Starting mDNS listener on interface {}", it.name),
        None => log::info!(target: "agent", "Starting mDNS listener"),
    }
    match (socket::listen_v4(interface.as_ref()), socket::listen_v6(interface.as_ref())) {
        (Err(v4), Err(v6)) => {
            return Err(MdnsError::Listen { v4: os_error(&v4), v6: os_error(&v6) });
        }
        (v4, v6) => {
            for socket in [v4, v6].into_iter().flatten() {
                tokio::spawn(respond(socket, service.clone()));
            }
        }
    }
    let (v4, v6) = (!config.mdns_disable_ipv4, !config.mdns_disable_ipv6);
    let ways = move || Ways::open(interface.as_ref(), v4, v6);
    let search = Search { serf: serf.clone(), service, pace: PACE, replay: config.replay_on_join };
    tokio::spawn(search.go_on(ways));
    Ok(())
}

/// Answers whoever asks, directly.
async fn respond(socket: UdpSocket, service: Arc<Service>) {
    let nonsense = Complaints::new("agent.mdns", log::Level::Debug);
    let mut buffer = vec![0; DATAGRAM_MAX];
    let mut ration = Ration::default();
    loop {
        let (n, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                log::debug!(target: "agent.mdns", "cannot hear questions: {}", os_error(&error));
                sleep(PAUSE).await;
                continue;
            }
        };
        match Message::read(&buffer[..n]) {
            Ok(Some(message)) => {
                if let Some(answer) = service.answer(&message)
                    && ration.take(Instant::now())
                {
                    // Who was not answered asks again.
                    let _ = socket.send_to(&answer.to_bytes(), from).await;
                }
            }
            Ok(None) => {}
            Err(error) => nonsense.tell(format_args!("message refused: {error} from={from}")),
        }
    }
}

/// Answers that may still be given in this second. More would make us a lever for floods.
#[derive(Default)]
struct Ration {
    until: Option<Instant>,
    given: u32,
}

impl Ration {
    fn take(&mut self, now: Instant) -> bool {
        if self.until.is_none_or(|until| until <= now) {
            *self = Self { until: Some(now + Duration::from_secs(1)), given: 0 };
        }
        self.given += 1;
        self.given <= ANSWERS_MAX
    }
}

/// The sockets for one question, and whom to ask with each.
struct Ways(Vec<(UdpSocket, SocketAddr)>);

impl Ways {
    /// One of the two is enough.
    fn open(interface: Option<&Interface>, v4: bool, v6: bool) -> io::Result<Self> {
        let v4 = v4.then(|| socket::ask_v4(interface));
        let v6 = v6.then(|| socket::ask_v6(interface));
        one_is_enough([v4, v6].into_iter().flatten()).map(Self)
    }

    async fn send(&self, question: &Message) -> io::Result<()> {
        let bytes = question.to_bytes();
        let mut results = Vec::new();
        for (socket, group) in &self.0 {
            results.push(socket.send_to(&bytes, group).await);
        }
        one_is_enough(results).map(drop)
    }

    /// The next datagram.
    async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            for (socket, _) in &self.0 {
                match socket.try_recv_from(buffer) {
                    Ok((n, _)) => return Ok(n),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            match &self.0[..] {
                [(one, _), (other, _), ..] => {
                    tokio::select! {
                        ready = one.readable() => ready?,
                        ready = other.readable() => ready?,
                    }
                }
                [(only, _)] => only.readable().await?,
                [] => std::future::pending().await,
            }
        }
    }
}

/// Those that went well; an error if none did.
fn one_is_enough<T>(results: impl IntoIterator<Item = io::Result<T>>) -> io::Result<Vec<T>> {
    let mut error = None;
    let good: Vec<T> = results.into_iter().filter_map(|r| r.map_err(|e| error = Some(e)).ok()).collect();
    match error {
        Some(error) if good.is_empty() => Err(error),
        _ => Ok(good),
    }
}

/// Who asks for the cluster.
struct Search {
    serf: Serf,
    service: Arc<Service>,
    pace: Pace,
    replay: bool,
}

impl Search {
    /// Asks as long as we are in a cluster ourselves.
    async fn go_on(self, ways: impl Fn() -> io::Result<Ways>) {
        let mut pause = self.pace.listen.min(self.pace.poll);
        while self.serf.state().await == NodeState::Alive {
            let next = Instant::now() + pause;
            pause = (pause * 2).min(self.pace.poll);
            let result = match ways() {
                Ok(ways) => self.ask(&ways).await,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                log::error!(target: "agent.mdns", "Failed to poll for new hosts: {}", os_error(&error));
            }
            sleep_until(next).await;
        }
    }

    /// Asks once, and joins those found.
    async fn ask(&self, ways: &Ways) -> io::Result<()> {
        ways.send(&self.service.question()).await?;
        let mut buffer = vec![0; DATAGRAM_MAX];
        let end = Instant::now() + self.pace.listen;
        let (mut seen, mut fresh, mut open) = (Vec::new(), Vec::new(), 0);
        let mut quiet = None;
        let mut heard = 0;
        loop {
            let until = quiet.map_or(end, |quiet: Instant| quiet.min(end));
            let received = match timeout_at(until, ways.receive(&mut buffer)).await {
                Ok(received) if heard < HEARD_MAX => received,
                pause => {
                    self.join(mem::take(&mut fresh)).await;
                    quiet = None;
                    if pause.is_ok() || Instant::now() >= end {
                        return Ok(());
                    }
                    continue;
                }
            };
            heard += 1;
            let Ok(Some(response)) = Message::read(&buffer[..received?]) else { continue };
            let (found, questions) = self.service.found(&response);
            for place in found {
                if seen.len() < FOUND_MAX && !seen.contains(&place) {
                    seen.push(place);
                    fresh.push(place);
                    quiet = Some(Instant::now() + self.pace.quiet);
                }
            }
            for question in questions {
                if open < OPEN_MAX {
                    open += 1;
                    // It may be known from another answer, and is asked for again in any case.
                    let _ = ways.send(&question).await;
                }
            }
        }
    }

    /// Joins those who are no members yet. Who did not answer is tried again when it is found again (E41).
    async fn join(&self, found: Vec<SocketAddr>) {
        let Ok(members) = self.serf.members().await else { return };
        let is_member = |place: &SocketAddr| {
            let here = |m: &&serf::Member| m.addr.socket_addr() == Some(*place);
            members.iter().filter(here).any(|m| matches!(m.status, Status::Alive | Status::Leaving))
        };
        let new: Vec<String> = found.iter().filter(|p| !is_member(p)).map(SocketAddr::to_string).collect();
        if new.is_empty() {
            return;
        }
        match join(&self.serf, &new, self.replay).await {
            Ok(n) => log::info!(target: "agent.mdns", "Joined {n} hosts"),
            Err(error) => log::error!(target: "agent.mdns", "Failed to join: {}", on_one_line(&error)),
        }
    }
}
