//! The examples that fit on a page.

use crate::{Running, example};

/// The first line of a quickstart says where it is.
fn address(node: &Running) -> String {
    let line = node.prints(" at 127.0.0.1:");
    line.rsplit(' ').next().expect("an address").to_owned()
}

#[test]
fn two_quickstarts_see_each_other_and_one_of_them_end() {
    let quickstart = |args: &[&str]| {
        let mut command = example("quickstart");
        command.args(args);
        Running::start(command)
    };
    let one = quickstart(&["one"]);
    let seed = address(&one);
    let mut two = quickstart(&["two", &seed]);
    one.prints("member-join: two");
    two.prints("member-join: one");
    two.kill();
    one.prints("member-failed: two");
}

#[test]
fn a_pool_without_serf_shares_what_its_members_have_to_say() {
    let output = example("membership").output().expect("it is run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    for line in ["late knows of rain in Rome", "b says goodbye"] {
        assert!(text.contains(line), "{line:?} is missing in:\n{text}");
    }
}

#[test]
fn names_can_be_numbers_and_keys_and_others_are_refused() {
    let output = example("custom_identity").output().expect("it is run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let alice = "a1".repeat(32);
    for line in [
        "hello came",
        "because of its name: failed to parse a UUID",
        "strangers refused: 1",
        &format!("{alice} says Alice"),
    ] {
        assert!(text.contains(line), "{line:?} is missing in:\n{text}");
    }
}

#[cfg(feature = "threads")]
#[test]
fn a_program_without_a_runtime_asks_and_is_answered() {
    let output = example("blocking").output().expect("it is run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    for line in ["second at 127.0.0.1:", "first: all is well"] {
        assert!(text.contains(line), "{line:?} is missing in:\n{text}");
    }
}

#[cfg(feature = "quic")]
#[test]
fn over_quic_two_nodes_find_each_other_and_strangers_do_not() {
    let output = example("quic").output().expect("it is run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    for line in [
        "2 members",
        "the certificate is not signed by the certificate authority of this node",
        "the certificate does not carry the name \"three\"",
    ] {
        assert!(text.contains(line), "{line:?} is missing in:\n{text}");
    }
}
