//! Where RPC clients come in: a TCP port, or a socket in the file system. To whoever serves them they are all alike.
//!
//! The place is taken early, so that nothing else has begun if it is not to be had, and opened last.

use std::fmt;
use std::fs::{self, File, Metadata, Permissions, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::unix::UCred;
use tokio::net::{TcpListener, TcpSocket, UnixListener};

use crate::config::RpcAddress;
use crate::remedy::of_bind;
use crate::text::os_error;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;
/// A client that says nothing is asked so often whether its machine is still there, or it would have its place for ever.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Whoever may connect to a socket in the file system: its owner.
const MODE: u32 = 0o600;
/// How long to wait while another agent looks into the same directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// See [`LOCK_PATIENCE`].
const LOCK_POLL: Duration = Duration::from_millis(10);

/// Why clients cannot come in.
#[derive(Debug, Error)]
pub(crate) enum ListenError {
    #[error("Error starting RPC listener: listen tcp {address}: bind: {}\n    ({})", os_error(.source), of_bind(.source, "-rpc-addr or 'rpc_addr'"))]
    Tcp { address: SocketAddr, source: io::Error },
    #[error("Error starting RPC listener: listen unix {}: bind: {}{}", .path.display(), os_error(.source), unix_remedy(.source))]
    Unix { path: PathBuf, source: io::Error },
    #[error(
        "Error starting RPC listener: listen unix {}: bind: address already in use\n    \
         (an agent listens there: end it, or name another path with -rpc-addr or 'rpc_addr')", .0.display()
    )]
    InUse(PathBuf),
    #[error(
        "Error starting RPC listener: listen unix {}: bind: file exists\n    \
         (it is no socket, and is left alone: remove it, or name another path with -rpc-addr or 'rpc_addr')",
        .0.display()
    )]
    InTheWay(PathBuf),
    #[error(
        "Error starting RPC listener: listen unix {}: bind: permission denied\n    \
         (another user's agent may listen there: end it, or name another path with -rpc-addr or 'rpc_addr')",
        .0.display()
    )]
    NotOurs(PathBuf),
}

fn unix_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "\n    (make its directory, or name another path with -rpc-addr or 'rpc_addr')"
        }
        io::ErrorKind::PermissionDenied => {
            "\n    (the user that the agent runs as must be allowed to make and remove files in its directory)"
        }
        _ => "\n    (name another path with -rpc-addr or 'rpc_addr')",
    }
}

/// A place for clients that is ours, though nobody may come in yet.
#[derive(Debug)]
pub(crate) enum Place {
    /// Bound only: who waits for the port to answer does not find it open too early.
    Tcp(TcpSocket, SocketAddr),
    /// Who comes to it waits in its queue: while nobody listens it looks like that of a dead agent.
    Unix(UnixListener, SocketFile),
}

impl Place {
    pub(crate) fn take(address: &RpcAddress) -> Result<Self, ListenError> {
        match address {
            RpcAddress::Tcp(address) => {
                let error = |source| ListenError::Tcp { address: *address, source };
                Self::take_port(*address).map_err(error)
            }
            RpcAddress::Unix(path) => {
                let (listener, file) = take_path(path)?;
                Ok(Self::Unix(listener, file))
            }
        }
    }

    fn take_port(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let address = socket.local_addr()?;
        Ok(Self::Tcp(socket, address))
    }

    /// The port that was got; None of a path.
    pub(crate) fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(_, address) => Some(address.port()),
            Self::Unix(..) => None,
        }
    }

    /// Lets clients come. The file, if there is one, is there for as long as what is returned.
    pub(crate) fn open(self) -> Result<(Listener, Option<SocketFile>), ListenError> {
        match self {
            Self::Tcp(socket, address) => {
                let listener =
                    socket.listen(BACKLOG).map_err(|source| ListenError::Tcp { address, source })?;
                Ok((Listener::Tcp(listener), None))
            }
            Self::Unix(listener, file) => Ok((Listener::Unix(listener), Some(file))),
        }
    }
}

/// An open place.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

