//! A program without an asynchronous runtime: the node runs in threads of its own, and each call waits.
//!
//! `cargo run -p serf --features threads --example blocking`

use std::error::Error;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serf::runtime::{Threads, block_on};
use serf::{Config, Event, Query, Serf};

fn main() -> Result<(), Box<dyn Error>> {
    let config = |name: &str| Config {
        bind: ([127, 0, 0, 1], 0).into(),
        runtime: Some(Arc::new(Threads)),
        ..Config::local(name)
    };
    let (first, mut events) = block_on(Serf::start_with_events(config("first")))?;
    let second = block_on(Serf::start(config("second")))?;
    block_on(second.join([first.local_addr().to_string()]))?;
    for member in block_on(second.members())?.iter() {
        println!("{} at {} is {}", member.name, member.addr, member.status);
    }

    // A thread that answers what it is asked, until the node is gone.
    let answering = thread::spawn(move || {
        while let Some(event) = block_on(events.recv()) {
            if let Event::Query(query) = event
                && let Err(error) = block_on(query.respond("all is well"))
            {
                eprintln!("not answered: {error}");
            }
        }
    });
    let mut answers = block_on(
        second.query(Query::new("how are you?").to_nodes(["first"]).with_timeout(Duration::from_secs(60))),
    )?;
    while let Some(answer) = block_on(answers.next()) {
        if let serf::Answer::Response { from, payload } = answer {
            println!("{from}: {}", String::from_utf8_lossy(&payload));
        }
    }

    block_on(second.leave())?;
    block_on(second.shutdown());
    block_on(first.shutdown());
    answering.join().map_err(|_| "the answering thread failed")?;
    Ok(())
}
