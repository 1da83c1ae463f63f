//! `serf keygen`: a fresh encryption key.

use base64ct::{Base64, Encoding};

use super::{Command, Failure};

/// Keys of this length select AES-256.
const KEY_BYTES: usize = 32;

pub(crate) const COMMAND: Command = Command {
    name: "keygen",
    synopsis: "Generates a new encryption key",
    usage: "",
    about: &[
        "Prints a new random key with which agents can encrypt their traffic: 32 bytes in base64. All agents \
              of a cluster need the same key. No agent has to run for this command.",
    ],
    connects: false,
    ignores_arguments: true,
    examples: &[
        ("serf agent -encrypt=$(serf keygen)", "Starts the first agent of an encrypted cluster."),
        ("serf keys -install=$(serf keygen)", "Adds a new key to a running cluster, to be used later."),
    ],
    run: |_, out| {
        out.line(new_key()?);
        Ok(())
    },
    ..Command::PLAIN
};

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
    fn keys_are_long_and_differ() {
        let (one, other) = (new_key().expect("random"), new_key().expect("random"));
        assert_ne!(one, other);
        assert_eq!(Base64::decode_vec(&one).expect("base64").len(), 32);
    }
}
