//! Questions to whole clusters: spec `serf.md` §6, appendix A.8.

use std::collections::BTreeMap;
use std::time::Duration;

use serf_core::{Answer, Command, Event, Outcome, Query, QueryEnd, QueryEvent};
use serf_gossip::CommandId;

use crate::cluster::{At, Cluster, quick};

const SECOND: Duration = Duration::from_secs(1);

impl Cluster {
    /// Asks; the query's number.
    pub(crate) fn ask(&mut self, at: At, query: Query) -> CommandId {
        let id = self.order(at, |id| Command::Query { id, query });
        assert!(matches!(self.outcome(at, id), Some(Outcome::Asked { .. })));
        id
    }

    /// The acks and responses to a query so far, by name.
    pub(crate) fn answers(&self, at: At, id: CommandId) -> (Vec<String>, BTreeMap<String, Vec<u8>>) {
        let (mut acks, mut responses) = (vec![], BTreeMap::new());
        for event in self.events(at) {
            match event {
                Event::Answer { id: of, answer: Answer::Ack { from } } if *of == id => {
                    acks.push(from.to_string());
                }
                Event::Answer { id: of, answer: Answer::Response { from, payload } } if *of == id => {
                    assert!(
                        responses.insert(from.to_string(), payload.clone()).is_none(),
                        "twice from {from}"
                    );
                }
                _ => {}
            }
        }
        acks.sort();
        (acks, responses)
    }

    /// Why a query ended, if it has.
    pub(crate) fn end(&self, at: At, id: CommandId) -> Option<QueryEnd> {
        self.events(at).iter().find_map(|event| match event {
            Event::QueryEnded { id: of, why } if *of == id => Some(*why),
            _ => None,
        })
    }

    /// The queries that a node was asked.
    fn asked(&self, at: At) -> Vec<QueryEvent> {
        let query = |event: &Event| match event {
            Event::Query(query) => Some(query.clone()),
            _ => None,
        };
        self.events(at).iter().filter_map(query).collect()
    }

    /// A node waits for a query, and answers the last it was asked with this.
    fn respond(&mut self, at: At, times: usize, payload: &[u8]) {
        self.until("it is asked", |c| c.asked(at).len() == times);
        let (key, payload) = (self.asked(at)[times - 1].key, payload.to_vec());
        assert_eq!(self.command(at, |id| Command::Respond { id, key, payload }), Outcome::Ok);
    }
}

// "Query with acks on 2 nodes, one responder: 2 acks, 1 response."
#[test]
fn all_acknowledge_and_who_knows_responds() {
    let mut c = Cluster::joined(1, 2);
    let id = c.ask(0, Query::new("load").with_payload(*b"sup girl").with_acks().with_timeout(SECOND));
    c.respond(1, 1, b"foo");
    let asked = &c.asked(1)[0];
    assert_eq!((asked.source.to_string(), &asked.payload[..]), ("a".into(), &b"sup girl"[..]));
    c.until("it ends", |c| c.end(0, id).is_some());
    assert_eq!(c.end(0, id), Some(QueryEnd::TimedOut));
    let foo = BTreeMap::from([("b".into(), b"foo".to_vec())]);
    assert_eq!(c.answers(0, id), (vec!["a".into(), "b".into()], foo));
}

// B16
#[test]
fn a_query_ends_when_the_last_has_answered() {
    let mut c = Cluster::joined(2, 5);
    let begin = c.now;
    let id = c.ask(2, Query::new("load").with_acks().with_timeout(60 * SECOND));
    for i in 0..5 {
        assert_eq!(c.end(2, id), None);
        c.respond(i, 1, &[i as u8]);
    }
    c.until("it ends", |c| c.end(2, id).is_some());
    assert_eq!(c.end(2, id), Some(QueryEnd::Complete));
    assert!(c.now.since(begin) < 5 * SECOND);
    let (acks, responses) = c.answers(2, id);
    assert_eq!((acks.len(), responses.len()), (5, 5));
}