pub(crate) type Reading = Box<dyn AsyncRead + Send + Sync + Unpin>;
pub(crate) type Writing = Box<dyn AsyncWrite + Send + Sync + Unpin>;

/// Somebody who came in.
pub(crate) struct Client {
    pub(crate) reading: Reading,
    pub(crate) writing: Writing,
    pub(crate) from: Peer,
}

impl Listener {
    pub(crate) async fn accept(&self) -> io::Result<Client> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                // Answers are written whole: waiting for more to send would only delay them.
                let _ = stream.set_nodelay(true);
                let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
                let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
                let (reading, writing) = stream.into_split();
                Client { reading: Box::new(reading), writing: Box::new(writing), from: Peer::Tcp(from) }
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let from = Peer::Unix(stream.peer_cred().ok());
                let (reading, writing) = stream.into_split();
                Client { reading: Box::new(reading), writing: Box::new(writing), from }
            }
        })
    }
}

/// Who a client is, as far as the system tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Tcp(SocketAddr),
    /// A process of this machine.
    Unix(Option<UCred>),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(None) => f.write_str("unix"),
            Self::Unix(Some(process)) => {
                write!(f, "unix:uid={}", process.uid())?;
                process.pid().map_or(Ok(()), |pid| write!(f, ",pid={pid}"))
            }
        }
    }
}

