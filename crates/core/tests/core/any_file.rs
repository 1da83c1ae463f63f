//! What must hold whatever is in a snapshot file. The property tests call this, and so does the fuzz target; on a violation
//! it panics.

use serf_core::snapshot::{Replay, Snapshot, Write};
use serf_core::{Command, Config, Event, Node};
use serf_gossip::{Address, CommandId, Input, Instant, Machine, Output};

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>, rejoin: bool) -> Snapshot {
    let mut replay = Replay::new(rejoin);
    pieces.for_each(|piece| replay.feed(piece));
    replay.finish()
}

/// Takes what the node wants; what it wants written is written.
fn drain(node: &mut Node, file: &mut Vec<u8>) {
    let now = Instant::from_nanos(1);
    loop {
        match node.poll() {
            Output::Event(Event::Snapshot(write)) => {
                match write {
                    Write::Append { lines, .. } => file.extend_from_slice(&lines),
                    Write::Replace { content } => *file = content.to_vec(),
                }
                node.handle(now, Input::Command(Command::SnapshotWritten { done: true }));
            }
            Output::Timeout(..) => return,
            _ => {}
        }
    }
}

/// A byte of options, and a file.
pub(crate) fn snapshot(bytes: &[u8]) {
    let Some((options, file)) = bytes.split_first() else { return };
    let rejoin = options & 1 == 1;
    let whole = read(std::iter::once(file), rejoin);
    // Whatever the pieces are.
    assert_eq!(read(file.chunks(1 + usize::from(options >> 1)), rejoin), whole);
    assert_eq!(whole.whole + whole.torn, file.len() as u64);
    assert!(whole.known.is_sorted_by(|a, b| a.0 < b.0));
    assert!(whole.skipped.len() as u64 <= whole.skipped_lines);
    for skipped in &whole.skipped {
        assert!(!skipped.to_string().contains(char::is_control));
    }

    // A node goes on from it, and what it adds to the whole lines says what it knows.
    let gossip = serf_gossip::Config::lan("me".into(), Address::new(&[10, 0, 0, 1], 7946));
    let config = Config { snapshot: Some(whole.clone()), ..Config::new(gossip) };
    let mut node = Node::new(config, [7; 32], Instant::from_nanos(1)).expect("a good configuration");
    let mut rewritten = file[..usize::try_from(whole.whole).expect("it fits")].to_vec();
    drain(&mut node, &mut rewritten);
    node.handle(Instant::from_nanos(1), Input::Command(Command::Shutdown { id: CommandId(1) }));
    drain(&mut node, &mut rewritten);
    let again = read(std::iter::once(&rewritten[..]), rejoin);
    let mut known = whole.known;
    known.retain(|(name, _)| name.as_bytes() != b"me");
    known.push(("me".into(), Address::new(&[10, 0, 0, 1], 7946)));
    known.sort();
    assert_eq!((again.known, again.torn), (known, 0));
    assert_eq!(
        [again.member_clock, again.event_clock, again.query_clock],
        [whole.member_clock, whole.event_clock, whole.query_clock]
    );
    let vitals = node.vitals();
    assert!(vitals.member_time >= whole.member_clock && vitals.event_time >= whole.event_clock);
}