#[test]
fn a_query_does_not_wait_for_one_who_dies() {
    let mut c = Cluster::joined(3, 4);
    let id = c.ask(0, Query::new("load").with_timeout(3600 * SECOND));
    c.kill(3);
    for i in 0..3 {
        c.respond(i, 1, b"");
    }
    c.until("it ends", |c| c.end(0, id).is_some());
    assert_eq!((c.end(0, id), c.answers(0, id).1.len()), (Some(QueryEnd::Complete), 3));
}

// "Query filtered to one node with relay factor 1 on 3 nodes: 1 ack, 1 response."
#[test]
fn what_is_lost_directly_comes_by_a_relay_and_once() {
    let mut c = Cluster::joined(4, 3);
    for cut in [false, true] {
        let asked = c.asked(1).len();
        let query = Query::new("load").to_nodes(["b"]).with_acks().with_relays(1).until_timeout();
        let id = c.ask(0, query);
        c.until("b is asked", |c| c.asked(1).len() > asked);
        if cut {
            // Only now: its own way back is gone, that of others is not.
            c.cut(0, 1);
        }
        c.respond(1, asked + 1, b"foo");
        c.until("the response comes", |c| c.answers(0, id).1.len() == 1);
        c.mend(0, 1);
        c.until("it ends", |c| c.end(0, id).is_some());
        assert_eq!(c.answers(0, id).0, ["b"]);
    }
    assert_eq!(c.asked(2).len(), 0);
    let stats: Vec<_> = (0..3).map(|i| *c.node(i).stats()).collect();
    assert_eq!((stats[1].relays_asked, stats[2].relayed), (4, 4), "an ack and a response, each time");
    assert_eq!(stats[0].query_duplicate_acks + stats[0].query_duplicate_responses, 3);
}

// "Oversized query → error …; a raised limit allows it."
#[test]
fn a_raised_limit_lets_a_longer_query_through() {
    let mut c = Cluster::new(5);
    for (i, name) in ["a", "b"].into_iter().enumerate() {
        let mut config = quick(name, i as u8 + 1);
        config.query_size_limit = 2048;
        config.query_response_size_limit = 2048;
        c.add_with(config);
    }
    c.join(1, 0);
    let id = c.ask(0, Query::new("load").with_payload([7; 1200]).to_nodes(["b"]));
    c.respond(1, 1, &[9; 1500]);
    c.until("it ends", |c| c.end(0, id).is_some());
    assert_eq!(c.answers(0, id).1["b"], [9; 1500]);
}

#[test]
fn tags_choose_who_is_asked() {
    let mut c = Cluster::joined(6, 4);
    for (i, role) in [(0, "web"), (1, "webcache"), (2, "db")] {
        let tags = [("role".to_owned(), role.to_owned())].into();
        assert_eq!(c.command(i, |id| Command::SetTags { id, tags }), Outcome::Ok);
    }
    c.until("all is known", |c| {
        (0..3).all(|i| !c.node(3).member(c.name(i).as_bytes()).unwrap().tags().is_empty())
    });
    let id = c.ask(3, Query::new("load").to_tag("role", "^web").with_timeout(60 * SECOND));
    for i in 0..2 {
        c.respond(i, 1, b"");
    }
    c.until("it ends", |c| c.end(3, id).is_some());
    assert_eq!(c.end(3, id), Some(QueryEnd::Complete));
    assert_eq!(c.answers(3, id).1.into_keys().collect::<Vec<_>>(), ["a", "b"]);
    assert!(c.asked(2).is_empty() && c.asked(3).is_empty());
}

#[test]
fn many_queries_at_a_time_do_not_get_mixed_up() {
    let mut c = Cluster::joined(7, 3);
    let ids: Vec<(At, CommandId)> =
        (0..30_u8).map(|n| (usize::from(n % 3), c.ask(usize::from(n % 3), Query::new(&[n][..])))).collect();
    for at in 0..3 {
        c.until("all are heard", |c| c.asked(at).len() == 30);
        for query in c.asked(at) {
            let (key, payload) = (query.key, query.name.as_bytes().to_vec());
            c.order(at, |id| Command::Respond { id, key, payload });
        }
    }
    for (n, (at, id)) in ids.into_iter().enumerate() {
        c.until("it ends", |c| c.end(at, id).is_some());
        let (_, responses) = c.answers(at, id);
        assert_eq!(responses.into_values().collect::<Vec<_>>(), [[n as u8]; 3]);
    }
}
