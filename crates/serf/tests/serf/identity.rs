//! Nodes whose members have names and addresses of the program's own types.

use std::fmt;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;

use serf::{
    Answer, Config, Error, Event, Events, Identity, InvalidIdentity, Key, MemberEventKind, Name, NodeAddress,
    Query, Serf, StartError, Stats, Status, Tags,
};

use crate::cluster::{becomes, config};
use crate::{on_both, within};

/// A machine in a hall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Rack {
    hall: u8,
    row: u16,
}

impl fmt::Display for Rack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.hall, self.row)
    }
}

impl Identity for Rack {
    fn to_name(&self) -> Name {
        self.to_string().as_str().into()
    }

    fn from_name(name: &[u8]) -> Result<Self, InvalidIdentity> {
        let text = str::from_utf8(name).map_err(InvalidIdentity::new)?;
        let (hall, row) = text.split_once('-').ok_or_else(|| InvalidIdentity::new("no hall"))?;
        let hall = hall.parse().map_err(InvalidIdentity::new)?;
        Ok(Self { hall, row: row.parse().map_err(InvalidIdentity::new)? })
    }
}

type Node = Serf<Rack, SocketAddr>;
type Told = Event<Rack, SocketAddr>;

const fn rack(row: u16) -> Rack {
    Rack { hall: 1, row }
}

fn settings(row: u16, bind: &str) -> Config {
    Config { keys: vec![Key::new(&[7; 32]).unwrap()], ..config(&rack(row).to_string(), bind) }
}

async fn node(row: u16, bind: &str) -> (Node, Events<Told>) {
    Node::start_typed_with_events(settings(row, bind)).await.unwrap()
}

async fn plain(name: &str, bind: &str) -> Serf {
    Serf::start(Config { node_name: name.into(), ..settings(0, bind) }).await.unwrap()
}

async fn first<T>(events: &mut Events<Told>, pick: impl Fn(Told) -> Option<T>) -> T {
    loop {
        if let Some(found) = pick(within(events.recv()).await.expect("the node is there")) {
            return found;
        }
    }
}

