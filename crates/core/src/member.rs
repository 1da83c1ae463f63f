//! A member as seen from outside.

use alloc::sync::Arc;
use core::fmt;

use serf_gossip::{Address, Name};

use crate::tags::{self, Tags};

/// What Serf makes of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Status {
    /// Not tracked: a member that somebody claims to know.
    #[default]
    None = 0,
    /// It is there.
    Alive = 1,
    /// It said that it will leave, and is still there.
    Leaving = 2,
    /// It left, or was declared to have left.
    Left = 3,
    /// It went without a word.
    Failed = 4,
}

impl Status {
    /// Its name, as operators know it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Alive => "alive",
            Self::Leaving => "leaving",
            Self::Left => "left",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A member, as it was when this was made. Cloning is cheap: nothing is copied but references.
///
/// In the machines names and addresses are what is on the wire; a program may have others made of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<I = Name, A = Address> {
    /// Its name.
    pub name: I,
    /// Where it is reached.
    pub addr: A,
    /// Its tags as they came; see [`Member::tags`].
    pub meta: Arc<[u8]>,
    /// What we make of it.
    pub status: Status,
    /// What it speaks.
    pub versions: Versions,
}

impl<I, A> Member<I, A> {
    /// Its tags. Decoded at each call, since most readers want few members' tags; of tags that cannot be read to
    /// their end, those before the fault.
    #[must_use]
    pub fn tags(&self) -> Tags {
        tags::decode(&self.meta)
    }

    /// The same member with another name and address made of its own.
    ///
    /// # Errors
    /// What either of the two says.
    pub fn try_map<J, B, E>(
        self,
        name: impl FnOnce(I) -> Result<J, E>,
        addr: impl FnOnce(A) -> Result<B, E>,
    ) -> Result<Member<J, B>, E> {
        let Self { name: i, addr: a, meta, status, versions } = self;
        Ok(Member { name: name(i)?, addr: addr(a)?, meta, status, versions })
    }
}

/// The protocol versions of a member: those it can speak, and the one it does speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Versions {
    /// Oldest version of the gossip protocol.
    pub protocol_min: u8,
    /// Newest version of the gossip protocol.
    pub protocol_max: u8,
    /// Version of the gossip protocol spoken.
    pub protocol_cur: u8,
    /// Oldest version of Serf's protocol.
    pub delegate_min: u8,
    /// Newest version of Serf's protocol.
    pub delegate_max: u8,
    /// Version of Serf's protocol spoken.
    pub delegate_cur: u8,
}

impl From<[u8; 6]> for Versions {
    fn from(
        [protocol_min, protocol_max, protocol_cur, delegate_min, delegate_max, delegate_cur]: [u8; 6],
    ) -> Self {
        Self { protocol_min, protocol_max, protocol_cur, delegate_min, delegate_max, delegate_cur }
    }
}
