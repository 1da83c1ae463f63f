//! Messages in the notation of the captured files: one explicit line per message, so that a mix-up of two fields in
//! the crate cannot cancel out.

use serde_json::{Value as Json, json};
use serf_rpc::message::*;
use serf_rpc::{Pairs, Request, Text};

/// A message or field in the notation of the captured files.
pub(crate) trait ToJson {
    fn json(&self) -> Json;
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digit = |index| text[index..index + 2].to_owned();
    (0..text.len()).step_by(2).map(|index| u8::from_str_radix(&digit(index), 16).unwrap()).collect()
}

impl ToJson for Text {
    fn json(&self) -> Json {
        match str::from_utf8(self.as_bytes()) {
            Ok(text) => json!(text),
            Err(_) => json!({ "hex": hex(self.as_bytes()) }),
        }
    }
}

impl ToJson for Vec<u8> {
    fn json(&self) -> Json {
        json!(hex(self))
    }
}

impl ToJson for i64 {
    fn json(&self) -> Json {
        json!(self)
    }
}

impl ToJson for Vec<Text> {
    fn json(&self) -> Json {
        self.iter().map(ToJson::json).collect()
    }
}

impl ToJson for Vec<f64> {
    fn json(&self) -> Json {
        json!(self)
    }
}

impl<T: ToJson> ToJson for Option<T> {
    fn json(&self) -> Json {
        self.as_ref().map_or(Json::Null, ToJson::json)
    }
}

impl<V: ToJson> ToJson for Pairs<V> {
    fn json(&self) -> Json {
        self.iter().map(|(key, value)| (key.to_string(), value.json())).collect()
    }
}

macro_rules! objects {
    ($($message:ident: $it:ident => { $($key:literal: $value:expr),* };)*) => {$(
        impl ToJson for $message {
            fn json(&self) -> Json {
                let $it = self;
                json!({ $($key: $value),* })
            }
        }
    )*};
}

objects! {
    RequestHeader: it => { "Command": it.command.json(), "Seq": it.seq };
    ResponseHeader: it => { "Error": it.error.json(), "Seq": it.seq };
    HandshakeRequest: it => { "Version": it.version };
    AuthRequest: it => { "AuthKey": it.auth_key.json() };
    EventRequest: it => { "Name": it.name.json(), "Payload": it.payload.json(), "Coalesce": it.coalesce };
    ForceLeaveRequest: it => { "Node": it.node.json(), "Prune": it.prune };
    JoinRequest: it => { "Existing": it.existing.json(), "Replay": it.replay };
    JoinResponse: it => { "Num": it.num };
    MembersFilteredRequest: it => {
        "Tags": it.tags.json(), "Status": it.status.json(), "Name": it.name.json()
    };
    MembersResponse: it => { "Members": members(&it.members) };
    Member: it => {
        "Name": it.name.json(), "Addr": it.addr.json(), "Port": it.port, "Tags": it.tags.json(),
        "Status": it.status.json(), "ProtocolMin": it.protocol_min, "ProtocolMax": it.protocol_max,
        "ProtocolCur": it.protocol_cur, "DelegateMin": it.delegate_min, "DelegateMax": it.delegate_max,
        "DelegateCur": it.delegate_cur
    };
    TagsRequest: it => { "Tags": it.tags.json(), "DeleteTags": it.delete_tags.json() };
    GetCoordinateRequest: it => { "Node": it.node.json() };
    GetCoordinateResponse: it => { "Coord": it.coord.json(), "Ok": it.ok };
    Coordinate: it => {
        "Vec": it.vec.json(), "Error": it.error, "Adjustment": it.adjustment, "Height": it.height
    };
    KeyRequest: it => { "Key": it.key.json() };
    KeyResponse: it => {
        "Keys": it.keys.json(), "Messages": it.messages.json(), "NumErr": it.num_err,
        "NumNodes": it.num_nodes, "NumResp": it.num_resp
    };
    StreamRequest: it => { "Type": it.kind.json() };
    MemberEventRecord: it => { "Event": it.event.json(), "Members": members(&it.members) };
    UserEventRecord: it => {
        "Event": it.event.json(), "LTime": it.ltime, "Name": it.name.json(),
        "Payload": it.payload.json(), "Coalesce": it.coalesce
    };
    QueryEventRecord: it => {
        "Event": it.event.json(), "ID": it.id, "LTime": it.ltime, "Name": it.name.json(),
        "Payload": it.payload.json()
    };
    MonitorRequest: it => { "LogLevel": it.log_level.json() };
    LogRecord: it => { "Log": it.log.json() };
    QueryRequest: it => {
        "FilterNodes": it.filter_nodes.json(), "FilterTags": it.filter_tags.json(),
        "RequestAck": it.request_ack, "RelayFactor": it.relay_factor, "Timeout": it.timeout,
        "Name": it.name.json(), "Payload": it.payload.json()
    };
    QueryRecord: it => { "Type": it.kind.json(), "From": it.from.json(), "Payload": it.payload.json() };
    RespondRequest: it => { "ID": it.id, "Payload": it.payload.json() };
    StopRequest: it => { "Stop": it.stop };
}

fn members(members: &[Member]) -> Json {
    members.iter().map(ToJson::json).collect()
}

impl ToJson for EventRecord {
    fn json(&self) -> Json {
        match self {
            Self::Members(record) => record.json(),
            Self::User(record) => record.json(),
            Self::Query(record) => record.json(),
        }
    }
}

/// The body; null for a command without one.
impl ToJson for Request {
    fn json(&self) -> Json {
        match self {
            Self::Event(body) => body.json(),
            Self::ForceLeave(body) => body.json(),
            Self::Join(body) => body.json(),
            Self::MembersFiltered(body) => body.json(),
            Self::Tags(body) => body.json(),
            Self::Stream(body) => body.json(),
            Self::Monitor(body) => body.json(),
            Self::Stop(body) => body.json(),
            Self::Query(body) => body.json(),
            Self::Respond(body) => body.json(),
            Self::InstallKey(body) | Self::UseKey(body) | Self::RemoveKey(body) => body.json(),
            Self::GetCoordinate(body) => body.json(),
            Self::Members | Self::Leave | Self::ListKeys | Self::Stats => Json::Null,
        }
    }
}
