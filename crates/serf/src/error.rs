//! What can go wrong, and what that means.

use serf_gossip::{Address, Name};

use crate::driver::Closed;
use crate::identity::{InvalidAddress, InvalidIdentity};
use crate::join::JoinFailures;
use crate::runtime::NoRuntime;
use crate::snapshot::SnapshotError;
use crate::transport::BindError;
use crate::transport::advertise::AdvertiseError;

/// Why a node did not start. Nothing is left of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] serf_core::ConfigError),
    /// The node's own name is none of the node's [type](crate::Identity).
    #[error("node name '{name}': {why}")]
    Identity {
        /// The name.
        name: Name,
        /// Why.
        why: InvalidIdentity,
    },
    /// What others are told is no address of the node's [type](crate::NodeAddress).
    #[error("address {address}: {why}")]
    Address {
        /// The address.
        address: Address,
        /// Why.
        why: InvalidAddress,
    },
    /// The snapshot file cannot be used.
    #[error("Failed to setup snapshot: {0}")]
    Snapshot(#[from] SnapshotError),
    /// The sockets could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// There is no address to tell others.
    #[error("failed to get advertise address: {0}")]
    Advertise(#[from] AdvertiseError),
    /// Nothing to run on.
    #[error(transparent)]
    Runtime(#[from] NoRuntime),
    /// The system has no randomness for us.
    #[error("no randomness from the system: {0}")]
    Randomness(String),
}

/// Why something that was asked of a [`crate::Serf`] was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The node is gone. Whether what was asked still took effect is unknown.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The node says why; each reason tells what became of the request.
    #[error(transparent)]
    Failed(#[from] serf_core::Failure),
    /// Nobody was contacted by a join. We are where we were.
    #[error(transparent)]
    NotJoined(#[from] JoinFailures),
    /// The node has no coordinate; see [`crate::Config::disable_coordinates`].
    #[error("Coordinates are disabled")]
    CoordinatesDisabled,
}

/// Why something that was asked of a [`crate::Membership`] was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// The node is gone. Whether what was asked still took effect is unknown.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The node says why; each reason tells what became of the request.
    #[error(transparent)]
    Failed(#[from] serf_gossip::Failure),
    /// Nobody was contacted by a join. We are where we were.
    #[error(transparent)]
    NotJoined(#[from] JoinFailures),
}
