//! Who may fill how much of a datagram, where more than one has something to say: all of them fairly, so that the news
//! of a thousand members hold up no event, nor a flood of events the news of members. The reference lets news of members
//! go first, always, and what is said meanwhile waits until nothing is left of them.

/// What waits to be gossiped, each message counted with what it costs besides its own bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Bytes of all of it.
    pub bytes: usize,
    /// Bytes of the longest message among those that are next.
    pub next: usize,
}

impl Backlog {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_add(other.bytes), next: self.next.max(other.next) }
    }
}

/// Divides datagrams among `N`: what all have to say is said if there is room; otherwise each gets an equal part, and
/// what one leaves, the others. A next message that is longer than a part gets room nevertheless, one in a datagram; if it
/// is longer than two thirds of the datagram, in every second one only.
#[derive(Debug, Clone, Copy)]
pub struct Shares<const N: usize> {
    /// For how many datagrams each has had no room for its next message.
    waited: [u32; N],
}

impl<const N: usize> Default for Shares<N> {
    fn default() -> Self {
        Self { waited: [0; N] }
    }
}

impl<const N: usize> Shares<N> {
    /// Divides `limit` bytes among those for whom this much waits, the most important first. `take` is told who may fill
    /// how much, in that order, and tells how much of it was filled.
    pub fn divide(
        &mut self,
        mut limit: usize,
        waiting: [Backlog; N],
        mut take: impl FnMut(usize, usize) -> usize,
    ) {
        let speaks = |who: &usize| waiting[*who].bytes > 0;
        let mut left = (0..N).filter(speaks).count();
        let needs_more = |who: &usize| {
            let next = waiting[*who].next;
            let now = next <= limit / 3 * 2 || self.waited[*who] > 0;
            speaks(who) && next > limit / left && next <= limit && now
        };
        let first = (0..N).filter(needs_more).max_by_key(|who| self.waited[*who]);
        for who in (0..N).filter(speaks) {
            let part = limit / left;
            left -= 1;
            let due = |other: usize| {
                let Backlog { bytes, next } = waiting[other];
                bytes.min(if Some(other) == first { part.max(next) } else { part })
            };
            let room = limit.saturating_sub((who + 1..N).map(due).sum());
            let next = waiting[who].next;
            let room = if Some(who) == first { room.max(next).min(limit) } else { room };
            self.waited[who] = if next > room { self.waited[who].saturating_add(1) } else { 0 };
            limit = limit.saturating_sub(take(who, room));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    /// What each gets of a datagram if it fills whatever it may, with messages of one length.
    fn divided<const N: usize>(shares: &mut Shares<N>, limit: usize, waiting: [Backlog; N]) -> [usize; N] {
        let mut got = [0; N];
        shares.divide(limit, waiting, |who, room| {
            let Backlog { bytes, next } = waiting[who];
            got[who] = bytes.min(room) / next * next;
            got[who]
        });
        assert!(got.iter().sum::<usize>() <= limit);
        got
    }

    fn backlog(bytes: usize, next: usize) -> Backlog {
        Backlog { bytes, next }
    }

    #[test]
    fn where_there_is_room_all_is_said_in_the_usual_order() {
        let mut order = vec![];
        let mut shares = Shares::default();
        for _ in 0..3 {
            shares.divide(100, [backlog(50, 10), Backlog::default(), backlog(50, 50)], |who, room| {
                order.push((who, room));
                50
            });
        }
        assert_eq!(order, [(0, 50), (2, 50)].repeat(3));
    }

    #[test]
    fn where_there_is_not_each_gets_an_equal_part() {
        let (mut two, mut three) = (Shares::default(), Shares::default());
        for _ in 0..6 {
            assert_eq!(divided(&mut two, 1000, [backlog(9000, 10); 2]), [500; 2]);
            assert_eq!(divided(&mut three, 999, [backlog(9000, 1); 3]), [333; 3]);
        }
    }

    #[test]
    fn what_one_leaves_the_others_get() {
        let mut shares = Shares::default();
        for _ in 0..6 {
            assert_eq!(divided(&mut shares, 1000, [backlog(9000, 10), backlog(100, 10)]), [900, 100]);
            assert_eq!(divided(&mut shares, 1000, [backlog(9000, 10), Backlog::default()]), [1000, 0]);
        }
    }

    #[test]
    fn a_message_longer_than_a_part_gets_its_turn() {
        let mut shares = Shares::default();
        let waiting = [backlog(9000, 10), backlog(900, 900), backlog(9000, 10)];
        let got: Vec<_> = (0..4).map(|_| divided(&mut shares, 1000, waiting)).collect();
        assert_eq!(got, [[330, 0, 670], [0, 900, 100], [330, 0, 670], [0, 900, 100]]);
        let waiting = [backlog(9000, 10), backlog(6000, 600), backlog(9000, 10)];
        let got: Vec<_> = (0..4).map(|_| divided(&mut shares, 1000, waiting)).collect();
        assert_eq!(got, [[60, 600, 340]; 4]);
        // Those who all have long ones speak one after another.
        let mut shares = Shares::default();
        let spoke: Vec<_> = (0..7)
            .map(|_| divided(&mut shares, 1000, [backlog(9000, 900); 3]).iter().position(|got| *got > 0))
            .collect();
        assert_eq!(spoke[1..4].iter().flatten().sum::<usize>(), 3, "{spoke:?}");
        assert_eq!(spoke[1..4], spoke[4..], "{spoke:?}");
        // What no datagram holds holds up nobody.
        let mut shares = Shares::default();
        for _ in 0..4 {
            assert_eq!(divided(&mut shares, 1000, [backlog(9000, 10), backlog(5000, 5000)]), [500, 0]);
        }
    }
}
