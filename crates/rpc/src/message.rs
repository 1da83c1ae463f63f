//! The messages of the protocol, one struct each, in the order of rpc.md §5 and §6.
//!
//! A field that is nil in some captured message is an `Option`; `None` is written as nil.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use serf_wire::Malformed;
use serf_wire::msgpack::{Reader, Writer};

use crate::value::{Pairs, Text, Value, records};

records! {
    /// What every request begins with.
    RequestHeader {
        /// The name of the command.
        command: Text = "Command",
        /// A number of the client's choice that comes back with everything the request causes.
        seq: u64 = "Seq",
    }

    /// What every response and every record of a stream begins with.
    ResponseHeader {
        /// The `seq` of the request this belongs to.
        seq: u64 = "Seq",
        /// What went wrong; empty for success.
        error: Text = "Error",
    }

    /// `handshake`: the first request on a connection.
    HandshakeRequest {
        /// The version of the protocol; there is only 1.
        version: i32 = "Version",
    }

    /// `auth`: shows the agent's `rpc_auth` token.
    AuthRequest {
        /// The token.
        auth_key: Text = "AuthKey",
    }

    /// `event`: fires a user event.
    EventRequest {
        /// The name of the event.
        name: Text = "Name",
        /// Its payload.
        payload: Option<Vec<u8>> = "Payload",
        /// Whether receivers may drop it for a newer one of the same name.
        coalesce: bool = "Coalesce",
    }

    /// `force-leave`: makes a failed member a member that has left.
    ForceLeaveRequest {
        /// The name of the member.
        node: Text = "Node",
        /// Whether to forget it altogether.
        prune: bool = "Prune",
    }

    /// `join`: contacts other agents.
    JoinRequest {
        /// Their addresses.
        existing: Option<Vec<Text>> = "Existing",
        /// Whether to process user events from before the join.
        replay: bool = "Replay",
    }

    /// The answer to `join`. It follows an error, too.
    JoinResponse {
        /// How many nodes have been contacted.
        num: i32 = "Num",
    }

    /// `members-filtered`: asks for the members that match every one of some regular expressions.
    ///
    /// Each expression stands between `^` and `$`, textually: `a|b` is `^a|b$`.
    MembersFilteredRequest {
        /// Expressions for values of tags. A missing tag has the empty value.
        tags: Option<Pairs<Text>> = "Tags",
        /// An expression for the status; empty for any.
        status: Text = "Status",
        /// An expression for the name; empty for any.
        name: Text = "Name",
    }

    /// The answer to `members` and `members-filtered`.
    MembersResponse {
        /// The members, in no particular order.
        members: Vec<Member> = "Members",
    }

    /// A member as the agent knows it.
    Member {
        /// Its name.
        name: Text = "Name",
        /// Its IP address in network order, 4 or 16 bytes; see [`Member::ip`].
        addr: Option<Vec<u8>> = "Addr",
        /// Its gossip port.
        port: u16 = "Port",
        /// Its tags.
        tags: Pairs<Text> = "Tags",
        /// `none`, `alive`, `leaving`, `left` or `failed`.
        status: Text = "Status",
        /// The lowest gossip protocol it understands.
        protocol_min: u8 = "ProtocolMin",
        /// The highest gossip protocol it understands.
        protocol_max: u8 = "ProtocolMax",
        /// The gossip protocol it speaks.
        protocol_cur: u8 = "ProtocolCur",
        /// The lowest Serf protocol it understands.
        delegate_min: u8 = "DelegateMin",
        /// The highest Serf protocol it understands.
        delegate_max: u8 = "DelegateMax",
        /// The Serf protocol it speaks.
        delegate_cur: u8 = "DelegateCur",
    }

    /// `tags`: changes the tags of the agent. A tag that is in both fields ends up set.
    TagsRequest {
        /// Tags to set.
        tags: Option<Pairs<Text>> = "Tags",
        /// Names of tags to delete.
        delete_tags: Option<Vec<Text>> = "DeleteTags",
    }

    /// `get-coordinate`: asks for the network coordinate of a member.
    GetCoordinateRequest {
        /// The name of the member.
        node: Text = "Node",
    }

    /// The answer to `get-coordinate`.
    GetCoordinateResponse {
        /// The coordinate; all zero if there is none.
        coord: Coordinate = "Coord",
        /// Whether there is one.
        ok: bool = "Ok",
    }

    /// A network coordinate.
    Coordinate {
        /// Where the node is, in seconds along each axis.
        vec: Option<Vec<f64>> = "Vec",
        /// How far off that may be.
        error: f64 = "Error",
        /// What to add to distances, from latest measurements.
        adjustment: f64 = "Adjustment",
        /// The part of every distance that is the node's own.
        height: f64 = "Height",
    }

    /// `install-key`, `use-key` and `remove-key`.
    KeyRequest {
        /// The key in base64.
        key: Text = "Key",
    }

    /// The answer to the four key commands. It follows an error, too.
    KeyResponse {
        /// For `list-keys` the number of members that hold a key, by its base64 form; otherwise nil.
        keys: Option<Pairs<i64>> = "Keys",
        /// What members had to say, by name.
        messages: Option<Pairs<Text>> = "Messages",
        /// How many members reported failure.
        num_err: i64 = "NumErr",
        /// How many members were asked.
        num_nodes: i64 = "NumNodes",
        /// How many have answered.
        num_resp: i64 = "NumResp",
    }

    /// `stream`: subscribes to events.
    StreamRequest {
        /// A list of filters with commas between; empty for all events.
        kind: Text = "Type",
    }

    /// A record of an event stream: something happened to members.
    MemberEventRecord {
        /// `member-join`, `member-leave`, `member-failed`, `member-update` or `member-reap`.
        event: Text = "Event",
        /// The members, at least one.
        members: Vec<Member> = "Members",
    }

    /// A record of an event stream: a user event.
    UserEventRecord {
        /// `user`.
        event: Text = "Event",
        /// The event's Lamport time.
        ltime: u64 = "LTime",
        /// Its name.
        name: Text = "Name",
        /// Its payload.
        payload: Option<Vec<u8>> = "Payload",
        /// Whether it may be dropped for a newer one of the same name.
        coalesce: bool = "Coalesce",
    }

    /// A record of an event stream: a query that wants an answer.
    QueryEventRecord {
        /// `query`.
        event: Text = "Event",
        /// What `respond` calls the query, on this connection only.
        id: u64 = "ID",
        /// The query's Lamport time.
        ltime: u64 = "LTime",
        /// Its name.
        name: Text = "Name",
        /// Its payload.
        payload: Option<Vec<u8>> = "Payload",
    }

    /// `monitor`: subscribes to log lines.
    MonitorRequest {
        /// The lowest level of interest.
        log_level: Text = "LogLevel",
    }

    /// A record of a `monitor` stream.
    LogRecord {
        /// One log entry without its newline.
        log: Text = "Log",
    }

    /// `query`: asks the cluster and streams what comes back.
    QueryRequest {
        /// The names of the nodes to ask; nil for all.
        filter_nodes: Option<Vec<Text>> = "FilterNodes",
        /// Regular expressions for values of tags, not anchored.
        filter_tags: Option<Pairs<Text>> = "FilterTags",
        /// Whether nodes are to acknowledge the query.
        request_ack: bool = "RequestAck",
        /// How many other nodes are to relay each response.
        relay_factor: u8 = "RelayFactor",
        /// In nanoseconds; 0 for the default.
        timeout: i64 = "Timeout",
        /// The name of the query.
        name: Text = "Name",
        /// Its payload.
        payload: Option<Vec<u8>> = "Payload",
    }

    /// A record of a `query` stream.
    QueryRecord {
        /// `ack`, `response`, or `done` for the last one.
        kind: Text = "Type",
        /// The node; empty for `done`.
        from: Text = "From",
        /// The response.
        payload: Option<Vec<u8>> = "Payload",
    }

    /// `respond`: answers a query that came as a [`QueryEventRecord`].
    RespondRequest {
        /// The `id` of that record.
        id: u64 = "ID",
        /// The response.
        payload: Option<Vec<u8>> = "Payload",
    }

    /// `stop`: ends a stream or a monitor.
    StopRequest {
        /// The `seq` of the request that opened it.
        stop: u64 = "Stop",
    }
}

