//! The module as its host sees it, on this machine: what it does is what the simulator does, and nothing that is asked
//! of it ends it.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use serf_core::{Command, Status};
use serf_sim::{Link, Network, Scenario, Sim, play};
use serf_wasm::{Module, Refusal};

fn ask(module: &mut Module, request: Value) -> Value {
    module.call(request.to_string().as_bytes()).unwrap_or_else(|why| panic!("{request}: {why}"))
}

fn refused(module: &mut Module, request: Value) -> String {
    module.call(request.to_string().as_bytes()).expect_err(&request.to_string()).to_string()
}

fn created(request: Value) -> Module {
    let mut module = Module::default();
    ask(&mut module, request);
    module
}

/// The events of one kind, taken: who told it, and what.
fn told(module: &mut Module, event: &str) -> Vec<Value> {
    let all = ask(module, json!({"do": "events"}));
    all.as_array().unwrap().iter().filter(|told| told["event"] == event).cloned().collect()
}

#[test]
fn a_module_does_what_the_simulator_does() {
    let mut module = created(json!({"do": "create", "nodes": 12, "seed": 42, "loss": 0.1, "formed": false}));
    ask(&mut module, json!({"do": "step", "ms": 10_000}));
    ask(&mut module, json!({"do": "event", "node": 3, "name": "deploy", "payload": "v1"}));
    ask(&mut module, json!({"do": "partition", "parts": 2}));
    ask(&mut module, json!({"do": "step", "ms": 30_000.5}));
    ask(&mut module, json!({"do": "heal"}));
    ask(&mut module, json!({"do": "crash", "node": 7}));
    ask(&mut module, json!({"do": "step", "ms": 30_000}));

    let mut sim = Sim::new(42);
    sim.network = Network::flat(Link::lossy(0.1));
    (0..12).for_each(|at| assert_eq!(sim.add(Sim::lan(at)), Ok(at)));
    (1..12).for_each(|at| {
        sim.join(at, 0);
    });
    sim.run(Duration::from_secs(10));
    let (name, payload) = ("deploy".into(), b"v1".to_vec());
    sim.command(3, |id| Command::UserEvent { id, name, payload, coalesce: false });
    (0..12).for_each(|at| sim.network.set_part(at, u32::from(at >= 6)));
    sim.run(Duration::from_micros(30_000_500));
    sim.network.heal();
    sim.kill(7);
    sim.run(Duration::from_secs(30));

    assert_eq!(ask(&mut module, json!({"do": "digest"})), format!("{:016x}", sim.digest()));
    assert_eq!(sim.status(0, 7), Status::Failed);
    let members = ask(&mut module, json!({"do": "members", "of": 0}));
    assert_eq!(members[7], json!({"node": 7, "name": "n0007", "addr": "10.0.0.8:7946", "status": "failed"}));
}

#[test]
fn a_story_ends_as_in_the_simulator() {
    let played = play(&Scenario::draw(5, 7), None).unwrap();
    let story = ask(&mut Module::default(), json!({"do": "story", "seed": "5", "nodes": 7}));
    assert_eq!(story["digest"], format!("{:016x}", played.digest));
    assert_eq!(story["steps"], played.steps);
    assert_eq!(story["broken"], Value::Null);
}

