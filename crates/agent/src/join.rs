//! Joining a cluster, and saying so in the log.

use serf::{Error, JoinFailures, Serf};

use crate::text::printable;

/// Joins these addresses; how many were contacted.
///
/// # Errors
/// Nobody was, or the node has left.
pub(crate) async fn join(serf: &Serf, addresses: &[String], replay: bool) -> Result<usize, Error> {
    log::info!(target: "agent", "joining: [{}] replay: {replay}", printable(&addresses.join(" ")));
    let result = if replay { serf.join_and_replay(addresses).await } else { serf.join(addresses).await };
    match &result {
        Ok(joined) => log::info!(target: "agent", "joined: {} nodes", joined.contacted.len()),
        Err(error) => log::warn!(target: "agent", "error joining: {}", on_one_line(error)),
    }
    result.map(|joined| joined.contacted.len())
}

/// An error of several lines as one, for the log (E36): `2 errors occurred: failed to join ...; failed to join ...`.
pub(crate) fn on_one_line(error: &Error) -> String {
    let Error::NotJoined(JoinFailures(failures)) = error else { return printable(&error.to_string()) };
    let reasons: Vec<String> = failures.iter().map(|failure| printable(&failure.to_string())).collect();
    let head = match reasons.len() {
        1 => "1 error occurred".to_owned(),
        n => format!("{n} errors occurred"),
    };
    format!("{head}: {}", reasons.join("; "))
}

#[cfg(test)]
mod tests {
    use serf::{Address, JoinFailure};

    use super::*;

    #[test]
    fn reasons_stand_apart_on_one_line() {
        let failure = |port, why: &str| JoinFailure::Contact {
            address: Address::new(&[127, 0, 0, 1], port),
            why: why.to_owned(),
        };
        let error = Error::NotJoined(JoinFailures(vec![failure(1, "refused"), failure(2, "a\nb")]));
        assert_eq!(
            on_one_line(&error),
            "2 errors occurred: failed to join 127.0.0.1:1: refused; failed to join 127.0.0.1:2: a\\nb"
        );
    }
}
