//! A small service registry: which service runs where, known to every node, with no server in the middle.
//!
//! ```sh
//! toyconsul() { cargo run -q -p serf --example toyconsul -- "$@"; }
//! toyconsul start -name a -bind 127.0.0.1:7001 -control 127.0.0.1:8001 -data /tmp/a &
//! toyconsul start -name b -bind 127.0.0.1:7002 -control 127.0.0.1:8002 -data /tmp/b -join 127.0.0.1:7001 &
//! toyconsul register -control 127.0.0.1:8001 web 8080
//! toyconsul list     -control 127.0.0.1:8002
//! toyconsul watch    -control 127.0.0.1:8002
//! ```
//!
//! Each node announces the services that run on it in its tags, and nothing else is stored anywhere. All that a registry
//! needs follows from what Serf does with tags:
//!
//! - Who joins late gets them with the list of members, so it need not have been there when somebody registered. (User
//!   events would not do: they are told to those who are there.)
//! - A node that fails or leaves takes its services with it, as soon as the others notice.
//! - A node that starts again, with the directory that it had, announces from the first moment what was registered with it,
//!   and finds the others by its snapshot.
//!
//! Tags have 512 bytes, which is room for about thirty services on one node. For more, let a tag hold a version number
//! only, and have whoever sees a new one ask its owner with a query.
//!
//! Programs talk to the node of their host by lines over a TCP connection; see `control.rs`.

mod control;
mod registry;

use std::collections::VecDeque;
use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use serf::{Config, Serf};

use crate::registry::{Registry, Services};

const USAGE: &str = "\
usage: toyconsul start -name NAME [-bind ADDR] [-control ADDR] [-join ADDR]... [-data DIR] [-profile PROFILE]
       toyconsul join [-control ADDR] ADDR...
       toyconsul register [-control ADDR] SERVICE PORT
       toyconsul deregister [-control ADDR] SERVICE
       toyconsul list [-control ADDR] [SERVICE]
       toyconsul watch [-control ADDR]
       toyconsul leave [-control ADDR]
-bind is for gossip, 127.0.0.1:7946 if left out; -control is for these commands, 127.0.0.1:8500 if left out.
-profile is lan, wan, local or fast.";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("toyconsul: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn run(mut words: VecDeque<String>) -> Result<(), Box<dyn Error>> {
    let command = words.pop_front().ok_or(USAGE)?;
    let args = Args::read(words)?;
    if command == "start" {
        return start(args).await;
    }
    if !["join", "register", "deregister", "list", "watch", "leave"].contains(&command.as_str()) {
        return Err(format!("no such command: {command}\n{USAGE}").into());
    }
    let request: Vec<&str> =
        std::iter::once(command.as_str()).chain(args.words.iter().map(String::as_str)).collect();
    control::ask(args.control, &request.join(" ")).await
}

async fn start(args: Args) -> Result<(), Box<dyn Error>> {
    if !args.control.ip().is_loopback() {
        return Err("-control must be a loopback address: whoever reaches it may change everything".into());
    }
    let name = args.name.as_deref().filter(|name| !name.is_empty()).ok_or("-name is missing")?;
    let profile = match args.profile.as_str() {
        "lan" => Config::lan(name),
        "wan" => Config::wan(name),
        "local" => Config::local(name),
        "fast" => Config::fast(name),
        other => return Err(format!("no such profile: {other}").into()),
    };
    let services = Services::open(args.data.as_ref().map(|dir| dir.join("services")))?;
    let config = Config {
        bind: args.bind,
        tags: services.tags(),
        snapshot_path: args.data.map(|dir| dir.join("serf.snapshot")),
        ..profile
    };
    let serf = Serf::start(config).await?;
    let listener = tokio::net::TcpListener::bind(args.control).await?;
    println!("{name}: gossip at {}, control at {}", serf.local_addr(), listener.local_addr()?);
    if !args.join.is_empty() {
        let joined = serf.join(&args.join).await?;
        println!("{name}: joined {} of {}", joined.contacted.len(), args.join.len());
    }
    let registry = Registry::new(serf.clone(), services);
    tokio::select! {
        () = control::serve(listener, registry) => {}
        // After a `leave`.
        () = serf.closed() => {}
    }
    Ok(())
}

/// What the command line says.
struct Args {
    name: Option<String>,
    bind: SocketAddr,
    control: SocketAddr,
    join: Vec<String>,
    data: Option<PathBuf>,
    profile: String,
    /// What is no flag.
    words: Vec<String>,
}

impl Args {
    fn read(mut words: VecDeque<String>) -> Result<Self, Box<dyn Error>> {
        let mut args = Self {
            name: None,
            bind: ([127, 0, 0, 1], serf::DEFAULT_PORT).into(),
            control: ([127, 0, 0, 1], 8500).into(),
            join: Vec::new(),
            data: None,
            profile: "lan".to_owned(),
            words: Vec::new(),
        };
        while let Some(word) = words.pop_front() {
            let Some(flag) = word.strip_prefix('-') else {
                args.words.push(word);
                continue;
            };
            let value = words.pop_front().ok_or_else(|| format!("-{flag} needs a value"))?;
            match flag {
                "name" => args.name = Some(value),
                "bind" => args.bind = value.parse().map_err(|_| format!("-bind: no address: {value}"))?,
                "control" => {
                    args.control = value.parse().map_err(|_| format!("-control: no address: {value}"))?;
                }
                "join" => args.join.push(value),
                "data" => args.data = Some(value.into()),
                "profile" => args.profile = value,
                _ => return Err(format!("no such flag: -{flag}\n{USAGE}").into()),
            }
        }
        Ok(args)
    }
}
