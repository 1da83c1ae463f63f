//! The way to the agent.

use std::io::ErrorKind;

use serf_rpc::{Client, DialError, Error, Text};
use tokio::runtime::Builder;

use super::Failure;
use super::token::token;
use crate::flags::{Flag, Flags};

/// How the agent is found, and where it is told that this did not work.
pub(super) const FLAGS: [Flag; 2] = [
    Flag::text("rpc-addr", "ADDRESS", "Where the agent listens for commands: HOST:PORT or unix:PATH.")
        .or("127.0.0.1:7373")
        .env("SERF_RPC_ADDR"),
    ERRORS_APART,
];

/// Errors have always been on standard output (E17).
pub(crate) const ERRORS_APART: Flag =
    Flag::switch("errors-stderr", "Print errors on standard error.").env("SERF_ERRORS_STDERR");

/// Connects to the agent and talks with it.
pub(super) fn with_agent<R>(
    flags: &Flags,
    talk: impl AsyncFnOnce(Client) -> Result<R, Failure>,
) -> Result<R, Failure> {
    let token = token(flags)?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Message(format!("Error preparing to connect: {error}")))?;
    runtime.block_on(async {
        let address = flags.text("rpc-addr");
        let client = Client::connect(&address, token).await.map_err(|error| {
            Failure::Message(format!("Error connecting to Serf agent: {error}{}", hint(&error, &address)))
        })?;
        talk(client).await
    })
}

/// What to do about it, where the words of the error do not tell. Those about ports are known to scripts.
fn hint(error: &Error, address: &str) -> String {
    match error {
        // Something accepts connections there, and does not talk like an agent.
        Error::Closed | Error::TimedOut(_) => format!(" (does an agent listen for commands at {address}?)"),
        Error::Dial(DialError::Unix { source, .. }) => match source.kind() {
            ErrorKind::NotFound => format!(" (is an agent running with -rpc-addr={address}?)"),
            ErrorKind::ConnectionRefused => " (the agent that made it has ended; start it again)".into(),
            ErrorKind::PermissionDenied => {
                " (only the user that the agent runs as may use it, and root)".into()
            }
            _ => String::new(),
        },
        _ => String::new(),
    }
}

/// Works until it is through or the user interrupts. Interrupts are listened for before anything else is done.
pub(super) async fn interruptible<R>(
    work: impl Future<Output = Result<R, Failure>>,
    interrupted: Failure,
) -> Result<R, Failure> {
    tokio::select! {
        biased;
        heard = tokio::signal::ctrl_c() => Err(match heard {
            Ok(()) => interrupted,
            Err(error) => Failure::Message(format!("Error waiting for signals: {error}")),
        }),
        done = work => done,
    }
}

/// Puts what was tried in front of why it failed.
pub(super) fn failed(what: &str) -> impl FnOnce(Error) -> Failure {
    move |error| Failure::Message(format!("{what}: {error}"))
}

/// The arguments after the flags, byte by byte.
pub(super) fn arguments(flags: &Flags) -> Vec<Text> {
    flags.arguments().iter().map(|argument| Text::from(argument.as_encoded_bytes())).collect()
}
