//! Services: those of this node, kept in its tags and in a file, and those of all nodes, read from theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serf::{Error, Events, Failure, Member, Serf, Status, Tags};
use tokio::sync::Mutex;

/// The tags of services begin so; others belong to whoever else uses them.
const PREFIX: &str = "svc:";

/// A service of some node. They are sorted by service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) service: String,
    pub(crate) node: String,
    pub(crate) addr: SocketAddr,
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.service, self.node, self.addr)
    }
}

/// The services of this node, with the port of each, and the file in which they outlive it.
#[derive(Clone)]
pub(crate) struct Services {
    ports: BTreeMap<String, u16>,
    file: Option<PathBuf>,
}

impl Services {
    /// Those in a file; none if it is not there yet. Its directory is made.
    pub(crate) fn open(file: Option<PathBuf>) -> Result<Self, String> {
        let mut ports = BTreeMap::new();
        if let Some(file) = &file {
            let failed = |why: io::Error| format!("{}: {why}", file.display());
            if let Some(dir) = file.parent() {
                fs::create_dir_all(dir).map_err(failed)?;
            }
            let text = match fs::read_to_string(file) {
                Err(why) if why.kind() == ErrorKind::NotFound => String::new(),
                text => text.map_err(failed)?,
            };
            for line in text.lines() {
                let entry = line.split_once(' ').and_then(|(name, port)| parse(name, port).ok());
                let (name, port) = entry.ok_or_else(|| format!("{}: no service: {line}", file.display()))?;
                ports.insert(name, port);
            }
        }
        Ok(Self { ports, file })
    }

    /// What the node tells of itself.
    pub(crate) fn tags(&self) -> Tags {
        self.ports.iter().map(|(name, port)| (format!("{PREFIX}{name}"), port.to_string())).collect()
    }

    /// Either the old file or the new one is there, whatever happens meanwhile.
    fn save(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let lines: String = self.ports.iter().map(|(name, port)| format!("{name} {port}\n")).collect();
        serf::files::replace(file, lines.as_bytes())
    }
}

fn parse(name: &str, port: &str) -> Result<(String, u16), String> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_fine) {
        return Err(format!("a service has 1 to 64 letters, digits, dashes, dots or underscores: {name:?}"));
    }
    match port.parse() {
        Ok(port) if port > 0 => Ok((name.to_owned(), port)),
        _ => Err(format!("no port: {port:?}")),
    }
}

/// A node of the registry. Clones are the same node.
#[derive(Clone)]
pub(crate) struct Registry {
    serf: Serf,
    ours: Arc<Mutex<Services>>,
}

impl Registry {
    /// The node must have been started with the tags of the services.
    pub(crate) fn new(serf: Serf, ours: Services) -> Self {
        Self { serf, ours: Arc::new(Mutex::new(ours)) }
    }

    pub(crate) async fn join(&self, addresses: &[&str]) -> Result<usize, String> {
        let joined = self.serf.join(addresses).await.map_err(|why| why.to_string())?;
        Ok(joined.contacted.len())
    }

    /// A service that is there already gets the new port.
    pub(crate) async fn register(&self, name: &str, port: &str) -> Result<(), String> {
        let (name, port) = parse(name, port)?;
        self.change(|ports| {
            ports.insert(name, port);
            Ok(())
        })
        .await
    }

    pub(crate) async fn deregister(&self, name: &str) -> Result<(), String> {
        let unknown = || format!("not registered here: {name:?}");
        self.change(|ports| ports.remove(name).map(drop).ok_or_else(unknown)).await
    }

    async fn change(
        &self,
        edit: impl FnOnce(&mut BTreeMap<String, u16>) -> Result<(), String>,
    ) -> Result<(), String> {
        // One at a time: tags are replaced, all of them.
        let mut ours = self.ours.lock().await;
        let mut next = ours.clone();
        edit(&mut next.ports)?;
        self.announce(&next).await.map_err(|why| why.to_string())?;
        let kept = next.clone();
        // A disk may take its time, and the node must not wait for it.
        let kept = tokio::task::spawn_blocking(move || kept.save()).await;
        if let Err(why) = kept.unwrap_or_else(|gone| Err(io::Error::other(gone))) {
            // If this fails too, the node is gone, and its tags with it.
            drop(self.announce(&ours).await);
            return Err(format!("taken back, since it cannot be kept: {why}"));
        }
        *ours = next;
        Ok(())
    }

    async fn announce(&self, services: &Services) -> Result<(), Error> {
        match self.serf.set_tags(services.tags()).await {
            // Nobody may be there to hear it; who comes will.
            Err(Error::Failed(Failure::TagsTimeout)) => Ok(()),
            result => result,
        }
    }

    /// All services of all members that are there.
    pub(crate) async fn list(&self) -> Result<BTreeSet<Entry>, String> {
        let members = self.serf.members().await.map_err(|why| why.to_string())?;
        Ok(members.iter().filter(|member| member.status == Status::Alive).flat_map(entries).collect())
    }

    /// Something may have changed whenever something comes of this.
    pub(crate) async fn events(&self) -> Result<Events, String> {
        self.serf.subscribe().await.map_err(|why| why.to_string())
    }

    /// Says goodbye.
    pub(crate) async fn leave(&self) -> Result<(), String> {
        self.serf.leave().await.map_err(|why| why.to_string())
    }

    pub(crate) async fn shutdown(&self) {
        self.serf.shutdown().await;
    }
}

fn entries(member: &Member) -> Vec<Entry> {
    let Some(host) = member.addr.host.ip() else { return Vec::new() };
    let tags = member.tags().into_iter();
    // Anybody can put anything into tags.
    tags.filter_map(|(key, value)| {
        let (service, port) = parse(key.strip_prefix(PREFIX)?, &value).ok()?;
        Some(Entry { service, node: member.name.to_string(), addr: SocketAddr::new(host, port) })
    })
    .collect()
}
