//! What an event or a query carries: an argument, or what is in a file (E29).

use std::fs::File;
use std::io::{self, Read};

use serf_agent::text::os_error;
use serf_rpc::Text;

use super::Failure;
use crate::flags::{Flag, Flags};

/// In place of the argument. A flag, since the argument `-` has always been a payload itself.
pub(super) const FLAG: Flag =
    Flag::text("payload-file", "PATH", "Take the payload from this file, or from standard input for -.");

/// Agents take no longer request, whatever they are configured to send.
const SIZE_MAX: u64 = 1 << 20;

/// The payload. None and an empty one are the same to everybody.
pub(super) fn payload(flags: &Flags, argument: Option<Text>) -> Result<Option<Vec<u8>>, Failure> {
    let bytes = match (flags.given_text(FLAG.name), argument) {
        (None, None) => return Ok(None),
        (None, Some(argument)) => argument.into_bytes(),
        (Some(_), Some(_)) => {
            return Err(Failure::Usage(format!("A payload is an argument or -{}, not both.", FLAG.name)));
        }
        (Some(path), None) => {
            let failed =
                |why: String| Failure::Message(format!("Error reading the payload in '{path}': {why}"));
            let bytes = read(path).map_err(|error| failed(os_error(&error)))?;
            if bytes.len() as u64 > SIZE_MAX {
                return Err(failed(format!("it is longer than {SIZE_MAX} bytes")));
            }
            bytes
        }
    };
    Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
}

fn read(path: &str) -> io::Result<Vec<u8>> {
    let source: Box<dyn Read> = match path {
        "-" => Box::new(io::stdin()),
        path => Box::new(File::open(path)?),
    };
    let mut bytes = Vec::new();
    source.take(SIZE_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