#[test]
fn a_crash_is_told_and_seen_and_a_restart_mends_it() {
    let mut module = created(json!({"do": "create", "nodes": 8, "profile": "fast"}));
    ask(&mut module, json!({"do": "crash", "node": 2}));
    ask(&mut module, json!({"do": "step", "ms": 20_000}));
    let failed = told(&mut module, "member-failed");
    assert_eq!(failed.len(), 7);
    assert!(failed.iter().all(|told| told["members"] == json!([2]) && told["node"] != 2));
    let nodes = ask(&mut module, json!({"do": "nodes"}));
    assert_eq!(
        nodes[2],
        json!({"state": "down", "knows": 0, "alive": 0, "suspect": 0, "leaving": 0, "failed": 7, "left": 0})
    );
    assert_eq!((&nodes[3]["knows"], &nodes[3]["alive"]), (&json!(7), &json!(6)));
    assert_eq!(refused(&mut module, json!({"do": "members", "of": 2})), "node 2 is down: restart it first");
    ask(&mut module, json!({"do": "restart", "node": 2}));
    ask(&mut module, json!({"do": "step", "ms": 20_000}));
    let events = ask(&mut module, json!({"do": "events"}));
    let joined = events.as_array().unwrap().iter().find(|told| told["event"] == "joined").unwrap();
    assert_eq!(
        (&joined["node"], &joined["contacted"], &joined["failed"]),
        (&json!(2), &json!(3), &json!([]))
    );
    let nodes = ask(&mut module, json!({"do": "nodes"}));
    assert!(nodes.as_array().unwrap().iter().all(|node| node["knows"] == 8 && node["alive"] == 7));
}

#[test]
fn who_leaves_has_left_and_its_process_ends() {
    let mut module = created(json!({"do": "create", "nodes": 5}));
    ask(&mut module, json!({"do": "leave", "node": 4}));
    ask(&mut module, json!({"do": "leave", "node": 4}));
    ask(&mut module, json!({"do": "step", "ms": 30_000}));
    assert_eq!(told(&mut module, "left").len(), 1);
    let nodes = ask(&mut module, json!({"do": "nodes"}));
    assert_eq!((&nodes[4]["state"], &nodes[4]["left"]), (&json!("down"), &json!(4)));
    // Alone, one has left at once.
    let mut module = created(json!({"do": "create", "nodes": 1}));
    ask(&mut module, json!({"do": "leave", "node": 0}));
    ask(&mut module, json!({"do": "step", "ms": 30_000}));
    assert_eq!(told(&mut module, "left").len(), 1);
    assert_eq!(ask(&mut module, json!({"do": "stats"}))["up"], 0);
}

#[test]
fn events_and_queries_reach_everybody() {
    let mut module = created(json!({"do": "create", "nodes": 20, "loss": 0.02}));
    ask(&mut module, json!({"do": "event", "node": 1, "name": "deploy", "payload": "v2"}));
    let query = ask(&mut module, json!({"do": "query", "node": 5, "name": "who"}));
    ask(&mut module, json!({"do": "step", "ms": 10_000}));
    let events = ask(&mut module, json!({"do": "events"}));
    let of = |event: &str| -> Vec<&Value> {
        events.as_array().unwrap().iter().filter(|told| told["event"] == event).collect()
    };
    assert_eq!(of("user").len(), 20);
    assert!(of("user").iter().all(|told| told["name"] == "deploy" && told["payload"] == "v2"));
    assert_eq!(of("query").len(), 20);
    assert!(of("query").iter().all(|told| told["source"] == 5));
    // Answers go straight to the asker, and only once each.
    assert!((15..=20).contains(&of("answer").len()), "{}", of("answer").len());
    assert!(of("answer").iter().all(|told| {
        told["query"] == query
            && told["payload"] == format!("n{:04}", told["from"].as_u64().unwrap())
            && told["node"] == 5
    }));
    assert_eq!(of("query-ended").len(), 1);
    let packets = ask(&mut module, json!({"do": "packets"}));
    assert!((100..=2000).contains(&packets.as_array().unwrap().len()));
    assert_eq!(ask(&mut module, json!({"do": "packets"})), json!([]));
}

