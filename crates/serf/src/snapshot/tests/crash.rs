//! Crashes: everything stops after any step and any byte, and a restart goes on from what is left.

use std::path::Path;
use std::sync::Arc;

use serf_core::snapshot::{Replay, Snapshot, Write};

use super::world::{Fault, Step, World};
use super::{PATH, append, open, replace};
use crate::snapshot::writer::Writer;

/// What counts of a file.
type Says = (Vec<(String, String)>, [u64; 3]);

fn says(snapshot: &Snapshot) -> Says {
    let known = snapshot.known.iter().map(|(name, addr)| (name.to_string(), addr.to_string())).collect();
    (known, [snapshot.member_clock, snapshot.event_clock, snapshot.query_clock])
}

fn read(text: &str) -> Snapshot {
    let mut replay = Replay::new(false);
    replay.feed(text.as_bytes());
    replay.finish()
}

const BEGIN: &str = "alive: me 127.0.0.1:1\nclock: 5\n";

/// A life with everything in it.
fn story() -> Vec<Write> {
    let mut so_far = BEGIN.to_owned();
    let mut writes = Vec::new();
    for (lines, sync) in [
        ("alive: a 127.0.0.2:7946\n", false),
        ("event-clock: 1\nquery-clock: 9\n", true),
        ("not-alive: a\nalive: b b 127.0.0.3:7946\nclock: 17\n", false),
        ("", false),
        ("event-clock: 2\n", false),
        ("", false),
        ("alive: c 127.0.0.4:7946\n", false),
        ("", true),
        ("not-alive: b b\nclock: 18\n", false),
        ("leave\nclock: 19\n", true),
        ("", true),
    ] {
        if lines.is_empty() && !sync {
            let (known, [member, event, query]) = says(&read(&so_far));
            let alive: String = known.iter().map(|(name, addr)| format!("alive: {name} {addr}\n")).collect();
            writes.push(replace(&format!(
                "{alive}clock: {member}\nevent-clock: {event}\nquery-clock: {query}\n"
            )));
        } else {
            so_far += lines;
            writes.push(append(lines, sync));
        }
    }
    writes
}

/// What the file says after each line of the story.
fn states() -> Vec<Says> {
    let mut text = BEGIN.to_owned();
    let mut states = vec![says(&read(&text))];
    for write in story() {
        if let Write::Append { lines, .. } = write {
            for line in std::str::from_utf8(&lines).unwrap().lines() {
                text += line;
                text += "\n";
                states.push(says(&read(&text)));
            }
        }
    }
    states
}

/// Plays the story until it ends or everything stops. How many lines were done, were safe, and had been begun.
fn play(world: &World) -> (usize, usize, usize) {
    let (mut done, mut safe, mut begun) = (0, 0, 0);
    let Ok((mut writer, _)) = Writer::open(world.clone(), Path::new(PATH), false) else { return (0, 0, 0) };
    for write in story() {
        let (lines, sync) = match &write {
            Write::Append { lines, sync } => (lines.iter().filter(|b| **b == b'\n').count(), *sync),
            Write::Replace { .. } => (0, true),
        };
        begun += lines;
        if writer.write(&write).is_err() {
            assert!(world.has_stopped());
            break;
        }
        done += lines;
        if sync {
            safe = done;
        }
    }
    (done, safe, begun)
}

/// A restart: what the file says must be one of these, and the next line must not be garbled.
fn restart(world: &World, allowed: &[Says], told: &dyn Fn() -> String) {
    let (mut writer, found) = Writer::open(world.clone(), Path::new(PATH), false).expect("it starts");
    let got = says(&found.snapshot);
    assert!(allowed.contains(&got), "{}: {got:?} is none of {allowed:?}", told());
    writer.write(&append("event-clock: 77\n", true)).expect("it goes on");
    let mut expected = got;
    expected.1[1] = 77;
    let (_, found) = Writer::open(world.clone(), Path::new(PATH), false).expect("it starts again");
    assert_eq!(says(&found.snapshot), expected, "{}", told());
    assert_eq!(found.snapshot.torn, 0, "{}", told());
    assert!(world.file(&format!("{PATH}.compact")).is_none(), "{}: nothing is left behind", told());
}

fn begin() -> World {
    World::with(PATH, format!("{BEGIN}event-clock: 99").as_bytes())
}

