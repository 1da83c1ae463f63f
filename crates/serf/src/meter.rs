//! Watching a node's numbers as they change, without asking for them: nothing is woken for it.

use std::fmt;
use std::sync::Arc;

use serf_core::Node;
use serf_gossip::Name;

use crate::driver::DriverStats;
use crate::identity::Strangers;
use crate::serf::Stats;

/// Is shown what a node has done, after each of its turns and in its task, so it must be quick. Between two turns nothing
/// changes; so what has happened since the last reading happened about now.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
/// use serf::{Config, Meter, Serf};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let joins = Arc::new(AtomicU64::new(0));
/// let shown = joins.clone();
/// let meter = Meter::new(move |reading| shown.store(reading.stats.serf.joins, Relaxed));
/// let bind = "127.0.0.1:0".parse()?;
/// let serf = Serf::start(Config { bind, meter: Some(meter), ..Config::lan("web-1") }).await?;
/// serf.shutdown().await;
/// assert_eq!(joins.load(Relaxed), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Meter(Arc<dyn Fn(&Reading<'_>) + Send + Sync>);

/// What a [`Meter`] is shown.
#[derive(Debug)]
#[non_exhaustive]
pub struct Reading<'a> {
    /// All numbers, from the start of the node on.
    pub stats: &'a Stats,
    /// How many user events of each name came in this turn, for the first names of a few dozen.
    pub events: &'a [(Name, u64)],
    /// The same for queries.
    pub queries: &'a [(Name, u64)],
}

impl Meter {
    /// Shows it to this function.
    pub fn new(show: impl Fn(&Reading<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(show))
    }

    pub(crate) fn read(&self, node: &mut Node, driver: DriverStats, strangers: &Strangers) {
        let stats = Stats::of(node, driver, strangers);
        let (events, queries) = (node.take_event_names(), node.take_query_names());
        (self.0)(&Reading { stats: &stats, events: &events, queries: &queries });
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meter(..)")
    }
}

impl Stats {
    pub(crate) fn of(node: &Node, driver: DriverStats, strangers: &Strangers) -> Self {
        let (serf, gossip) = (*node.stats(), *node.gossip().stats());
        Self { vitals: node.vitals(), serf, gossip, driver, strangers: strangers.so_far() }
    }
}
