//! Who is connected. When all seats are taken, whoever has waited longest without a request has to go for a newcomer: so
//! connections that are held and not used keep nobody out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// See the module's text. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Crowd {
    table: Arc<Mutex<Table>>,
    seats_max: usize,
}

#[derive(Debug, Default)]
struct Table {
    seats: BTreeMap<u64, Occupant>,
    /// Counts what happens: numbers of connections, and the order in which they began to wait.
    clock: u64,
}

#[derive(Debug)]
struct Occupant {
    /// Since when it has waited for a request, or its client for nothing any more. None: it is being served.
    idle_since: Option<u64>,
    /// Dropped to make it go.
    _stay: oneshot::Sender<()>,
}

/// A connection's place, as long as this lives.
#[derive(Debug)]
pub(super) struct Seat {
    crowd: Crowd,
    number: u64,
}

/// Who is being served is not asked to go, as long as this lives.
#[derive(Debug)]
pub(super) struct Busy(Arc<Seat>);

/// What a newcomer gets.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) seat: Arc<Seat>,
    /// Ends when it has to go.
    pub(super) told_to_go: oneshot::Receiver<()>,
    /// Somebody else had to.
    pub(super) made_room: bool,
}

impl Crowd {
    pub(super) fn new(seats_max: usize) -> Self {
        Self { table: Arc::default(), seats_max }
    }

    /// A seat; none if everybody is being served.
    pub(super) fn admit(&self) -> Option<Admission> {
        let mut table = self.table();
        let made_room = table.seats.len() >= self.seats_max;
        if made_room {
            let waiting = |(number, it): (&u64, &Occupant)| it.idle_since.map(|since| (since, *number));
            let (_, longest) = table.seats.iter().filter_map(waiting).min()?;
            table.seats.remove(&longest);
        }
        table.clock += 1;
        let number = table.clock;
        let (stay, told_to_go) = oneshot::channel();
        table.seats.insert(number, Occupant { idle_since: Some(number), _stay: stay });
        Some(Admission { seat: Arc::new(Seat { crowd: self.clone(), number }), told_to_go, made_room })
    }

    /// Nothing is ever left half done under this lock, so that a panic elsewhere does not matter to it.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// It has sent a whole request.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        if let Some(occupant) = self.crowd.table().seats.get_mut(&self.number) {
            occupant.idle_since = None;
        }
        Busy(self.clone())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.crowd.table().seats.remove(&self.number);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut table = self.0.crowd.table();
        table.clock += 1;
        let now = table.clock;
        if let Some(occupant) = table.seats.get_mut(&self.0.number) {
            occupant.idle_since = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_there(it: &mut Admission) -> bool {
        it.told_to_go.try_recv() == Err(oneshot::error::TryRecvError::Empty)
    }

    #[test]
    fn who_has_waited_longest_makes_room_and_who_is_served_stays() {
        let crowd = Crowd::new(3);
        let mut all: Vec<Admission> = (0..3).map(|_| crowd.admit().expect("room")).collect();
        let served = all[0].seat.busy();
        let mut fourth = crowd.admit().expect("the second goes");
        assert!(fourth.made_room);
        assert_eq!(all.iter_mut().map(is_there).collect::<Vec<_>>(), [true, false, true]);
        drop(served);
        // The first has been served since the third came, so that one has waited longer.
        let fifth = crowd.admit().expect("the third goes");
        assert_eq!(all.iter_mut().map(is_there).collect::<Vec<_>>(), [true, false, false]);

        let everybody = [all[0].seat.busy(), fourth.seat.busy(), fifth.seat.busy()];
        assert!(crowd.admit().is_none(), "all are being served");
        drop(everybody);
        assert!(is_there(&mut fourth));
        drop(fourth);
        assert!(!crowd.admit().expect("a free seat").made_room);
    }
}