#[test]
fn whatever_is_done_survives_a_crash_at_any_byte_of_any_step() {
    let states = states();
    let whole = begin();
    let lines = play(&whole).0;
    assert_eq!(lines + 1, states.len());
    let total = whole.spent();
    assert!(total > 300, "{total}");
    for fuel in 0..=total {
        let world = begin();
        world.stop_after(fuel);
        let (done, safe, begun) = play(&world);
        let kill = world.after_kill();
        restart(&kill, &states[done..=begun], &|| format!("killed after {fuel} of {total}"));
        for (i, world) in world.after_power_loss().iter().enumerate() {
            restart(world, &states[safe..=begun], &|| format!("power lost after {fuel} of {total}, way {i}"));
        }
    }
}

#[test]
fn a_crash_at_the_first_start_leaves_nothing_that_hinders_the_next() {
    for fuel in 0..200 {
        let world = World::default();
        world.stop_after(fuel);
        if let Ok((mut writer, _)) = Writer::open(world.clone(), Path::new(PATH), false) {
            let _ = writer.write(&append("event-clock: 1\n", true));
        }
        let nothing = says(&Snapshot::default());
        let mut something = nothing.clone();
        something.1[1] = 1;
        let done = fuel > 0 && !world.has_stopped();
        let allowed = if done { vec![something] } else { vec![nothing, something] };
        restart(&world.after_kill(), &allowed, &|| format!("killed after {fuel}"));
        for world in world.after_power_loss() {
            restart(&world, &allowed, &|| format!("power lost after {fuel}"));
        }
    }
}

/// Any step fails, once or from then on, and an append after any byte. What was done is there; what was not is not there
/// in part; and the next line is not garbled.
#[test]
fn no_failure_costs_what_was_written_before() {
    let healthy = begin();
    play(&healthy);
    for kept in [false, true] {
        for failing in 0..80 {
            for after in [0, 1, 9, 30] {
                let world = begin();
                let mut step = 0;
                world.fail(move |kind, _| {
                    step += 1;
                    let now = step - 1 == failing || (kept && step > failing);
                    // To open and to read it must be possible.
                    let spared = matches!(kind, Step::Open | Step::Read);
                    (now && !spared).then_some(Fault { kind: std::io::ErrorKind::StorageFull, after })
                });
                let mut writer = open(&world);
                // Lines that were not written are tried again with the next, as the machine does.
                let mut waiting = String::new();
                let mut text = BEGIN.to_owned();
                for write in story() {
                    let write = match write {
                        Write::Append { lines, sync } => {
                            waiting += std::str::from_utf8(&lines).unwrap();
                            append(&waiting, sync)
                        }
                        replace => replace,
                    };
                    let before = read(&text);
                    match (writer.write(&write), &write) {
                        (Ok(()), Write::Append { .. }) => text += &std::mem::take(&mut waiting),
                        // A rewrite of this story knows what still waits.
                        (Ok(()), Write::Replace { content }) => {
                            text = String::from_utf8(content.to_vec()).unwrap();
                            waiting.clear();
                        }
                        // What could not be cut off may be repeated, and then comes right in the end.
                        (Err(_), _) if kept => {}
                        (Err(_), _) => {
                            let left = world.after_kill();
                            let (_, found) = Writer::open(left, Path::new(PATH), false).unwrap();
                            let got = says(&found.snapshot);
                            // All of it or nothing.
                            let all = match &write {
                                Write::Append { .. } => format!("{text}{waiting}"),
                                Write::Replace { content } => String::from_utf8(content.to_vec()).unwrap(),
                            };
                            let allowed = [says(&before), says(&read(&all))];
                            assert!(allowed.contains(&got), "step {failing}, {after}: {got:?} {allowed:?}");
                        }
                    }
                }
                world.heal();
                writer.write(&append(&waiting, true)).unwrap();
                let (_, found) = Writer::open(world.clone(), Path::new(PATH), false).unwrap();
                assert_eq!(
                    says(&found.snapshot),
                    *states().last().unwrap(),
                    "step {failing}, {after}, {kept}"
                );
            }
        }
    }
}

