//! What can be asked of an agent, and how requests and replies are put into bytes.

use serf_wire::msgpack::{Dialect, Writer};

use crate::message::{
    EventRequest, ForceLeaveRequest, GetCoordinateRequest, JoinRequest, KeyRequest, MembersFilteredRequest,
    MonitorRequest, QueryRequest, RequestHeader, RespondRequest, ResponseHeader, StopRequest, StreamRequest,
    TagsRequest,
};
use crate::value::{Text, Value};

/// The commands there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Opens the connection, and names the version of the protocol.
    Handshake,
    /// Shows the token.
    Auth,
    /// Fires a user event.
    Event,
    /// Makes a failed member one that has left.
    ForceLeave,
    /// Contacts other agents.
    Join,
    /// Asks for all members.
    Members,
    /// Asks for the members that match a filter.
    MembersFiltered,
    /// Changes the tags of the agent.
    Tags,
    /// Subscribes to events.
    Stream,
    /// Subscribes to log lines.
    Monitor,
    /// Ends a subscription.
    Stop,
    /// Makes the agent leave the cluster and end.
    Leave,
    /// Asks the cluster.
    Query,
    /// Answers a query that came as an event.
    Respond,
    /// Gives all members another key to decrypt with.
    InstallKey,
    /// Makes all members encrypt with a key they have.
    UseKey,
    /// Takes a key away from all members.
    RemoveKey,
    /// Asks which keys members have.
    ListKeys,
    /// Asks the agent about itself.
    Stats,
    /// Asks for the network coordinate of a member.
    GetCoordinate,
}

impl Command {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Handshake,
        Self::Auth,
        Self::Event,
        Self::ForceLeave,
        Self::Join,
        Self::Members,
        Self::MembersFiltered,
        Self::Tags,
        Self::Stream,
        Self::Monitor,
        Self::Stop,
        Self::Leave,
        Self::Query,
        Self::Respond,
        Self::InstallKey,
        Self::UseKey,
        Self::RemoveKey,
        Self::ListKeys,
        Self::Stats,
        Self::GetCoordinate,
    ];

    /// The command with this name, which is case sensitive.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|command| command.name().as_bytes() == name)
    }

    /// Its name in a request header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Auth => "auth",
            Self::Event => "event",
            Self::ForceLeave => "force-leave",
            Self::Join => "join",
            Self::Members => "members",
            Self::MembersFiltered => "members-filtered",
            Self::Tags => "tags",
            Self::Stream => "stream",
            Self::Monitor => "monitor",
            Self::Stop => "stop",
            Self::Leave => "leave",
            Self::Query => "query",
            Self::Respond => "respond",
            Self::InstallKey => "install-key",
            Self::UseKey => "use-key",
            Self::RemoveKey => "remove-key",
            Self::ListKeys => "list-keys",
            Self::Stats => "stats",
            Self::GetCoordinate => "get-coordinate",
        }
    }

    /// Whether the header of its request is followed by a body.
    pub const fn has_body(self) -> bool {
        !matches!(self, Self::Members | Self::Leave | Self::ListKeys | Self::Stats)
    }

    /// Whether the header of its response is followed by a body, also if that header reports an error.
    pub const fn is_answered_with_body(self) -> bool {
        matches!(
            self,
            Self::Join
                | Self::Members
                | Self::MembersFiltered
                | Self::InstallKey
                | Self::UseKey
                | Self::RemoveKey
                | Self::ListKeys
                | Self::Stats
                | Self::GetCoordinate
        )
    }

    /// Whether its response is followed by records, each a header and a body, with the same `seq`.
    pub const fn is_followed_by_records(self) -> bool {
        matches!(self, Self::Stream | Self::Monitor | Self::Query)
    }
}

