//! The life of a node, as it sees it itself.

use core::fmt;

/// Where a node is in its life. It only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum NodeState {
    /// It takes part.
    #[default]
    Alive = 0,
    /// It is saying goodbye.
    Leaving = 1,
    /// It has said goodbye. It still answers peers.
    Left = 2,
    /// It takes nothing in any more.
    Shutdown = 3,
}

impl NodeState {
    /// Its name, as operators know it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Leaving => "leaving",
            Self::Left => "left",
            Self::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
