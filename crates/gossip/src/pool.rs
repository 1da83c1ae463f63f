//! Equal values of many machines in one process, held in common.

use alloc::sync::Arc;

use crate::Identity;

/// Keeps one of each value. It is for an owner of many machines, such as a simulator, whose nodes all learn the same.
/// It must put nothing in a value's place but an equal one.
pub trait Pool {
    /// Puts the one that is kept in the place of what a node announced.
    fn identity(&mut self, own: &mut Arc<Identity>);

    /// Puts the one that is kept in the place of a message or a payload.
    fn bytes(&mut self, own: &mut Arc<[u8]>);
}
