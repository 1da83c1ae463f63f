//! The token that an agent may ask for: said, or kept in a file, where no list of processes shows it (E31).

use std::fs::File;
use std::io::{self, Read};

use serf_agent::text::os_error;

use super::Failure;
use crate::flags::{Flag, Flags};

/// Where the token is to be found.
pub(super) const FLAGS: [Flag; 2] = [
    Flag::text("rpc-auth", "TOKEN", "The token the agent asks for, if it asks for one.").env("SERF_RPC_AUTH"),
    Flag::text("rpc-auth-file", "PATH", "A file with that token, which others then cannot see.")
        .env("SERF_RPC_AUTH_FILE"),
];

/// An agent reads no more before it knows its client.
const SIZE_MAX: u64 = 16 * 1024;

/// The token, empty for none. A flag beats the environment, and a token beats a file.
pub(super) fn token(flags: &Flags) -> Result<String, Failure> {
    let path = match (flags.given_text("rpc-auth"), flags.given_text("rpc-auth-file")) {
        (Some(token), _) => return Ok(token.to_owned()),
        (None, Some(path)) => path.to_owned(),
        (None, None) => match flags.text("rpc-auth") {
            token if token.is_empty() => flags.text("rpc-auth-file"),
            token => return Ok(token),
        },
    };
    if path.is_empty() {
        return Ok(String::new());
    }
    let failed = |why: String| Failure::Message(format!("Error reading the token in '{path}': {why}"));
    let text = read(&path).map_err(|error| failed(os_error(&error)))?;
    if text.len() as u64 > SIZE_MAX {
        return Err(failed(format!("it is longer than {SIZE_MAX} bytes")));
    }
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(failed("it is empty".to_owned())),
        token => Ok(token.to_owned()),
    }
}

fn read(path: &str) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(SIZE_MAX + 1).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::parse;

    fn given(arguments: &[&str]) -> Result<String, Failure> {
        let arguments: Vec<_> = arguments.iter().map(Into::into).collect();
        token(&parse(FLAGS, &arguments).expect("well-formed flags"))
    }

    #[test]
    fn a_token_is_said_or_kept_in_a_file() {
        let path = std::env::temp_dir().join(format!("serf-cli-token-{}", std::process::id()));
        let name = path.to_str().expect("text");
        let file = format!("-rpc-auth-file={name}");
        for (content, want) in [("secret\n", "secret"), ("a b\r\n", "a b"), ("bare", "bare")] {
            std::fs::write(&path, content).expect("written");
            assert_eq!(given(&[&file]).as_deref(), Ok(want));
        }
        assert_eq!(given(&[&file, "-rpc-auth=said"]).as_deref(), Ok("said"));
        assert_eq!(given(&[&file, "-rpc-auth="]).as_deref(), Ok(""), "none, in so many words");
        let failure =
            |why: &str| Err(Failure::Message(format!("Error reading the token in '{name}': {why}")));
        std::fs::write(&path, "\n").expect("written");
        assert_eq!(given(&[&file]), failure("it is empty"));
        std::fs::write(&path, "t".repeat(16 * 1024 + 1)).expect("written");
        assert_eq!(given(&[&file]), failure("it is longer than 16384 bytes"));
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(given(&[&file]), failure("no such file or directory"));
    }
}