/// The file of a socket of ours. It is removed when this is dropped, unless another has taken its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and number.
    identity: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path, metadata: &Metadata) -> Self {
        Self { path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let there = fs::symlink_metadata(&self.path);
        if there.is_ok_and(|there| (there.dev(), there.ino()) == self.identity) {
            // What is left is found to be dead by whoever comes next.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes a socket at a path, in place of one that nobody listens at any more.
fn take_path(path: &Path) -> Result<(UnixListener, SocketFile), ListenError> {
    let error = |source| ListenError::Unix { path: path.to_owned(), source };
    // Two that find the same dead socket must not each remove what the other has just made.
    let _alone = lock_directory(path);
    match make_socket(path) {
        Err(taken) if taken.kind() == io::ErrorKind::AddrInUse => {
            make_way(path)?;
            make_socket(path).map_err(error)
        }
        made => made.map_err(error),
    }
}

/// Removes a dead socket.
fn make_way(path: &Path) -> Result<(), ListenError> {
    let error = |source| ListenError::Unix { path: path.to_owned(), source };
    let there = match fs::symlink_metadata(path) {
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Ok(()),
        there => there.map_err(error)?,
    };
    if !there.file_type().is_socket() {
        return Err(ListenError::InTheWay(path.to_owned()));
    }
    match knock(path).map_err(|error| error.kind()) {
        Err(io::ErrorKind::ConnectionRefused) => fs::remove_file(path).map_err(error),
        Err(io::ErrorKind::NotFound) => Ok(()),
        Err(io::ErrorKind::PermissionDenied) => Err(ListenError::NotOurs(path.to_owned())),
        _ => Err(ListenError::InUse(path.to_owned())),
    }
}

/// Nobody but the owner can connect at any moment: on Linux the file is made with the mode that the socket has;
/// elsewhere it gets its mode before anybody listens, and until then everybody is refused.
fn make_socket(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let socket = File::from(OwnedFd::from(Socket::new(Domain::UNIX, Type::STREAM, None)?));
    let _ = socket.set_permissions(Permissions::from_mode(MODE));
    let socket = Socket::from(OwnedFd::from(socket));
    socket.bind(&SockAddr::unix(path)?)?;
    let made = fs::symlink_metadata(path)?;
    let file = SocketFile::at(path, &made);
    if made.permissions().mode() & 0o777 != MODE {
        fs::set_permissions(path, Permissions::from_mode(MODE))?;
    }
    socket.listen(BACKLOG.cast_signed())?;
    socket.set_nonblocking(true)?;
    Ok((UnixListener::from_std(OwnedFd::from(socket).into())?, file))
}

/// Is somebody there?
fn knock(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Who has many clients waiting is there, too.
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

/// Keeps other agents from looking for dead sockets there. Where that is not possible, or somebody holds the lock
/// for long, it goes without: agents that start in one moment with one path are a mistake already.
fn lock_directory(path: &Path) -> Option<File> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = File::open(parent.unwrap_or_else(|| Path::new("."))).ok()?;
    let end = Instant::now() + LOCK_PATIENCE;
    loop {
        match directory.try_lock() {
            Ok(()) => return Some(directory),
            Err(TryLockError::WouldBlock) if Instant::now() < end => std::thread::sleep(LOCK_POLL),
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::{Arc, Barrier};

    use super::*;
    use crate::files::testing::Directory;

    fn take(path: &Path) -> Result<Place, String> {
        Place::take(&RpcAddress::Unix(path.to_owned())).map_err(|error| error.to_string())
    }

    fn refusal(path: &Path) -> String {
        let text = take(path).expect_err("it is not to be had");
        let start = format!("Error starting RPC listener: listen unix {}: bind: ", path.display());
        let text = text.strip_prefix(&start).expect("it names the path").to_owned();
        assert!(text.contains("\n    (") && text.ends_with(')'), "{text}: a remedy");
        text
    }

    #[tokio::test]
    async fn only_the_owner_may_use_a_socket_and_it_goes_with_the_agent() {
        let directory = Directory::new();
        let path = directory.path().join("rpc.sock");
        let (_, file) = take(&path).expect("a free path").open().expect("it opens");
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        drop(file);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_living_agent_keeps_its_socket_and_a_dead_one_does_not() {
        let directory = Directory::new();
        let path = directory.path().join("rpc.sock");
        let living = take(&path).expect("a free path");
        assert!(refusal(&path).starts_with("address already in use\n    (an agent listens there"));
        // One that is killed removes nothing.
        let Place::Unix(listener, file) = living else { panic!("a path") };
        std::mem::forget(file);
        drop(listener);
        assert!(path.exists());
        let next = take(&path).expect("nobody listens there");
        assert!(refusal(&path).starts_with("address already in use"));
        drop(next);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let directory = Directory::new();
        let file = directory.write("file", "precious");
        let link = directory.path().join("link");
        symlink(directory.path().join("nowhere"), &link).expect("a link");
        for path in [&file, &link, &directory.path().to_owned()] {
            assert!(refusal(path).starts_with("file exists\n    (it is no socket"));
        }
        assert_eq!(fs::read(&file).expect("it is there"), b"precious");
        assert!(fs::symlink_metadata(&link).expect("it is there").is_symlink());
    }

    #[tokio::test]
    async fn a_socket_that_took_the_place_of_ours_stays() {
        let directory = Directory::new();
        let path = directory.path().join("rpc.sock");
        let ours = take(&path).expect("a free path");
        fs::remove_file(&path).expect("it is there");
        let theirs = take(&path).expect("a free path");
        drop(ours);
        assert!(path.exists());
        drop(theirs);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_missing_directory_is_told() {
        let directory = Directory::new();
        let text = refusal(&directory.path().join("none/rpc.sock"));
        assert_eq!(
            text,
            "no such file or directory\n    \
             (make its directory, or name another path with -rpc-addr or 'rpc_addr')"
        );
    }

    #[test]
    fn of_many_who_find_a_dead_socket_one_gets_its_place() {
        const AGENTS: usize = 8;
        let directory = Directory::new();
        for round in 0..20 {
            let path = directory.path().join(format!("{round}.sock"));
            drop(std::os::unix::net::UnixListener::bind(&path).expect("a dead socket"));
            let start = Arc::new(Barrier::new(AGENTS));
            let agents: Vec<_> = (0..AGENTS)
                .map(|_| {
                    let (path, start) = (path.clone(), start.clone());
                    std::thread::spawn(move || {
                        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
                        let runtime = runtime.expect("a runtime");
                        let _inside = runtime.enter();
                        start.wait();
                        let taken = take(&path);
                        start.wait();
                        taken.is_ok()
                    })
                })
                .collect();
            let taken = agents.into_iter().filter_map(|agent| agent.join().ok()).filter(|&taken| taken);
            assert_eq!(taken.count(), 1);
        }
    }
}