#[test]
fn a_cut_is_between_two_and_may_be_one_way() {
    let mut module = created(json!({"do": "create", "nodes": 2}));
    ask(&mut module, json!({"do": "cut", "from": 0, "to": 1}));
    ask(&mut module, json!({"do": "step", "ms": 60_000}));
    assert_eq!(told(&mut module, "member-failed").len(), 2);
    ask(&mut module, json!({"do": "heal"}));
    ask(&mut module, json!({"do": "join", "node": 0, "to": 1}));
    ask(&mut module, json!({"do": "step", "ms": 10_000}));
    assert_eq!(told(&mut module, "member-join").len(), 2);
    let before = ask(&mut module, json!({"do": "stats"}));
    ask(&mut module, json!({"do": "cut", "from": 0, "to": 1, "one_way": true}));
    ask(&mut module, json!({"do": "packets"}));
    ask(&mut module, json!({"do": "step", "ms": 3_000}));
    let packets = ask(&mut module, json!({"do": "packets"}));
    assert!(!packets.as_array().unwrap().is_empty());
    assert!(packets.as_array().unwrap().iter().all(|packet| *packet == json!([1, 0])));
    assert!(ask(&mut module, json!({"do": "stats"}))["lost"].as_u64() > before["lost"].as_u64());
    ask(&mut module, json!({"do": "partition", "parts": [0, 7]}));
    ask(&mut module, json!({"do": "link", "latency": 1, "loss": 1}));
    ask(&mut module, json!({"do": "step", "ms": 3_000}));
    assert_eq!(ask(&mut module, json!({"do": "packets"})), json!([]));
}

#[test]
fn of_too_many_events_the_oldest_are_shed_and_counted() {
    let mut module = created(json!({"do": "create", "nodes": 150}));
    ask(&mut module, json!({"do": "partition", "parts": 2}));
    ask(&mut module, json!({"do": "step", "ms": 120_000}));
    // Each of 150 nodes loses 75.
    let shed = ask(&mut module, json!({"do": "stats"}))["events_shed"].as_u64().unwrap();
    assert_eq!((shed, told(&mut module, "member-failed").len()), (1_250, 10_000));
}

