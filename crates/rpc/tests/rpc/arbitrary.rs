//! What must hold for any bytes that a client may send. The property tests call this, and so does the fuzz target; on a
//! violation it panics.

use serf_rpc::{CloseReason, Connection, Step};

/// Everything a connection makes of `pieces`, and of the end of the stream after them.
pub(crate) fn run<'p>(
    token: &str,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> (Vec<Step>, Option<CloseReason>) {
    let mut connection = Connection::new(token);
    let mut steps = vec![];
    for piece in pieces {
        connection.receive(piece);
        steps.extend(std::iter::from_fn(|| connection.next_step()));
    }
    (steps, connection.end())
}

/// In pieces of any sizes, given one after the other and over again, they are what they are as a whole; and only who has
/// been admitted is served.
pub(crate) fn conversation(token: &str, bytes: &[u8], sizes: &[usize]) {
    let whole = run(token, [bytes]);
    let mut rest = bytes;
    let pieces = sizes.iter().cycle().map_while(|&size| {
        let (piece, after) = rest.split_at(size.clamp(1, rest.len().max(1)).min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    });
    assert_eq!(run(token, pieces), whole, "in pieces of {sizes:?}");

    let mut connection = Connection::new(token);
    connection.receive(bytes);
    while let Some(step) = connection.next_step() {
        assert!(connection.is_admitted() || !matches!(step, Step::Request { .. }), "a stranger is served");
    }
}
