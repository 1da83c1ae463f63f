//! Fills `corpus/` from the test data of `serf-wire`, `serf-rpc` and `serf-core`: one file per captured message or file, in the form its
//! target takes.

use std::fs;
use std::path::Path;

use serde_json::Value;

fn main() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (target, file) in [
        ("packet", "gossip_packets.json"),
        ("stream", "gossip_streams.json"),
        ("codec", "serf_messages.json"),
        ("codec", "decode_tolerance.json"),
        ("queries", "serf_messages.json"),
    ] {
        let corpus = here.join("corpus").join(target);
        fs::create_dir_all(&corpus).expect("corpus is writable");
        let text =
            fs::read_to_string(here.join("../crates/wire/testdata").join(file)).expect("test data is there");
        let entries: Vec<Value> = serde_json::from_str(&text).expect("test data is JSON");
        for entry in &entries {
            let name = entry["name"].as_str().expect("entries have names");
            let bytes = hex(entry["hex"].as_str().expect("entries have bytes"));
            // The options, as the functions read them that the targets call. For streams, a cut comes after them.
            let context = &entry["context"];
            let labelled = u8::from(context.get("label").is_some());
            let encrypted = u8::from(context.get("keys_base64").is_some());
            let request = u8::from(context["direction"] != "server->client");
            let (before, bytes) = match (target, file) {
                ("packet", _) => (vec![labelled | encrypted << 2 | 0x18], &bytes[..]),
                ("stream", _) => (vec![labelled | encrypted << 2 | 0x18 | request << 5, 7], &bytes[..]),
                // A message of a conversation; those that are longer than one tell it nothing new.
                ("queries", _) => (vec![0, bytes.len().min(255) as u8], &bytes[..bytes.len().min(255)]),
                // Serf messages begin with their type, the target wants what follows.
                (_, "serf_messages.json") => (vec![], &bytes[1..]),
                _ => (vec![], &bytes[..]),
            };
            let path = corpus.join(name.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
            fs::write(path, [&before, bytes].concat()).expect("corpus is writable");
        }
        println!("{target}: {} from {file}", entries.len());
    }
    let corpus = here.join("corpus/rpc");
    fs::create_dir_all(&corpus).expect("corpus is writable");
    let text = fs::read_to_string(here.join("../crates/rpc/testdata/rpc_conversations.json"))
        .expect("test data is there");
    let entries: Vec<Value> = serde_json::from_str(&text).expect("test data is JSON");
    for entry in &entries {
        let name = entry["name"].as_str().expect("entries have names");
        let bytes = hex(entry["hex"]["client_to_server"].as_str().expect("entries have bytes"));
        let token = u8::from(entry["context"]["auth_key"].is_string());
        let path = corpus.join(name.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
        fs::write(path, [&[token, 7][..], &bytes].concat()).expect("corpus is writable");
    }
    println!("rpc: {} from rpc_conversations.json", entries.len());
    let corpus = here.join("corpus/snapshot");
    fs::create_dir_all(&corpus).expect("corpus is writable");
    let files = fs::read_dir(here.join("../crates/core/testdata/snapshots")).expect("test data is there");
    for file in files {
        let file = file.expect("test data can be read").path();
        if file.extension().is_some_and(|extension| extension == "snap") {
            let bytes = fs::read(&file).expect("test data can be read");
            let path = corpus.join(file.file_stem().expect("files have names"));
            fs::write(path, [&[0][..], &bytes].concat()).expect("corpus is writable");
        }
    }
}

fn hex(digits: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex");
    (0..digits.len()).step_by(2).map(byte).collect()
}