#[test]
fn what_makes_no_sense_is_refused_in_words_and_changes_nothing() {
    let mut module = Module::default();
    assert_eq!(refused(&mut module, json!({"do": "step", "ms": 1})), Refusal::NoCluster.to_string());
    ask(&mut module, json!({"do": "create", "nodes": 3}));
    ask(&mut module, json!({"do": "step", "ms": 1_000}));
    let digest = ask(&mut module, json!({"do": "digest"}));
    for (request, why) in [
        (
            json!({"do": "create", "nodes": 1_000_000_000}),
            "nodes must be a whole number from 1 to 1000, not 1000000000",
        ),
        (json!({"do": "create", "nodes": 0}), "nodes must be a whole number from 1 to 1000, not 0"),
        (json!({"do": "create", "nodes": 2.5}), "nodes must be a whole number from 1 to 1000, not 2.5"),
        (
            json!({"do": "create", "seed": -1}),
            "seed must be a whole number from 0 to 18446744073709551615, not -1",
        ),
        (
            json!({"do": "create", "seed": "+7"}),
            "seed must be a whole number from 0 to 18446744073709551615, not \"+7\"",
        ),
        (
            json!({"do": "create", "profile": "x"}),
            "profile must be \"lan\", \"wan\", \"local\" or \"fast\", not \"x\"",
        ),
        (json!({"do": "create", "loss": 1.5}), "loss must be a number from 0 to 1, not 1.5"),
        (json!({"do": "create", "latency": -1}), "latency must be a number from 0 to 60000, not -1"),
        (json!({"do": "create", "formed": 1}), "formed must be true or false, not 1"),
        (json!({"do": "create", "colour": 1}), "create takes no \"colour\""),
        (json!({"do": "step"}), "ms must be a number from 0 to 3600000, not missing"),
        (json!({"do": "step", "ms": 1e300}), "ms must be a number from 0 to 3600000, not 1e+300"),
        (json!({"do": "step", "ms": "NaN"}), "ms must be a number from 0 to 3600000, not \"NaN\""),
        (json!({"do": "crash", "node": 3}), "node must be a whole number from 0 to 2, not 3"),
        (json!({"do": "crash", "node": -1}), "node must be a whole number from 0 to 2, not -1"),
        (
            json!({"do": "crash", "node": {"a": []}}),
            "node must be a whole number from 0 to 2, not {\"a\":[]}",
        ),
        (json!({"do": "cut", "from": 1, "to": 1}), "to must be another node than from, not 1"),
        (
            json!({"do": "partition", "parts": 4}),
            "parts must be a whole number from 1 to 3, or a list of 3 numbers, one for each node, not 4",
        ),
        (
            json!({"do": "partition", "parts": [1, 2]}),
            "parts must be a whole number from 1 to 3, or a list of 3 numbers, one for each node, not [1,2]",
        ),
        (json!({"do": "event", "node": 0}), "name must be a string, not missing"),
        (
            json!({"do": "event", "node": 0, "name": ["z".repeat(100)]}),
            &format!("name must be a string, not [\"{}…", "z".repeat(58)),
        ),
        (json!({"do": "story", "nodes": 33}), "nodes must be a whole number from 3 to 32, not 33"),
        (json!({"do": "heal", "all": 1}), "heal takes no \"all\""),
        (json!({"do": "explode"}), "do must be the name of a request, not \"explode\""),
        (json!([1]), "not a request: invalid type: sequence, expected a map at line 1 column 0"),
    ] {
        assert_eq!(refused(&mut module, request.clone()), why, "{request}");
    }
    // Too deep, cut off, not text.
    for request in ["[".repeat(60_000).as_bytes(), b"{\"do\":", b"", b"\xff\xfe"] {
        assert!(matches!(module.call(request), Err(Refusal::Malformed(_))));
    }
    assert_eq!(ask(&mut module, json!({"do": "digest"})), digest);
    // What nodes refuse.
    for (request, why) in [
        (
            json!({"do": "event", "node": 0, "name": "x", "payload": "y".repeat(600)}),
            "user event exceeds configured limit of 512 bytes before encoding",
        ),
        (json!({"do": "query", "node": 0, "name": "q".repeat(2000)}), "query exceeds limit of 1024 bytes"),
    ] {
        assert_eq!(refused(&mut module, request.clone()), why, "{request}");
    }
    assert_eq!(ask(&mut module, json!({"do": "events"})), json!([]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever is asked is done or refused, and afterwards the cluster still is one.
    #[test]
    fn no_request_ends_it(requests in prop::collection::vec(request(), 1..20)) {
        let mut module = created(json!({"do": "create", "nodes": 4, "profile": "fast"}));
        for request in requests {
            let _ = module.call(&request);
        }
        let stats = ask(&mut module, json!({"do": "stats"}));
        prop_assert_eq!(&stats["nodes"], 4);
    }
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let verb = prop::sample::select(vec![
        "step",
        "link",
        "cut",
        "partition",
        "heal",
        "crash",
        "restart",
        "join",
        "leave",
        "event",
        "query",
        "members",
        "nodes",
        "events",
        "packets",
        "digest",
        "stats",
    ]);
    let field = prop::sample::select(vec![
        "ms", "latency", "jitter", "loss", "from", "to", "one_way", "parts", "node", "name", "payload", "of",
    ]);
    let value = prop_oneof![
        4 => (0_u64..6).prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => (0.0..2000.0).prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => ".{0,8}".prop_map(Value::from),
        1 => Just(json!([0, 1, 0, 1])),
        1 => Just(Value::Null),
    ];
    let known = (verb, prop::collection::btree_map(field, value, 0..4)).prop_map(|(verb, fields)| {
        let mut request = json!({"do": verb});
        fields.into_iter().for_each(|(name, value)| request[name] = value);
        request.to_string().into_bytes()
    });
    prop_oneof![9 => known, 1 => prop::collection::vec(any::<u8>(), 0..40)]
}