#[test]
fn what_cannot_be_cut_off_becomes_a_line_of_its_own() {
    let world = begin();
    world.fail(|step, _| {
        (step == Step::Truncate).then_some(Fault { kind: std::io::ErrorKind::PermissionDenied, after: 0 })
    });
    let mut writer = open(&world);
    writer.write(&append("query-clock: 1\n", false)).unwrap();
    let file = |world: &World| String::from_utf8(world.file(PATH).unwrap()).unwrap();
    assert_eq!(file(&world), format!("{BEGIN}event-clock: 99 \nquery-clock: 1\n"));
    let mut failures = 1;
    world.fail(move |step, _| match step {
        Step::Truncate => Some(Fault { kind: std::io::ErrorKind::PermissionDenied, after: 0 }),
        Step::Append if failures > 0 => {
            failures -= 1;
            Some(Fault { kind: std::io::ErrorKind::StorageFull, after: 8 })
        }
        _ => None,
    });
    writer.write(&append("query-clock: 2\n", false)).unwrap_err();
    // It must not cut off what it did not write itself, even if it could by now.
    world.heal();
    writer.write(&append("query-clock: 2\n", false)).unwrap();
    assert!(file(&world).ends_with("query-clock: 1\nquery-cl \nquery-clock: 2\n"), "{}", file(&world));
}

#[test]
fn a_file_of_two_processes_is_never_cut_off() {
    let world = begin();
    world.share();
    let (mut writer, found) = Writer::open(world.clone(), Path::new(PATH), false).unwrap();
    assert!(writer.is_shared() && found.snapshot.torn == 15);
    writer.write(&append("clock: 6\n", false)).unwrap();
    let file = String::from_utf8(world.file(PATH).unwrap()).unwrap();
    assert_eq!(file, format!("{BEGIN}event-clock: 99 \nclock: 6\n"));
}

// B33
#[test]
fn a_rewrite_left_behind_is_removed_or_put_in_its_place() {
    let left = format!("{PATH}.compact");
    let world = World::with(PATH, BEGIN.as_bytes());
    world.put(&left, b"clock: 1\nclo");
    let (_, found) = Writer::open(world.clone(), Path::new(PATH), false).unwrap();
    assert_eq!((found.snapshot.member_clock, found.is_recovered), (5, false));
    assert_eq!(world.file(&left), None);

    let world = World::with(&left, BEGIN.as_bytes());
    let (_, found) = Writer::open(world.clone(), Path::new(PATH), false).unwrap();
    assert_eq!((found.snapshot.member_clock, found.is_recovered), (5, true));
    assert_eq!((world.file(&left), world.file(PATH)), (None, Some(BEGIN.into())));

    // What cannot be removed does not keep the node from starting, nor from rewriting it later.
    let world = World::with(PATH, BEGIN.as_bytes());
    world.put(&left, b"x");
    world.fail(|step, _| {
        (step == Step::Remove).then_some(Fault { kind: std::io::ErrorKind::PermissionDenied, after: 0 })
    });
    let mut writer = open(&world);
    assert_eq!(writer.write(&replace("clock: 7\n")).unwrap_err().step, "create");
    world.heal();
    writer.write(&replace("clock: 7\n")).unwrap();
    assert_eq!((world.file(&left), world.file(PATH)), (None, Some(b"clock: 7\n".to_vec())));
}

#[test]
fn each_failed_step_of_a_rewrite_has_its_name_and_leaves_the_file() {
    for (failing, name, replaced) in [
        (Step::Create, "create", false),
        (Step::Append, "write", false),
        (Step::Sync, "sync", false),
        (Step::Rename, "rename", false),
        (Step::SyncName, "sync the directory of", true),
    ] {
        let world = World::with(PATH, BEGIN.as_bytes());
        let mut writer = open(&world);
        world.fail(move |step, _| {
            (step == failing).then_some(Fault { kind: std::io::ErrorKind::StorageFull, after: 3 })
        });
        let failed = writer.write(&replace("clock: 7\n")).unwrap_err();
        assert_eq!((failed.step, failed.error.kind()), (name, std::io::ErrorKind::StorageFull));
        let file = if replaced { "clock: 7\n" } else { BEGIN };
        assert_eq!(world.file(PATH), Some(file.into()));
        assert_eq!(world.file(&format!("{PATH}.compact")), None);
        // And it goes on in the right one.
        world.heal();
        let lines: Arc<[u8]> = (&b"clock: 8\n"[..]).into();
        writer.write(&Write::Append { lines, sync: false }).unwrap();
        assert_eq!(world.file(PATH), Some(format!("{file}clock: 8\n").into()));
    }
}
