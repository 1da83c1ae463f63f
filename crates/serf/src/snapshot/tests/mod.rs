//! What becomes of a snapshot file whatever happens: on a file system that fails, on the real one, and with a machine.

mod crash;
mod machine;
#[cfg(unix)]
mod real;
mod world;

use std::path::Path;

use serf_core::snapshot::Write;

use self::world::World;
use super::writer::Writer;

/// Where the file is in the world.
const PATH: &str = "/snap";

fn open(world: &World) -> Writer<World> {
    Writer::open(world.clone(), Path::new(PATH), false).expect("it opens").0
}

fn append(lines: &str, sync: bool) -> Write {
    Write::Append { lines: lines.as_bytes().into(), sync }
}

fn replace(content: &str) -> Write {
    Write::Replace { content: content.as_bytes().into() }
}