/// Something an agent is to do. What a connection settles by itself, `handshake` and `auth`, is not among it.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Fires a user event.
    Event(EventRequest),
    /// Makes a failed member one that has left.
    ForceLeave(ForceLeaveRequest),
    /// Contacts other agents.
    Join(JoinRequest),
    /// Asks for all members.
    Members,
    /// Asks for the members that match a filter.
    MembersFiltered(MembersFilteredRequest),
    /// Changes the tags of the agent.
    Tags(TagsRequest),
    /// Subscribes to events.
    Stream(StreamRequest),
    /// Subscribes to log lines.
    Monitor(MonitorRequest),
    /// Ends a subscription.
    Stop(StopRequest),
    /// Makes the agent leave the cluster and end.
    Leave,
    /// Asks the cluster.
    Query(QueryRequest),
    /// Answers a query that came as an event.
    Respond(RespondRequest),
    /// Gives all members another key to decrypt with.
    InstallKey(KeyRequest),
    /// Makes all members encrypt with a key they have.
    UseKey(KeyRequest),
    /// Takes a key away from all members.
    RemoveKey(KeyRequest),
    /// Asks which keys members have.
    ListKeys,
    /// Asks the agent about itself.
    Stats,
    /// Asks for the network coordinate of a member.
    GetCoordinate(GetCoordinateRequest),
}

impl Request {
    /// Its command.
    pub const fn command(&self) -> Command {
        match self {
            Self::Event(_) => Command::Event,
            Self::ForceLeave(_) => Command::ForceLeave,
            Self::Join(_) => Command::Join,
            Self::Members => Command::Members,
            Self::MembersFiltered(_) => Command::MembersFiltered,
            Self::Tags(_) => Command::Tags,
            Self::Stream(_) => Command::Stream,
            Self::Monitor(_) => Command::Monitor,
            Self::Stop(_) => Command::Stop,
            Self::Leave => Command::Leave,
            Self::Query(_) => Command::Query,
            Self::Respond(_) => Command::Respond,
            Self::InstallKey(_) => Command::InstallKey,
            Self::UseKey(_) => Command::UseKey,
            Self::RemoveKey(_) => Command::RemoveKey,
            Self::ListKeys => Command::ListKeys,
            Self::Stats => Command::Stats,
            Self::GetCoordinate(_) => Command::GetCoordinate,
        }
    }

    /// Appends the body, if it has one.
    pub fn encode_body(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Event(body) => body.encode(writer),
            Self::ForceLeave(body) => body.encode(writer),
            Self::Join(body) => body.encode(writer),
            Self::MembersFiltered(body) => body.encode(writer),
            Self::Tags(body) => body.encode(writer),
            Self::Stream(body) => body.encode(writer),
            Self::Monitor(body) => body.encode(writer),
            Self::Stop(body) => body.encode(writer),
            Self::Query(body) => body.encode(writer),
            Self::Respond(body) => body.encode(writer),
            Self::InstallKey(body) | Self::UseKey(body) | Self::RemoveKey(body) => body.encode(writer),
            Self::GetCoordinate(body) => body.encode(writer),
            Self::Members | Self::Leave | Self::ListKeys | Self::Stats => {}
        }
    }
}

/// The bytes of a response without a body. An empty `error` is success.
pub fn reply(seq: u64, error: impl Into<Text>) -> Vec<u8> {
    let mut out = Vec::new();
    ResponseHeader { seq, error: error.into() }.encode(&mut Writer::new(&mut out, Dialect::RPC));
    out
}

/// The bytes of a response with a body. An empty `error` is success.
pub fn reply_with(seq: u64, error: impl Into<Text>, body: &impl Value) -> Vec<u8> {
    let mut out = reply(seq, error);
    body.encode(&mut Writer::new(&mut out, Dialect::RPC));
    out
}

/// The bytes of a record in the stream that the request `seq` has opened.
pub fn record(seq: u64, body: &impl Value) -> Vec<u8> {
    reply_with(seq, "", body)
}

/// The bytes of a request. `body` is that of the command, already encoded.
pub(crate) fn request(command: Command, seq: u64, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    RequestHeader { command: command.name().into(), seq }.encode(&mut Writer::new(&mut out, Dialect::RPC));
    out.extend_from_slice(body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_by_its_name() {
        for command in Command::ALL {
            assert_eq!(Command::from_name(command.name().as_bytes()), Some(command));
        }
        assert_eq!(Command::from_name(b"Members"), None);
        assert_eq!(Command::from_name(b""), None);
    }

    #[test]
    fn a_failed_join_still_has_its_body() {
        let bytes = reply_with(8, "no", &crate::message::JoinResponse { num: 0 });
        assert_eq!(bytes, b"\x82\xa5Error\xa2no\xa3Seq\x08\x81\xa3Num\x00");
    }
}
