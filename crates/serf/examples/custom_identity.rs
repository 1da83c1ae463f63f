//! Members whose names are no texts: UUIDs in one cluster, public keys in another.
//!
//! `cargo run -p serf --example custom_identity`
//!
//! On the wire each is a name as Serf knows it, so that any other program can see them. Who has another sort of name, as
//! `web-1` in the end, is refused and told why.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serf::net::Boxed;
use serf::runtime::Runtime;
use serf::{Config, Event, Identity, InvalidIdentity, Name, Peer, Query, ResolveError, Resolver, Serf};
use uuid::Uuid;

/// A node by the number it was given when it was installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct NodeId(Uuid);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl Identity for NodeId {
    fn to_name(&self) -> Name {
        self.to_string().as_str().into()
    }

    fn from_name(name: &[u8]) -> Result<Self, InvalidIdentity> {
        Uuid::try_parse_ascii(name).map(Self).map_err(InvalidIdentity::new)
    }
}

/// A node by its public key. 64 hexadecimal digits fit into a name, which has 128 letters at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct PublicKey([u8; 32]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Identity for PublicKey {
    fn to_name(&self) -> Name {
        self.to_string().as_str().into()
    }

    fn from_name(name: &[u8]) -> Result<Self, InvalidIdentity> {
        let text = str::from_utf8(name).map_err(InvalidIdentity::new)?;
        if text.len() != 64 || !text.is_ascii() {
            return Err(InvalidIdentity::new("a public key has 64 hexadecimal digits"));
        }
        let mut key = [0; 32];
        for (at, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..][..2], 16).map_err(InvalidIdentity::new)?;
        }
        Ok(Self(key))
    }
}

/// Tells where a key is. A real one would ask a ledger, or a hash table that is spread over many.
#[derive(Debug, Clone, Default)]
struct Directory(Arc<Mutex<BTreeMap<PublicKey, SocketAddr>>>);

impl Resolver for Directory {
    fn resolve(&self, text: &str, _: u16, _: &Arc<dyn Runtime>) -> Boxed<Result<Vec<Peer>, ResolveError>> {
        let found = PublicKey::from_name(text.as_bytes())
            .map_err(|why| ResolveError::lookup(text, why))
            .and_then(|key| {
                let known = self.0.lock().expect("nobody panicked").get(&key).copied();
                let addr = known.ok_or_else(|| ResolveError::lookup(text, "nobody is known by this key"))?;
                Ok(vec![Peer { addr: addr.into(), name: Some(key.to_name()) }])
            });
        // What takes time, as asking others, would be done in here.
        Box::pin(async { found })
    }
}

/// Any free port. See the quickstart for what a real node has.
fn config(name: impl Into<Name>) -> Config {
    Config { bind: ([127, 0, 0, 1], 0).into(), ..Config::local(name) }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    numbers().await?;
    keys().await
}

async fn numbers() -> Result<(), Box<dyn Error>> {
    type Node = Serf<NodeId, SocketAddr>;
    let [one, two] = [NodeId(Uuid::new_v4()), NodeId(Uuid::new_v4())];
    let first = Node::start_typed(config(one.to_name())).await?;
    let (second, mut events) = Node::start_typed_with_events(config(two.to_name())).await?;
    second.join([first.local_addr().to_string()]).await?;
    let member = second.member(one).await?.ok_or("we have just joined it")?;
    println!("{} is {}, at port {}", member.name, member.status, member.addr.port());

    first.user_event("hello", one.0.into_bytes(), false).await?;
    while let Some(event) = events.recv().await {
        match event {
            Event::Member(event) => println!("{}: {}", event.kind, event.members[0].name),
            Event::User(event) => {
                println!("{} came", event.name);
                break;
            }
            _ => {}
        }
    }

    let stranger = Serf::start(config("web-1")).await?;
    match stranger.join([first.local_addr().to_string()]).await {
        Ok(_) => return Err("a name that is no UUID was let in".into()),
        Err(error) => print!("web-1 is refused: {error}"),
    }
    println!("strangers refused: {}", first.stats().await?.strangers);
    Ok(())
}

async fn keys() -> Result<(), Box<dyn Error>> {
    let directory = Directory::default();
    let start = async |key: PublicKey| {
        let config = Config { resolver: Arc::new(directory.clone()), ..config(key.to_name()) };
        let node = Serf::<PublicKey, SocketAddr>::start_typed(config).await?;
        directory.0.lock().expect("nobody panicked").insert(key, node.local_addr());
        Ok::<_, Box<dyn Error>>(node)
    };
    let (alice, bob) = (PublicKey([0xa1; 32]), PublicKey([0xb0; 32]));
    let (first, second) = (start(alice).await?, start(bob).await?);
    // Whom to join is said by key: the directory knows where that is.
    second.join([alice.to_string()]).await?;

    let mut events = first.subscribe().await?;
    let query = Query::new("who are you?").to_nodes([alice.to_name()]).with_timeout(Duration::from_secs(60));
    let mut answers = second.query(query).await?;
    while let Some(event) = events.recv().await {
        if let Event::Query(query) = event {
            println!("asked by {}", query.source);
            query.respond(b"Alice").await?;
            break;
        }
    }
    while let Some(answer) = answers.next().await {
        if let serf::Answer::Response { from, payload } = answer {
            println!("{from} says {}", String::from_utf8_lossy(&payload));
        }
    }
    for member in second.members().await?.iter() {
        println!("{} is {}", member.name, member.status);
    }
    Ok(())
}
