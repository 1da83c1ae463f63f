//! Keys changed in whole clusters: spec `serf.md` §8, appendix A.6.

use std::collections::BTreeMap;

use serf_core::{Command, Config, Query};
use serf_wire::encrypt::Key;
use serf_wire::msgpack::Reader;
use serf_wire::serf::{self, KeyRequest, KeyResponse, MessageKind};

use crate::cluster::{At, Cluster, quick};

fn key(byte: u8) -> Key {
    Key::new(&[byte; 32]).unwrap()
}

/// A cluster whose nodes encrypt with key 1, and each know one more.
fn cluster(seed: u64, n: u8, more: impl Fn(u8) -> Key, change: impl Fn(&mut Config)) -> Cluster {
    let mut c = Cluster::new(seed);
    for i in 0..n {
        let mut config = quick(&char::from(b'a' + i).to_string(), i + 1);
        config.gossip.keys = vec![key(1), more(i)];
        change(&mut config);
        c.add_with(config);
        if i > 0 {
            assert_eq!(c.join(i.into(), 0), 1);
        }
    }
    let n = usize::from(n);
    c.until("all know each other", |c| (0..n).all(|i| c.alive(i) == n));
    c
}

/// Has a key changed everywhere; what each node said, when all have.
fn change(
    c: &mut Cluster,
    at: At,
    name: &str,
    key: &[u8],
) -> BTreeMap<String, (bool, String, usize, String)> {
    let mut payload = Vec::new();
    serf::put(&mut payload, MessageKind::KeyRequest, |w| KeyRequest { key: Some(key.into()) }.write(w));
    let id = c.ask(at, Query::new(name).with_payload(payload));
    c.until("it ends", |c| c.end(at, id).is_some());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let read = |(from, payload): (String, Vec<u8>)| {
        let said = KeyResponse::read(&mut Reader::new(&payload[1..])).unwrap();
        (from, (said.result, text(said.message), said.keys.len(), text(said.primary_key)))
    };
    c.answers(at, id).1.into_iter().map(read).collect()
}

fn rings(c: &Cluster, n: usize) -> Vec<Vec<Key>> {
    (0..n).map(|i| c.node(i).gossip().keyring().keys().to_vec()).collect()
}

// "Install key: primary unchanged on both nodes, new key present on both. Use key: primary changes on both; unknown key →
// error. Remove key: absent on both afterwards."
#[test]
fn a_key_is_rotated_while_the_cluster_goes_on() {
    let mut c = cluster(1, 3, |_| key(1), |_| {});
    let ok = (true, String::new(), 0, String::new());
    for (at, name, byte, ring) in [
        (0, "_serf_install-key", 2, vec![key(1), key(2)]),
        (1, "_serf_use-key", 2, vec![key(2), key(1)]),
        (2, "_serf_remove-key", 1, vec![key(2)]),
    ] {
        let said = change(&mut c, at, name, &[byte; 32]);
        assert_eq!(said.values().cloned().collect::<Vec<_>>(), vec![ok.clone(); 3], "{name}");
        assert_eq!(rings(&c, 3), vec![ring; 3], "{name}");
    }
    let said = change(&mut c, 0, "_serf_use-key", &[9; 32]);
    assert!(said.values().all(|said| !said.0 && said.1 == "requested key is not in the keyring"), "{said:?}");
    assert_eq!(c.alive(0), 3);
}

// "List: union of keys, extra key counted once, exactly one primary, extra key not primary."
#[test]
fn all_keys_of_all_nodes_are_listed() {
    let mut c = cluster(2, 2, |i| key(2 + i), |_| {});
    let said = change(&mut c, 1, "_serf_list-keys", b"");
    let primary = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=".to_owned();
    assert_eq!(said["a"], (true, String::new(), 2, primary.clone()));
    assert_eq!(said["b"], (true, String::new(), 2, primary));
}

#[test]
fn a_node_whose_owner_keeps_its_keys_answers_when_they_are_kept() {
    let mut c = cluster(3, 2, |_| key(1), |config| config.keep_keys = config.gossip.name == "b".into());
    let mut payload = Vec::new();
    serf::put(&mut payload, MessageKind::KeyRequest, |w| {
        KeyRequest { key: Some([2; 32][..].into()) }.write(w)
    });
    let id = c.ask(0, Query::new("_serf_install-key").with_payload(payload));
    let kept = |c: &Cluster| {
        c.events(1).iter().find_map(|event| match event {
            serf_core::Event::KeysChanged { key, keys } => Some((*key, keys.clone())),
            _ => None,
        })
    };
    c.until("b is asked to keep them", |c| kept(c).is_some());
    c.until("a has answered itself", |c| c.answers(0, id).1.contains_key("a"));
    assert_eq!((c.end(0, id), c.answers(0, id).1.len()), (None, 1));
    let (change, keys) = kept(&c).unwrap();
    assert_eq!(keys, [key(1), key(2)]);
    c.order(1, |_| Command::KeysKept { key: change, result: Ok(()) });
    c.until("it ends", |c| c.end(0, id).is_some());
    assert_eq!(c.answers(0, id).1.len(), 2);
}
