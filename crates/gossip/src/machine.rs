//! The boundary between a machine and the world: two calls, `handle` and `poll`.
//!
//! A driver runs this loop, and nothing else:
//!
//! 1. wait for a datagram, bytes of a stream, a command, or the deadline that `poll` told last;
//! 2. read the clock once and hand over what came with [`Machine::handle`];
//! 3. call [`Machine::poll`] until it answers [`Output::Timeout`], doing what each answer asks;
//! 4. go to 1.
//!
//! What is *said* on streams is decided here, not in the driver: it dials, moves bytes, and reports.

use alloc::string::String;
use alloc::vec::Vec;

use crate::{Address, Instant, Name};

/// A state machine that a driver can run.
pub trait Machine {
    /// What its owner may ask of it.
    type Command;
    /// What it tells its owner.
    type Event;

    /// Takes one input. `now` never goes back between calls.
    fn handle(&mut self, now: Instant, input: Input<'_, Self::Command>);

    /// The next thing to do for it. [`Output::Timeout`] ends the drain.
    fn poll(&mut self) -> Output<Self::Event>;

    /// Gives a sent datagram's buffer back, to save the next one an allocation. Optional.
    fn recycle(&mut self, _buffer: Vec<u8>) {}
}

/// Everything the world can tell a machine.
#[derive(Debug)]
pub enum Input<'a, C> {
    /// The deadline told by the last [`Output::Timeout`] is reached.
    Timeout,
    /// A datagram came. Its bytes are decrypted in place.
    Datagram {
        /// The socket address it came from.
        from: Address,
        /// The whole datagram.
        bytes: &'a mut [u8],
    },
    /// Something happened on a stream.
    Stream {
        /// Which one.
        id: StreamId,
        /// What happened.
        event: StreamEvent<'a>,
    },
    /// The owner asks for something.
    Command(C),
}

/// Everything a machine can ask of the world.
#[derive(Debug)]
pub enum Output<E> {
    /// Send this datagram from the bound gossip socket.
    Datagram(Transmit),
    /// Do this on a stream.
    Stream {
        /// Which one.
        id: StreamId,
        /// What to do.
        action: StreamAction,
    },
    /// Tell the owner.
    Event(E),
    /// Nothing more to do now. Call again with [`Input::Timeout`] at this time, if one is given.
    Timeout(Option<Instant>, Reason),
}

/// One datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: Address,
    /// The name of the node meant, where it is known: for transports that look at names.
    pub node: Option<Name>,
    /// The whole datagram.
    pub bytes: Vec<u8>,
}

/// A stream's number. Streams that the machine dials are even, streams that the driver accepts are odd:
/// each side numbers its own, upwards, and never again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// What can happen on a stream.
#[derive(Debug)]
pub enum StreamEvent<'a> {
    /// A peer connected to the gossip port. The driver chose the (odd) number.
    Accepted {
        /// Where from.
        from: Address,
    },
    /// A dialled stream is up.
    Connected,
    /// Bytes came.
    Data(&'a [u8]),
    /// Everything written so far has been handed to the network.
    Written,
    /// The peer has ended its side; no more bytes come.
    Ended,
    /// The stream could not be dialled, or broke. It exists no more.
    Failed(String),
}

/// What a machine wants done with a stream. Every stream ends with `Close` or `Abort`, or with
/// [`StreamEvent::Failed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamAction {
    /// Connect to this address and report [`StreamEvent::Connected`] or [`StreamEvent::Failed`].
    Dial {
        /// Where to.
        to: Address,
        /// The name of the node meant, where it is known.
        node: Option<Name>,
    },
    /// Write these bytes, then report [`StreamEvent::Written`].
    Write(Vec<u8>),
    /// Write out what is pending, then close. No more events are wanted.
    Close,
    /// Close at once. No more events are wanted.
    Abort,
}

/// Why a machine wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing is due, ever, until something comes from outside.
    Idle,
    /// A probe round begins.
    Probe,
    /// A probe, or the relaying of one, runs out of time.
    Ack,
    /// A suspected node is to be declared dead.
    Suspicion,
    /// Broadcasts wait for the next gossip round.
    Gossip,
    /// A full state exchange with a random member.
    PushPull,
    /// A stream has taken too long.
    Stream,
    /// A command has taken too long.
    Command,
    /// Queues are measured and trimmed.
    Queue,
    /// Members that have been gone long enough are forgotten.
    Reap,
    /// A failed member is tried again.
    Reconnect,
    /// Something is to be written down for a restart.
    Record,
}