/// Waits until a node's numbers are so.
async fn until(node: &Node, is_so: impl Fn(Stats) -> bool) {
    within(async {
        while !is_so(node.stats().await.unwrap()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[test]
fn all_that_a_node_tells_is_told_in_the_types_of_the_program() {
    on_both(async || {
        let ((a, mut told), (b, mut asked)) = (node(1, "127.0.0.1:0").await, node(2, "127.0.0.2:0").await);
        let joined = within(b.join([a.local_addr().to_string()])).await.unwrap();
        assert_eq!(joined.contacted, [a.local_addr()]);
        let member = first(&mut told, |event| match event {
            Event::Member(event) if event.members[0].name == rack(2) => Some(event),
            _ => None,
        })
        .await;
        assert_eq!((member.kind, member.members[0].addr), (MemberEventKind::Join, b.local_addr()));

        let members = a.members().await.unwrap();
        assert_eq!(members.iter().map(|m| m.name).collect::<Vec<_>>(), [rack(1), rack(2)]);
        // The list is made anew only if something has changed.
        within(async {
            while !Arc::ptr_eq(&a.members().await.unwrap(), &a.members().await.unwrap()) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!((a.name(), a.advertise_addr()), (&rack(1), &a.local_addr()));
        assert_eq!(a.member(rack(2)).await.unwrap().unwrap().status, Status::Alive);
        assert!(a.member(rack(3)).await.unwrap().is_none());
        assert_eq!(b.local_member().await.unwrap().unwrap().name, rack(2));
        assert_eq!(a.coordinates().await.unwrap()[0].0, rack(1));
        assert!(a.cached_coordinate(rack(1)).await.unwrap().is_some());
        assert!(a.rtt(rack(1), rack(1)).await.unwrap().is_some());

        let mut answers =
            a.query(Query::new("load").to_nodes([rack(2).to_name()]).with_acks()).await.unwrap();
        let query = first(&mut asked, |event| match event {
            Event::Query(query) => Some(query),
            _ => None,
        })
        .await;
        assert_eq!(query.source, rack(1));
        query.respond(b"0.7").await.unwrap();
        let mut from = Vec::new();
        while let Some(answer) = within(answers.next()).await {
            match answer {
                Answer::Ack { from: who } => from.push((who, None)),
                Answer::Response { from: who, payload } => from.push((who, Some(payload))),
                _ => {}
            }
        }
        from.sort();
        assert_eq!(from, [(rack(2), None), (rack(2), Some(b"0.7".to_vec()))]);

        let report = within(a.keys().install([1; 5])).await.unwrap();
        assert_eq!(report.messages.keys().copied().collect::<Vec<_>>(), [rack(1), rack(2)]);
        within(b.set_tags(Tags::from([("role".into(), "db".into())]))).await.unwrap();
        within(b.user_event("deploy", b"v1", false)).await.unwrap();
        assert_eq!(
            first(&mut told, |event| if let Event::User(event) = event { Some(event.name) } else { None })
                .await,
            "deploy".into()
        );
        within(b.leave()).await.unwrap();
        within(a.force_leave_and_prune(rack(2))).await.unwrap();
        until(&a, |stats| stats.vitals.members == 1).await;
        assert_eq!(a.stats().await.unwrap().strangers, 0);
    });
}

#[test]
fn strangers_do_not_get_in_and_both_sides_hear_why() {
    on_both(async || {
        let (typed, _) = node(1, "127.0.0.1:0").await;
        let stranger = plain("web-1", "127.0.0.2:0").await;
        let error = within(stranger.join([typed.local_addr().to_string()])).await.unwrap_err();
        let why = "'web-1' cannot be a member here, because of its name: invalid digit found in string";
        let said = error.to_string();
        assert!(said.contains(&format!("remote error: merge refused: {why}")), "{said}");
        assert_eq!((stranger.members().await.unwrap().len(), typed.members().await.unwrap().len()), (1, 1));
        let stats = typed.stats().await.unwrap();
        assert_eq!((stats.strangers, stats.serf.refused_claims), (1, 1));

        let error = within(typed.join([stranger.local_addr().to_string()])).await.unwrap_err();
        let Error::NotJoined(failures) = error else { panic!("{error}") };
        assert!(failures.to_string().contains(&format!("merge refused: {why}")), "{failures}");
        assert_eq!(typed.members().await.unwrap().len(), 1);
    });
}

#[test]
fn a_stranger_that_others_let_in_is_refused_and_the_node_goes_on() {
    on_both(async || {
        let (typed, mut told) = node(1, "127.0.0.1:0").await;
        // One that anybody can join, with a name that is somebody's.
        let gate = plain("1-2", "127.0.0.2:0").await;
        within(gate.join([typed.local_addr().to_string()])).await.unwrap();
        let stranger = plain("web-1", "127.0.0.3:0").await;
        within(stranger.join([gate.local_addr().to_string()])).await.unwrap();
        becomes(&stranger, "1-1", Some(Status::Alive)).await;
        until(&typed, |stats| stats.strangers > 0).await;
        // It is not heard either: of the next two questions only the one is told.
        let counted = typed.stats().await.unwrap().serf.queries;
        let _unheard = stranger.query(Query::new("stranger").with_timeout(crate::LIMIT)).await.unwrap();
        until(&typed, move |stats| stats.serf.queries > counted).await;
        let _heard = gate.query(Query::new("friend").with_timeout(crate::LIMIT)).await.unwrap();
        let query = first(&mut told, |event| match event {
            Event::Query(query) => Some(query),
            _ => None,
        })
        .await;
        assert_eq!((query.name, query.source), ("friend".into(), rack(2)));
        let members = typed.members().await.unwrap();
        assert_eq!(members.iter().map(|m| m.name).collect::<Vec<_>>(), [rack(1), rack(2)]);
        let told = typed.stats().await.unwrap();
        assert!(told.strangers > told.serf.refused_claims, "{told:?}");
    });
}

#[test]
fn a_node_must_be_of_its_own_types() {
    on_both(async || {
        let start = async |name: &str| {
            Node::start_typed(Config { node_name: name.into(), ..settings(1, "127.0.0.1:0") }).await
        };
        for (name, why) in [
            ("web-1", "node name 'web-1': invalid digit found in string"),
            ("1", "node name '1': no hall"),
            ("1-07", "node name '1-07': it should be written '1-7'"),
        ] {
            let error = start(name).await.unwrap_err();
            assert!(matches!(error, StartError::Identity { .. }));
            assert_eq!(error.to_string(), why);
        }
        let error = Serf::<Rack, SocketAddrV6>::start_typed(settings(1, "127.0.0.1:0")).await.unwrap_err();
        let StartError::Address { address, why } = error else { panic!("{error}") };
        assert_eq!(
            (address.host.as_bytes(), why.to_string().as_str()),
            (&[127, 0, 0, 1][..], "it is no IPv6 address")
        );
    });
}

#[test]
fn nobody_is_looked_for_where_nobody_can_be() {
    on_both(async || {
        let node = Serf::<Rack, SocketAddrV4>::start_typed(settings(1, "127.0.0.1:0")).await.unwrap();
        let error = within(node.join(["[::1]:7946"])).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "1 error occurred:\n\t* failed to resolve [::1]:7946: address [::1]:7946: it is no IPv4 address\n\n"
        );
        assert_eq!(
            SocketAddrV4::from_address(&node.advertise_addr().to_address()),
            Ok(*node.advertise_addr())
        );
    });
}
