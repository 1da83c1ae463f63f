//! Three nodes in one program: they find each other, one changes its tags, one leaves, one is stopped.
//!
//! `cargo run -p serf --example quickstart`

use std::error::Error;

use serf::{Config, Event, Serf, Tags};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // Port 0 takes a free one. A real node listens on the default, 0.0.0.0:7946, and has keys.
    let config = |name: &str| Config { bind: ([127, 0, 0, 1], 0).into(), ..Config::local(name) };

    let (first, mut events) = Serf::start_with_events(config("first")).await?;
    let tags = Tags::from([("role".to_owned(), "web".to_owned())]);
    let second = Serf::start(Config { tags, ..config("second") }).await?;
    let third = Serf::start(config("third")).await?;

    // One known member is enough to find them all.
    let seed = first.local_addr().to_string();
    second.join([&seed]).await?;
    third.join([&seed]).await?;
    for member in third.members().await?.iter() {
        println!("{} at {} is {}: {:?}", member.name, member.addr, member.status, member.tags());
    }

    second.set_tags(Tags::from([("role".to_owned(), "db".to_owned())])).await?;
    second.leave().await?;
    second.shutdown().await;
    // Without a leave, the others notice within seconds, and call it a failure.
    third.shutdown().await;

    while let Some(event) = events.recv().await {
        if let Event::Member(event) = event {
            let names: Vec<String> = event.members.iter().map(|m| m.name.to_string()).collect();
            println!("{}: {}", event.kind, names.join(", "));
            if event.kind == serf::MemberEventKind::Failed {
                break;
            }
        }
    }
    Ok(())
}
