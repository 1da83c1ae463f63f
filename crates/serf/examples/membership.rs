//! Membership without Serf: a pool whose members tell each other about the weather, in words of their own.
//!
//! `cargo run -p serf --example membership`
//!
//! The delegate is where a program takes part in gossip. Here it does what most do: news travel with the packets that are
//! sent anyway (`broadcasts`), and whoever joins late gets all there is to know (`local_state`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serf::gossip::{Instant, Listener, Teller, TransmitQueue, retransmit_limit};
use serf::{Delegate, Membership, MembershipConfig, Notification};
use tokio::sync::watch;

/// What is known of the weather, by city. A report is `version city weather`; the highest version counts.
#[derive(Clone)]
struct Weather(Arc<Inner>);

struct Inner {
    cities: watch::Sender<BTreeMap<String, (u64, String)>>,
    news: Mutex<TransmitQueue>,
}

impl Weather {
    fn new() -> Self {
        Self(Arc::new(Inner { cities: watch::Sender::default(), news: Mutex::default() }))
    }

    /// Takes a report, ours or another's, and has it passed on if it is news: so it reaches everybody, however large the
    /// pool is. Anybody may send anything, so what is no report is nothing.
    fn report(&self, text: &str, teller: Teller) {
        let mut words = text.splitn(3, ' ');
        let (Some(Ok(version)), Some(city), Some(weather)) =
            (words.next().map(str::parse), words.next(), words.next())
        else {
            return;
        };
        let is_news = self.0.cities.send_if_modified(|cities| {
            let is_news = cities.get(city).is_none_or(|(known, _)| *known < version);
            if is_news {
                cities.insert(city.to_owned(), (version, weather.to_owned()));
            }
            is_news
        });
        if is_news {
            // News of the same subject replace older ones that still wait.
            let news = Arc::from(text.as_bytes());
            self.0.news.lock().expect("nobody panicked").push(news, Some(city.into()), teller, None);
        }
    }

    /// Waits until there is a report of a city.
    async fn of(&self, city: &str) -> String {
        let mut cities = self.0.cities.subscribe();
        let known = cities.wait_for(|cities| cities.contains_key(city)).await.expect("it is ours");
        known[city].1.clone()
    }
}

impl Delegate for Weather {
    fn notify(&mut self, _: Instant, what: Notification<'_>) {
        let (bytes, teller) = match what {
            // Whoever told it need not hear it again.
            Notification::Message { from, bytes } => (bytes, Teller::at(from)),
            // A state is many reports.
            Notification::RemoteState { bytes, .. } => (bytes, Teller::NOBODY),
            _ => return,
        };
        String::from_utf8_lossy(bytes).lines().for_each(|line| self.report(line, teller));
    }

    fn has_broadcasts(&self) -> bool {
        !self.0.news.lock().expect("nobody panicked").is_empty()
    }

    fn broadcasts(
        &mut self,
        _: Instant,
        to: Listener,
        overhead: usize,
        limit: usize,
        put: &mut dyn FnMut(&[u8]),
    ) {
        // Four times for each decimal digit of the number of members, which here is less than ten.
        let times = retransmit_limit(4, 9);
        self.0.news.lock().expect("nobody panicked").take(to, overhead, limit, times, |message| put(message));
    }

    fn local_state(&mut self, _join: bool, out: &mut Vec<u8>) {
        for (city, (version, weather)) in &*self.0.cities.borrow() {
            out.extend(format!("{version} {city} {weather}\n").bytes());
        }
    }
}

async fn start(name: &str, weather: &Weather) -> Result<Membership, Box<dyn std::error::Error>> {
    let config = MembershipConfig { bind: "127.0.0.1:0".parse()?, ..MembershipConfig::local(name) };
    Ok(Membership::start_with(config, Box::new(weather.clone())).await?.0)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let weather = [Weather::new(), Weather::new(), Weather::new()];
    let a = start("a", &weather[0]).await?;
    let b = start("b", &weather[1]).await?;
    b.join([a.local_addr().to_string()]).await?;

    weather[0].report("1 Rome sunshine", Teller::NOBODY);
    weather[0].report("2 Rome rain", Teller::NOBODY);
    // It came from us and not from the network: gossip is to begin now.
    a.wake().await?;
    println!("b knows of {} in Rome", weather[1].of("Rome").await);

    let late = start("late", &weather[2]).await?;
    late.join([b.local_addr().to_string()]).await?;
    println!("late knows of {} in Rome", weather[2].of("Rome").await);
    for member in late.members().await?.iter() {
        println!("{} at {}", member.name, member.addr);
    }

    println!("b says goodbye");
    b.leave(Duration::from_secs(5)).await?;
    Ok(())
}