/// The answer to `stats`: sections of names with values, all of them strings.
pub type StatsResponse = Pairs<Pairs<Text>>;

impl Member {
    /// The address as an address. An IPv4 address that came in its 16-byte form is one of 4 bytes again.
    ///
    /// `None` if it has neither 4 nor 16 bytes.
    pub fn ip(&self) -> Option<IpAddr> {
        let bytes = self.addr.as_deref()?;
        if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
            return Some(IpAddr::from(octets));
        }
        let octets = <[u8; 16]>::try_from(bytes).ok()?;
        Some(Ipv6Addr::from(octets).to_canonical())
    }

    /// Sets the address, in the shortest form.
    pub fn set_ip(&mut self, ip: IpAddr) {
        self.addr = Some(match ip.to_canonical() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        });
    }
}

impl Coordinate {
    /// The estimated round trip time to a node at the other coordinate, cut off to whole nanoseconds.
    ///
    /// `None` if the two have not the same number of dimensions, or their numbers make no distance.
    pub fn distance_to(&self, other: &Self) -> Option<Duration> {
        let (ours, theirs) = (self.vec.as_deref().unwrap_or(&[]), other.vec.as_deref().unwrap_or(&[]));
        if ours.len() != theirs.len() {
            return None;
        }
        let squares = ours.iter().zip(theirs).map(|(a, b)| (a - b) * (a - b));
        // From zero on and in this order, as everybody adds it up: then all have the same bits.
        let plain = squares.fold(0.0, |sum, square| sum + square).sqrt() + self.height + other.height;
        let adjusted = plain + self.adjustment + other.adjustment;
        let seconds = if adjusted > 0.0 { adjusted } else { plain };
        let nanos = seconds * 1e9;
        (0.0..u64::MAX as f64).contains(&nanos).then(|| Duration::from_nanos(nanos as u64))
    }
}

