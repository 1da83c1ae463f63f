//! `serf keygen`: a fresh encryption key.

use base64ct::{Base64, Encoding};

use serde::Serialize;

use super::{Command, FORMAT, Failure, format};

/// Keys of this length select AES-256.
const KEY_BYTES: usize = 32;

pub(crate) const COMMAND: Command = Command {
    name: "keygen",
    synopsis: "Generates a new encryption key",
    about: &[
        "Prints a new random key with which agents can encrypt their traffic: 32 bytes in base64. All agents \
              of a cluster need the same key. No agent has to run for this command.",
    ],
    connects: false,
    ignores_arguments: true,
    flags: &[FORMAT],
    document: r#"{
  "key": "pQGwGlFAbqpQrsPNnTbVz5FNR0cjxOIBH3V9VFOySEg="
}"#,
    failure: "The system has no random bytes to give.",
    examples: &[
        ("serf agent -encrypt=$(serf keygen)", "Starts the first agent of an encrypted cluster."),
        ("serf keys -install=$(serf keygen)", "Adds a new key to a running cluster, to be used later."),
    ],
    run: |flags, out| {
        let format = format(flags)?;
        let document = Document { key: new_key()? };
        out.report(format, &document.key, &document);
        Ok(())
    },
    ..Command::PLAIN
};

#[derive(Serialize)]
struct Document {
    key: String,
}

fn new_key() -> Result<String, Failure> {
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key)
        .map_err(|error| Failure::Message(format!("Error reading random data: {error}")))?;
    Ok(Base64::encode_string(&key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_as_described() {
        let document = Document { key: "pQGwGlFAbqpQrsPNnTbVz5FNR0cjxOIBH3V9VFOySEg=".into() };
        assert_eq!(serf_agent::json::to_string_pretty(&document), COMMAND.document);
    }

    #[test]
    fn keys_are_long_and_differ() {
        let (one, other) = (new_key().expect("random"), new_key().expect("random"));
        assert_ne!(one, other);
        assert_eq!(Base64::decode_vec(&one).expect("base64").len(), 32);
    }
}
