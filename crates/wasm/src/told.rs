//! What nodes tell, as JavaScript reads it. Nodes are numbers here, from 0.

use serde::Serialize;
use serf_sim::At;

/// Something that a node told its owner.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Told {
    /// When, in simulated milliseconds.
    pub(crate) time: f64,
    /// Which node.
    pub(crate) node: At,
    #[serde(flatten)]
    pub(crate) what: What,
}

/// What it told. Names and fields as in the agent's own JSON, where it has them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum What {
    MemberJoin {
        members: Vec<At>,
    },
    MemberLeave {
        members: Vec<At>,
    },
    MemberFailed {
        members: Vec<At>,
    },
    MemberUpdate {
        members: Vec<At>,
    },
    MemberReap {
        members: Vec<At>,
    },
    User {
        name: String,
        ltime: u64,
        payload: String,
    },
    Query {
        name: String,
        ltime: u64,
        source: Option<At>,
        payload: String,
    },
    /// To a query of its own.
    Answer {
        query: u64,
        from: Option<At>,
        payload: String,
    },
    QueryEnded {
        query: u64,
        why: &'static str,
    },
    /// A join has ended: how many were contacted, and why the others were not.
    Joined {
        contacted: usize,
        failed: Vec<String>,
    },
    /// It has left, and its process has ended.
    Left,
    /// Something that it was to do, it did not do.
    Refused {
        why: String,
    },
}
