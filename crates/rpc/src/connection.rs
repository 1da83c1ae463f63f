//! The agent's side of one connection, without a socket: bytes in, requests out, and what to send back.

use std::mem;

use serf_wire::Malformed;
use serf_wire::msgpack::Reader;
use subtle::ConstantTimeEq;

use crate::frame::{BadMessage, Inbox};
use crate::message::{AuthRequest, HandshakeRequest, RequestHeader};
use crate::request::{Command, Request, reply};
use crate::value::{Text, Value};

/// The version of the protocol that a `handshake` has to name.
pub const VERSION: i32 = 1;

/// How long a request may be, header and body together. The longest legitimate one takes a few KiB.
pub const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// The same before the handshake and, where there is a token, before that has been shown: whoever it is has yet to say
/// anything longer, and many of them at once should not take much memory.
const STRANGERS_REQUEST_BYTES_MAX: usize = 16 * 1024;

/// What `auth` is answered then.
const WRONG_TOKEN: &str = "Invalid authentication token";

/// One accepted connection.
///
/// It answers by itself what depends on the connection alone: `handshake`, `auth`, whatever comes too early, and
/// commands that do not exist. The rest is handed out as [`Step::Request`], one at a time; the server answers with
/// [`reply`] or [`reply_with`](crate::reply_with) before it asks for the next step, so that responses leave in the
/// order of the requests.
///
/// The server reads again only when there are no more steps. What is buffered here is then part of a single
/// request, and never more than [`REQUEST_BYTES_MAX`] and one read.
#[derive(Debug)]
pub struct Connection {
    token: Text,
    inbox: Inbox,
    stage: Stage,
    handshaken: bool,
    authenticated: bool,
    commands: u64,
}

/// What the next value on the connection is.
#[derive(Debug)]
enum Stage {
    Header,
    /// The body, if the command has one, of a request that has passed the gates; `room` is how long it may be.
    Body {
        command: Command,
        seq: u64,
        room: usize,
    },
    /// The body of a request that has been refused already.
    RefusedBody {
        room: usize,
    },
    /// Of no interest: the connection is to be closed, and the reason has yet to be told.
    Closing(CloseReason),
    Closed,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Carry out the request and answer it under the same `seq`.
    Request {
        /// The number to put into the response.
        seq: u64,
        /// What to do.
        request: Request,
    },
    /// Send these bytes.
    Reply {
        /// A complete response.
        bytes: Vec<u8>,
        /// What to log about it at level WARN, after `agent.ipc: `.
        warning: Option<&'static str>,
    },
    /// Close the connection. There are no more steps.
    ///
    /// The client may still be sending, for instance the body of the refused request. Closing a socket with unread
    /// bytes resets it, and the reply may be lost with that: shut down the sending side, and read on for a moment.
    Close(CloseReason),
}

/// Why the agent closes a connection. The text is what to log at level ERR, after `agent.ipc: `.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// What should be the header of a request is none. The client gets no answer.
    #[error("failed to decode request header: {0}")]
    BadHeader(BadMessage),
    /// What should be the body of a request is none. The client gets no answer.
    #[error("Failed to evaluate request: decode failed: {0}")]
    BadBody(BadMessage),
    /// A command other than `handshake` came first. The client has been told.
    #[error("Failed to evaluate request: Handshake required")]
    HandshakeRequired,
    /// There is no such command. The client has been told.
    #[error("Failed to evaluate request: command '{}' not recognized", excerpt(.0))]
    UnknownCommand(Text),
}

impl Connection {
    /// A connection that has just been accepted by an agent with this `rpc_auth` token; an empty one opens it to all.
    pub fn new(token: impl Into<Text>) -> Self {
        let token = token.into();
        Self {
            authenticated: token.is_empty(),
            token,
            inbox: Inbox::default(),
            stage: Stage::Header,
            handshaken: false,
            commands: 0,
        }
    }

    /// Takes bytes that have arrived, in pieces of any size.
    pub fn receive(&mut self, bytes: &[u8]) {
        if !matches!(self.stage, Stage::Closing(_) | Stage::Closed) {
            self.inbox.receive(bytes);
        }
    }

