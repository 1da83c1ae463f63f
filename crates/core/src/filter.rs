//! Whom a query is for: conditions that travel with it, and that each node checks for itself (spec `serf.md` §1.4).

use alloc::borrow::Cow;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use serf_gossip::{Instant, Name, Severity, Topic as About};
use serf_wire::list::List;
use serf_wire::serf::Filter;

use crate::member::Status;
use crate::pattern::Pattern;
use crate::query::Query;
use crate::serf::Serf;
use crate::table::Record;
use crate::tags;

/// Most conditions of one query that are looked at. More than anybody writes; a datagram could hold thousands.
const FILTERS_MAX: usize = 64;
/// Expressions that compile to no more bytes are what people write. The worst of them costs a millisecond.
const SMALL: usize = 16 << 10;
/// The largest compiled form of an expression: a few classes of Unicode, or counts up to some hundreds. The worst costs
/// several milliseconds, so fewer of them are looked at.
const LARGE: usize = 256 << 10;

/// The conditions of a query, as they travel: the names if there are any, then each tag.
pub(crate) fn encode(query: &Query) -> Vec<Vec<u8>> {
    let names: Vec<&[u8]> = query.nodes.iter().map(Name::as_bytes).collect();
    let nodes = (!names.is_empty()).then_some(Filter::Nodes(List::of(&names)));
    let tags =
        query.tags.iter().map(|(tag, expr)| Filter::Tag { tag: tag.as_bytes(), expr: expr.as_bytes() });
    let mut filters = Vec::new();
    for filter in nodes.into_iter().chain(tags) {
        let mut bytes = Vec::new();
        filter.write(&mut bytes);
        filters.push(bytes);
    }
    filters
}

impl Serf {
    /// Whether a query with these conditions is for us. What cannot be read, or is none of the two kinds we know, is
    /// a condition that nobody meets.
    pub(crate) fn is_asked(&mut self, now: Instant, filters: List<'_, Cow<'_, [u8]>>) -> bool {
        if filters.len() > FILTERS_MAX {
            self.bad_filter(now, format_args!("{} filters are more than {FILTERS_MAX}", filters.len()));
            return false;
        }
        filters.iter().all(|filter| match Filter::read(&filter) {
            Ok(Filter::Nodes(nodes)) => nodes.iter().any(|name| self.is_me(name)),
            Ok(Filter::Tag { tag, expr }) => self.tag_matches(now, tag, expr),
            Err(why) => {
                self.bad_filter(now, format_args!("unreadable filter: {why}"));
                false
            }
        })
    }

    fn tag_matches(&mut self, now: Instant, tag: &[u8], expr: &[u8]) -> bool {
        let pattern = if self.patterns.take(now) { Pattern::of_peer(SMALL, expr) } else { Ok(None) };
        let pattern = match pattern {
            Ok(None) if self.large_patterns.take(now) => Pattern::of_peer(LARGE, expr),
            other => other,
        };
        match pattern {
            Ok(Some(pattern)) => {
                let value = core::str::from_utf8(tag).ok().and_then(|tag| self.config.tags.get(tag));
                return pattern.matches(value.map_or(&[], |value| value.as_bytes()));
            }
            Ok(None) => self.bad_filter(now, format_args!("filter regex too large, or too many of them")),
            Err(why) => {
                let expr = String::from_utf8_lossy(expr);
                self.bad_filter(now, format_args!("failed to compile filter regex ({expr}): {why}"));
            }
        }
        false
    }

    fn bad_filter(&mut self, now: Instant, why: core::fmt::Arguments<'_>) {
        self.stats.bad_filters += 1;
        self.notice(now, Severity::Warn, About::Serf, format_args!("{why}; the query is not for us"));
    }

    /// Who will answer a query, as far as we can know: those who are there and meet its conditions. None if an
    /// expression means nothing to us; it may to others.
    pub(crate) fn whom_it_asks(&self, query: &Query) -> Option<Vec<Name>> {
        let nodes: BTreeSet<&Name> = query.nodes.iter().collect();
        let mut tags: Vec<(&String, Pattern)> = Vec::new();
        for (tag, expr) in &query.tags {
            tags.push((tag, Pattern::of_peer(LARGE, expr.as_bytes()).ok()??));
        }
        let meets = |record: &&Record| {
            if !matches!(record.status(), Status::Alive | Status::Leaving)
                || (!nodes.is_empty() && !nodes.contains(&record.name))
            {
                return false;
            }
            if tags.is_empty() {
                return true;
            }
            let theirs = tags::decode(&record.meta);
            tags.iter().all(|(tag, pattern)| pattern.matches(theirs.get(*tag).map_or(&[], |v| v.as_bytes())))
        };
        Some(self.table.iter().filter(meets).map(|record| record.name.clone()).collect())
    }
}
