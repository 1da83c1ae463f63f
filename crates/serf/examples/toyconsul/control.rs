//! How programs on the same host talk to a node: one line of words is a request. The answer is lines that begin with a
//! dash, if there is something to tell, and then `ok`, or `error` with a reason.
//!
//! ```text
//! > list web
//! < - web a 127.0.0.1:8080
//! < ok
//! > register web eighty
//! < error no port: "eighty"
//! ```
//!
//! `watch` tells services that come (`+`) and go (`-`), beginning with those that are there, until the client hangs up.

use std::collections::BTreeSet;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use serf::Event;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::registry::Registry;

/// Longer than any request.
const REQUEST_MAX: u64 = 1024;
/// Clients at one time, watchers included. More wait.
const CLIENTS_MAX: usize = 64;

/// Answers whoever connects.
pub(crate) async fn serve(listener: TcpListener, registry: Registry) {
    let seats = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let Ok(seat) = seats.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, or the client is gone already.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let registry = registry.clone();
        tokio::spawn(async move {
            let (requests, mut answers) = stream.into_split();
            // Whoever hangs up wants nothing more.
            drop(converse(requests, &mut answers, &registry).await);
            drop(seat);
        });
    }
}

async fn converse(
    requests: OwnedReadHalf,
    answers: &mut OwnedWriteHalf,
    registry: &Registry,
) -> std::io::Result<()> {
    let mut requests = BufReader::new(requests);
    loop {
        let mut line = String::new();
        if (&mut requests).take(REQUEST_MAX).read_line(&mut line).await? == 0 {
            return Ok(());
        }
        if !line.ends_with('\n') {
            return answers.write_all(b"error the request is too long\n").await;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        if words == ["watch"] {
            return watch(requests, answers, registry).await;
        }
        let answer = match answer(&words, registry).await {
            Ok(lines) => lines.iter().map(|line| format!("- {line}\n")).collect::<String>() + "ok\n",
            Err(why) => format!("error {}\n", why.replace(['\n', '\t'], " ")),
        };
        answers.write_all(answer.as_bytes()).await?;
        if words == ["leave"] && answer == "ok\n" {
            registry.shutdown().await;
            return Ok(());
        }
    }
}

async fn answer(words: &[&str], registry: &Registry) -> Result<Vec<String>, String> {
    match words {
        ["join", addresses @ ..] if !addresses.is_empty() => {
            let contacted = registry.join(addresses).await?;
            Ok(vec![format!("joined {contacted} of {}", addresses.len())])
        }
        ["register", name, port] => registry.register(name, port).await.map(|()| Vec::new()),
        ["deregister", name] => registry.deregister(name).await.map(|()| Vec::new()),
        ["list"] => Ok(registry.list().await?.iter().map(ToString::to_string).collect()),
        ["list", name] => {
            let all = registry.list().await?;
            Ok(all.iter().filter(|entry| entry.service == *name).map(ToString::to_string).collect())
        }
        ["leave"] => registry.leave().await.map(|()| Vec::new()),
        _ => Err(format!("no such request: {:?}", words.join(" "))),
    }
}

/// Tells the difference between what was told and what is, whenever something may have changed: so it does not matter how
/// many changes a slow client misses.
async fn watch(
    requests: BufReader<OwnedReadHalf>,
    answers: &mut OwnedWriteHalf,
    registry: &Registry,
) -> std::io::Result<()> {
    let mut requests = requests;
    let gone = |_: String| std::io::Error::other("the node is gone");
    // Before the first look, so that nothing falls between the two.
    let mut events = registry.events().await.map_err(gone)?;
    let mut told = BTreeSet::new();
    loop {
        let now = registry.list().await.map_err(gone)?;
        let left = told.difference(&now).map(|entry| format!("- - {entry}\n"));
        let came = now.difference(&told).map(|entry| format!("- + {entry}\n"));
        let news: String = left.chain(came).collect();
        answers.write_all(news.as_bytes()).await?;
        told = now;
        let mut more = [0];
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Member(_)) => break,
                    Some(_) => {}
                    None => return answers.write_all(b"ok\n").await,
                },
                // A client has nothing to say while it watches, but that it has had enough.
                _ = requests.read(&mut more) => return Ok(()),
            }
        }
    }
}

/// Sends a request, and prints what comes of it.
pub(crate) async fn ask(control: SocketAddr, request: &str) -> Result<(), Box<dyn Error>> {
    let stream = TcpStream::connect(control).await;
    let stream =
        stream.map_err(|why| format!("no node at {control}: {why} (is it started? see -control)"))?;
    let (answers, mut requests) = stream.into_split();
    requests.write_all(format!("{request}\n").as_bytes()).await?;
    let mut lines = BufReader::new(answers).lines();
    while let Some(line) = lines.next_line().await? {
        match line.split_once(' ') {
            Some(("-", text)) => println!("{text}"),
            Some(("error", why)) => return Err(why.into()),
            _ => return Ok(()),
        }
    }
    Err("the node hung up".into())
}