    /// What to do next, if that can be told from what has arrived.
    pub fn next_step(&mut self) -> Option<Step> {
        match self.advance() {
            Ok(step) => step,
            Err(reason) => {
                self.stage = Stage::Closed;
                self.inbox = Inbox::default();
                Some(Step::Close(reason))
            }
        }
    }

    /// To be asked when the client has ended its side and there are no more steps: what to log, if it stopped
    /// inside a request.
    pub fn end(&mut self) -> Option<CloseReason> {
        let truncated = BadMessage::from(Malformed::Truncated);
        match mem::replace(&mut self.stage, Stage::Closed) {
            Stage::Header if self.inbox.is_empty() => None,
            Stage::Header => Some(CloseReason::BadHeader(truncated)),
            Stage::Body { .. } | Stage::RefusedBody { .. } => Some(CloseReason::BadBody(truncated)),
            Stage::Closing(_) | Stage::Closed => None,
        }
    }

    /// How many commands have come after the handshake, and with it, whatever became of them. This is what the
    /// metric `agent.ipc.command` counts.
    pub fn commands(&self) -> u64 {
        self.commands
    }

    /// Whether the client has shaken hands and, where there is a token, shown it. One that does not get there can do
    /// nothing but take up room, and should be sent away after a while.
    pub fn is_admitted(&self) -> bool {
        self.handshaken && self.authenticated
    }

    fn request_bytes_max(&self) -> usize {
        if self.is_admitted() { REQUEST_BYTES_MAX } else { STRANGERS_REQUEST_BYTES_MAX }
    }

    fn advance(&mut self) -> Result<Option<Step>, CloseReason> {
        loop {
            match self.stage {
                Stage::Header => {
                    let most = self.request_bytes_max();
                    let Some(bytes) = next_record(&mut self.inbox, most, CloseReason::BadHeader)? else {
                        return Ok(None);
                    };
                    let room = most - bytes.len();
                    let header = RequestHeader::decode(&mut Reader::new(bytes))
                        .map_err(|malformed| CloseReason::BadHeader(malformed.into()))?;
                    if let Some(step) = self.header(header, room) {
                        return Ok(Some(step));
                    }
                }
                Stage::Body { command, seq, room } => {
                    let bytes = if command.has_body() {
                        next_record(&mut self.inbox, room, CloseReason::BadBody)?
                    } else {
                        Some(&[][..])
                    };
                    let Some(bytes) = bytes else { return Ok(None) };
                    let incoming = Incoming::decode(command, &mut Reader::new(bytes))
                        .map_err(|malformed| CloseReason::BadBody(malformed.into()))?;
                    self.stage = Stage::Header;
                    return Ok(Some(self.accept(seq, incoming)));
                }
                Stage::RefusedBody { room } => {
                    if self.inbox.next_value(room).map_err(CloseReason::BadBody)?.is_none() {
                        return Ok(None);
                    }
                    self.stage = Stage::Header;
                }
                Stage::Closing(ref reason) => return Err(reason.clone()),
                Stage::Closed => return Ok(None),
            }
        }
    }

    /// The gates, in their order. Without a step the request goes on with its body.
    fn header(&mut self, header: RequestHeader, room: usize) -> Option<Step> {
        let RequestHeader { command: name, seq } = header;
        let command = Command::from_name(name.as_bytes());
        if !self.handshaken && command != Some(Command::Handshake) {
            return Some(self.refuse_and_close(seq, "Handshake required", CloseReason::HandshakeRequired));
        }
        self.commands += 1;
        if !self.authenticated && !matches!(command, Some(Command::Handshake | Command::Auth)) {
            // The body, if there is one, is not to be taken for the next header.
            if command.is_some_and(Command::has_body) {
                self.stage = Stage::RefusedBody { room };
            }
            return Some(Step::Reply {
                bytes: reply(seq, "Authentication required"),
                warning: Some("Client sending commands before auth"),
            });
        }
        let Some(command) = command else {
            return Some(self.refuse_and_close(
                seq,
                "Unsupported command",
                CloseReason::UnknownCommand(name),
            ));
        };
        self.stage = Stage::Body { command, seq, room };
        None
    }

