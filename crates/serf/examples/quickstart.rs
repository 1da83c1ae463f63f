//! A node in ten lines. Start one, and others with its address, and stop them: each tells what it sees of the others.
//!
//! ```sh
//! cargo run -p serf --example quickstart -- one                    # one at 127.0.0.1:45678
//! cargo run -p serf --example quickstart -- two 127.0.0.1:45678
//! ```

use serf::{Config, Serf};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let name = args.next().ok_or("a name is missing")?;
    // Any free port. A real node listens at the default, 0.0.0.0:7946, has keys, and a slower profile: see Config.
    let config = Config { bind: "127.0.0.1:0".parse()?, ..Config::local(name.as_str()) };
    let (serf, mut events) = Serf::start_with_events(config).await?;
    println!("{} at {}", serf.name(), serf.local_addr());
    serf.join(args).await?;
    while let Some(event) = events.recv().await {
        println!("{event}");
    }
    Ok(())
}
