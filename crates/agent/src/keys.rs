//! The key calls of RPC clients: what the cluster's nodes say to a change of their keyrings, as clients know it.

use serf::{KeyReport, Serf};
use serf_rpc::Text;
use serf_rpc::message::{KeyRequest, KeyResponse};

use crate::config::keys::decode_base64;

/// What can be done with a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Install,
    Use,
    Remove,
}

/// Changes the keyrings of all nodes. What went wrong, if anything, and what there is to know in any case.
pub(crate) async fn change(serf: &Serf, change: Change, request: &KeyRequest) -> (String, KeyResponse) {
    log::info!(target: "agent", "Initiating {}", match change {
        Change::Install => "key installation",
        Change::Use => "primary key change",
        Change::Remove => "key removal",
    });
    let key = match decode_base64(&request.key.to_string()) {
        Ok(key) => key,
        Err(error) => return (error.to_string(), response(&KeyReport::default(), false)),
    };
    let keys = serf.keys();
    let report = match change {
        Change::Install => keys.install(&key).await,
        Change::Use => keys.use_primary(&key).await,
        Change::Remove => keys.remove(&key).await,
    };
    answer(report, false)
}

/// Asks all nodes for their keys; as [`change`].
pub(crate) async fn list(serf: &Serf) -> (String, KeyResponse) {
    log::info!(target: "agent", "Initiating key listing");
    answer(serf.keys().list().await, true)
}

fn answer(report: Result<KeyReport, serf::Error>, listed: bool) -> (String, KeyResponse) {
    match report {
        Ok(report) => {
            let error = report.check().err().map(|error| error.to_string());
            (error.unwrap_or_default(), response(&report, listed))
        }
        Err(error) => (error.to_string(), response(&KeyReport::default(), listed)),
    }
}

fn response(report: &KeyReport, listed: bool) -> KeyResponse {
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let messages = &report.messages;
    let texts = messages.iter().map(|(node, text)| (Text::from(node.as_bytes()), text.as_str()));
    let counts = report.keys.iter().map(|(key, &nodes)| (key.as_str(), count(nodes)));
    KeyResponse {
        keys: listed.then(|| counts.collect()),
        messages: Some(texts.collect()),
        num_err: count(report.num_err),
        num_nodes: count(report.num_nodes),
        num_resp: count(report.num_resp),
    }
}