    fn accept(&mut self, seq: u64, incoming: Incoming) -> Step {
        let error = match incoming {
            Incoming::Request(request) => return Step::Request { seq, request },
            Incoming::Handshake(handshake) => self.handshake(&handshake),
            Incoming::Auth(auth) => self.auth(&auth),
        };
        let warning = (error == WRONG_TOKEN).then_some("Client has shown a wrong token");
        Step::Reply { bytes: reply(seq, error), warning }
    }

    fn handshake(&mut self, request: &HandshakeRequest) -> &'static str {
        if request.version != VERSION {
            return "Unsupported IPC version";
        }
        if mem::replace(&mut self.handshaken, true) {
            return "Handshake already performed";
        }
        ""
    }

    /// A wrong token takes nothing away from an earlier right one. Without a token to show, the empty one is right.
    fn auth(&mut self, request: &AuthRequest) -> &'static str {
        // How long the comparison takes tells the length of the token, and nothing of its contents.
        if !bool::from(request.auth_key.as_bytes().ct_eq(self.token.as_bytes())) {
            return WRONG_TOKEN;
        }
        self.authenticated = true;
        ""
    }

    fn refuse_and_close(&mut self, seq: u64, error: &str, reason: CloseReason) -> Step {
        self.stage = Stage::Closing(reason);
        Step::Reply { bytes: reply(seq, error), warning: None }
    }
}

/// A request with its body.
enum Incoming {
    Handshake(HandshakeRequest),
    Auth(AuthRequest),
    Request(Request),
}

impl Incoming {
    fn decode(command: Command, reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self::Request(match command {
            Command::Handshake => return Value::decode(reader).map(Self::Handshake),
            Command::Auth => return Value::decode(reader).map(Self::Auth),
            Command::Event => Request::Event(Value::decode(reader)?),
            Command::ForceLeave => Request::ForceLeave(Value::decode(reader)?),
            Command::Join => Request::Join(Value::decode(reader)?),
            Command::Members => Request::Members,
            Command::MembersFiltered => Request::MembersFiltered(Value::decode(reader)?),
            Command::Tags => Request::Tags(Value::decode(reader)?),
            Command::Stream => Request::Stream(Value::decode(reader)?),
            Command::Monitor => Request::Monitor(Value::decode(reader)?),
            Command::Stop => Request::Stop(Value::decode(reader)?),
            Command::Leave => Request::Leave,
            Command::Query => Request::Query(Value::decode(reader)?),
            Command::Respond => Request::Respond(Value::decode(reader)?),
            Command::InstallKey => Request::InstallKey(Value::decode(reader)?),
            Command::UseKey => Request::UseKey(Value::decode(reader)?),
            Command::RemoveKey => Request::RemoveKey(Value::decode(reader)?),
            Command::ListKeys => Request::ListKeys,
            Command::Stats => Request::Stats,
            Command::GetCoordinate => Request::GetCoordinate(Value::decode(reader)?),
        }))
    }
}

/// The bytes of a record once all are here. Anything else is refused at its first byte: a stray string that
/// announces gigabytes need not be waited for.
fn next_record(
    inbox: &mut Inbox,
    room: usize,
    refuse: fn(BadMessage) -> CloseReason,
) -> Result<Option<&[u8]>, CloseReason> {
    match inbox.peek() {
        None | Some(0x80..=0x9f | 0xc0 | 0xdc..=0xdf) => inbox.next_value(room).map_err(refuse),
        Some(0xc1) => Err(refuse(Malformed::Reserved.into())),
        Some(head) => Err(refuse(Malformed::WrongType(head).into())),
    }
}

/// The name of a command as it may stand in a log: on one line and not endless.
fn excerpt(name: &Text) -> String {
    let name = String::from_utf8_lossy(name.as_bytes());
    let mut shown = String::new();
    for c in name.chars().take(64) {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}