/// Any record of an event stream.
#[derive(Debug, Clone, PartialEq)]
pub enum EventRecord {
    /// Something happened to members.
    Members(MemberEventRecord),
    /// A user event.
    User(UserEventRecord),
    /// A query that wants an answer.
    Query(QueryEventRecord),
}

/// Which of the three a record is stands in its `Event`, and that may come last.
impl Value for EventRecord {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut event = Text::default();
        let mut peek = *reader;
        peek.record(&["Event"], |reader, _| {
            event = Value::decode(reader)?;
            Ok(())
        })?;
        Ok(match event.as_bytes() {
            b"user" => Self::User(Value::decode(reader)?),
            b"query" => Self::Query(Value::decode(reader)?),
            _ => Self::Members(Value::decode(reader)?),
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Members(record) => record.encode(writer),
            Self::User(record) => record.encode(writer),
            Self::Query(record) => record.encode(writer),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn an_address_is_4_or_16_bytes() {
        let with = |addr: &[u8]| Member { addr: Some(addr.to_vec()), ..Member::default() }.ip();
        let v4 = IpAddr::from(Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(with(&[10, 0, 0, 1]), Some(v4));
        assert_eq!(with(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1]), Some(v4));
        assert_eq!(with(&Ipv6Addr::LOCALHOST.octets()), Some(IpAddr::from(Ipv6Addr::LOCALHOST)));
        assert_eq!(with(&[10, 0]), None);
        let mut member = Member::default();
        assert_eq!(member.ip(), None);
        member.set_ip(IpAddr::from(Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped()));
        assert_eq!(member.addr.as_deref(), Some(&[10, 0, 0, 1][..]));
    }

    #[test]
    fn a_record_may_be_an_array_in_declaration_order() {
        let bytes = b"\x93\xa6deploy\xc4\x02v1\xc3";
        assert_eq!(
            EventRequest::decode(&mut Reader::new(bytes)),
            Ok(EventRequest { name: "deploy".into(), payload: Some(b"v1".to_vec()), coalesce: true })
        );
    }

    #[test]
    fn the_kind_of_an_event_may_come_last() {
        let bytes = b"\x82\xa5LTime\x05\xa5Event\xa4user";
        let record = EventRecord::decode(&mut Reader::new(bytes)).unwrap();
        assert_eq!(
            record,
            EventRecord::User(UserEventRecord {
                event: "user".into(),
                ltime: 5,
                ..UserEventRecord::default()
            })
        );
    }
}
