//! A machine that records on a disk that fails now and then: it loses nothing, and says so when it is well again.

use std::path::Path;
use std::time::Duration;

use serf_core::{Command, Config, Event, Node};
use serf_gossip::{Address, CommandId, Input, Instant, Machine, Output, Rng};
use serf_wire::swim::{self, Alive, Kind};

use super::PATH;
use super::world::{Fault, World};
use crate::snapshot::writer::Writer;

struct Rig {
    node: Node,
    writer: Writer<World>,
    world: World,
    now: Instant,
    /// The latest time of an event that a write was done for.
    done: u64,
    due: Option<Instant>,
}

fn config() -> Config {
    let mut gossip = serf_gossip::Config::lan("me".into(), Address::new(&[10, 0, 0, 1], 7946));
    gossip.probe_interval = Duration::ZERO;
    gossip.push_pull_interval = Duration::ZERO;
    Config::new(gossip)
}

impl Rig {
    fn start(world: World, now: Instant) -> Self {
        let (writer, found) = Writer::open(world.clone(), Path::new(PATH), false).expect("it opens");
        let node = Node::new(Config { snapshot: Some(found.snapshot), ..config() }, [3; 32], now).unwrap();
        let mut rig = Self { node, writer, world, now, done: 0, due: None };
        rig.drain();
        rig
    }

    fn drain(&mut self) {
        loop {
            match self.node.poll() {
                Output::Event(Event::Snapshot(write)) => {
                    let recorded = self.node.vitals().event_time - 1;
                    let done = self.writer.write(&write).is_ok();
                    if done {
                        self.done = recorded;
                    }
                    self.node.handle(self.now, Input::Command(Command::SnapshotWritten { done }));
                    self.check();
                }
                Output::Timeout(due, _) => {
                    self.due = due;
                    return;
                }
                _ => {}
            }
        }
    }

    /// A restart would know all that was done, and nothing that has not happened.
    fn check(&self) {
        let left = self.world.after_kill();
        let (_, found) = Writer::open(left, Path::new(PATH), false).expect("it opens");
        let known = found.snapshot.event_clock;
        assert!((self.done..self.node.vitals().event_time).contains(&known), "{known} {}", self.done);
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.due.filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.node.handle(self.now, Input::Timeout);
            self.drain();
        }
        self.now = end;
    }

    fn fire(&mut self) {
        let command =
            Command::UserEvent { id: CommandId(1), name: "e".into(), payload: vec![], coalesce: false };
        self.node.handle(self.now, Input::Command(command));
        self.drain();
    }

    fn alive(&mut self, n: u8) {
        let (name, host) = (format!("n{n}"), [10, 0, 1, n]);
        let alive = Alive {
            incarnation: 1,
            node: name.as_bytes(),
            addr: (&host[..]).into(),
            port: 7946,
            meta: Some((&b"\xff\x80"[..]).into()),
            vsn: Some((&[1, 5, 2, 2, 5, 4][..]).into()),
        };
        let mut bytes = Vec::new();
        swim::put(&mut bytes, Kind::Alive, |w| alive.write(w));
        let from = Address::new(&host, 7946);
        self.node.handle(self.now, Input::Datagram { from, bytes: &mut bytes });
        self.drain();
    }
}

#[test]
fn a_node_on_a_bad_disk_loses_nothing_of_what_it_recorded() {
    for story in 0..60_u8 {
        let world = World::default();
        let mut rng = Rng::from_seed([story; 32]);
        let mut rig = Rig::start(world.clone(), Instant::from_nanos(1));
        let mut luck = Rng::from_seed([story + 1; 32]);
        world.fail(move |_, bytes| {
            let kind = std::io::ErrorKind::StorageFull;
            (luck.below(3) == 0).then(|| Fault { kind, after: luck.below(bytes + 1) })
        });
        for _ in 0..300 {
            match rng.below(4) {
                0 => rig.alive(rng.below(20) as u8),
                1 => rig.run(Duration::from_millis(rng.below(3000) as u64)),
                _ => rig.fire(),
            }
        }
        // Its disk is repaired, and soon it is all there.
        world.heal();
        rig.run(Duration::from_secs(31));
        rig.check();
        let (members, clock) = (rig.node.member_count(), rig.node.vitals().event_time);
        let failures = rig.node.stats().snapshot_failures;
        assert!(failures > 0 && clock > 100, "story {story}: {failures} {clock}");
        let (_, found) = Writer::open(world.clone(), Path::new(PATH), false).unwrap();
        assert_eq!(
            (found.snapshot.known.len(), found.snapshot.event_clock),
            (members, clock - 1),
            "story {story}"
        );
        assert_eq!(rig.due.filter(|due| *due < rig.now + Duration::from_secs(1)), None, "and nothing waits");
        let again = Rig::start(world, rig.now);
        assert_eq!(again.node.vitals().event_time, clock);
    }
}
