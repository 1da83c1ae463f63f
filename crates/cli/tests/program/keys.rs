//! The keys of a cluster, as `serf keys` and RPC clients see and change them.

use serf_rpc::message::KeyResponse;
use serf_rpc::{Client, Error};

use crate::agents::{Agent, Program, until};
use crate::mixed::KEYS;

/// On a slow machine the time may be over before the node has answered.
const TOO_LATE: &str = "0/1 nodes reported success";

/// Exit code, and what is said after the first line.
fn keys(agent: &Agent, flag: &str) -> (i32, String) {
    until(&format!("the node answers keys {flag}"), || {
        let out = agent.cli("keys", &[flag]);
        let text = String::from_utf8(out.stdout).expect("text");
        let (first, rest) = text.split_once('\n').expect("lines");
        assert!(first.starts_with("==> ") && first.ends_with("..."), "{first}");
        let code = out.status.code().expect("it ended by itself");
        (!rest.contains(TOO_LATE)).then(|| (code, rest.to_owned()))
    })
}

/// The same of a call.
async fn report(
    call: impl AsyncFn() -> Result<KeyResponse, Error>,
) -> Result<KeyResponse, (String, KeyResponse)> {
    loop {
        match call().await {
            Ok(report) => return Ok(report),
            Err(Error::Keys { error, .. }) if error == TOO_LATE => {}
            Err(Error::Keys { error, report }) => return Err((error.to_string(), *report)),
            Err(error) => panic!("{error}"),
        }
    }
}

fn failed(reason: &str, what: &str) -> (i32, String) {
    (1, format!("failed:  lone  {reason}\n\n{what}: 1/1 nodes reported failure\n"))
}

#[test]
fn keys_are_installed_used_removed_and_kept() {
    let [first, second, third] = KEYS;
    let mut agent = Agent::new(Program::Ours, "lone", &["-keyring-file=ring.json"]);
    agent.write("ring.json", &format!("[\"{first}\"]"));
    agent.start(&[]);
    let done = |text: &str| (0, format!("==> {text}\n"));
    let in_file = |keys: &[&str]| {
        let file: Vec<String> = serde_json::from_str(&agent.read("ring.json")).expect("JSON");
        assert_eq!(file, keys);
    };
    let install = |key: &str| keys(&agent, &format!("-install={key}"));

    assert_eq!(install(second), done("Successfully installed key!"));
    assert_eq!(install(second), done("Successfully installed key!"), "once more");
    in_file(&[first, second]);
    assert_eq!(
        keys(&agent, &format!("-use={third}")),
        failed("requested key is not in the keyring", "Error changing primary key")
    );
    assert_eq!(
        keys(&agent, &format!("-remove={first}")),
        failed("removing the primary key is not allowed", "Error removing key")
    );
    in_file(&[first, second]);
    assert_eq!(keys(&agent, &format!("-use={second}")), done("Successfully changed primary key!"));
    in_file(&[second, first]);
    let mut both = [first, second];
    both.sort();
    let width = first.len().max(second.len());
    let listed: String = both.iter().map(|key| format!("{key:width$}  [1/1]\n")).collect();
    assert_eq!(keys(&agent, "-list"), (0, format!("==> Keys gathered, listing cluster keys...\n\n{listed}")));
    assert_eq!(keys(&agent, &format!("-remove={first}")), done("Successfully removed key!"));
    assert_eq!(keys(&agent, &format!("-remove={third}")), done("Successfully removed key!"), "never there");
    in_file(&[second]);
    assert_eq!(install("MTIz"), failed("key size must be 16, 24 or 32 bytes", "Error installing key"));
    let text = "\nError installing key: illegal base64 data at input byte 4\n";
    assert_eq!(install("MTIz!"), (1, text.to_owned()));
    in_file(&[second]);
    for line in [
        "[INFO] agent: Initiating key installation",
        "[INFO] agent: Initiating primary key change",
        "[INFO] agent: Initiating key removal",
        "[INFO] agent: Initiating key listing",
        "[INFO] serf: Received install-key query",
    ] {
        agent.wait_log(line);
    }
    assert!(!agent.log().contains(second), "no key is logged");
}

#[test]
fn where_nothing_is_encrypted_keys_are_neither_changed_nor_listed() {
    let agent = Agent::started(Program::Ours, "lone", &[]);
    let why = "No keyring to modify (encryption not enabled)";
    let flag = |action: &str| format!("-{action}={}", KEYS[0]);
    assert_eq!(keys(&agent, &flag("install")), failed(why, "Error installing key"));
    assert_eq!(keys(&agent, &flag("use")), failed(why, "Error changing primary key"));
    assert_eq!(keys(&agent, &flag("remove")), failed(why, "Error removing key"));
    assert_eq!(
        keys(&agent, "-list"),
        failed("Keyring is empty (encryption not enabled)", "Failed to gather member keys")
    );
}

#[test]
fn reports_have_the_shape_that_clients_know() {
    let agent = Agent::started(Program::Ours, "lone", &[&format!("-encrypt={}", KEYS[0])]);
    let old = Agent::started(Program::Ours, "old", &["-protocol=3", &format!("-encrypt={}", KEYS[0])]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = Client::connect(&agent.rpc, "").await.unwrap();
        let none = Some([("", ""); 0].into_iter().collect());
        let one = KeyResponse { messages: none.clone(), num_nodes: 1, num_resp: 1, ..KeyResponse::default() };
        assert_eq!(report(async || client.install_key(KEYS[1]).await).await, Ok(one.clone()));
        let both = Some([(KEYS[0], 1), (KEYS[1], 1)].into_iter().collect());
        let mut listed = report(async || client.list_keys().await).await.unwrap();
        listed.keys = listed.keys.map(|keys| {
            let mut keys: Vec<_> = keys.into_iter().collect();
            keys.sort();
            keys.into_iter().collect()
        });
        assert_eq!(listed, KeyResponse { keys: both, ..one.clone() });

        let why = Some([("lone", "removing the primary key is not allowed")].into_iter().collect());
        let failed = KeyResponse { messages: why, num_err: 1, ..one };
        let refused = report(async || client.remove_key(KEYS[0]).await).await;
        assert_eq!(refused, Err(("1/1 nodes reported failure".into(), failed)));
        let nothing = KeyResponse { messages: none, ..KeyResponse::default() };
        let refused = report(async || client.use_key("!!").await).await;
        assert_eq!(refused, Err(("illegal base64 data at input byte 0".into(), nothing.clone())));

        let client = Client::connect(&old.rpc, "").await.unwrap();
        let refused = report(async || client.use_key(KEYS[0]).await).await;
        assert_eq!(refused, Err(("Feature not supported".into(), nothing)));
    });
}

// E42: so a new machine needs no file, and one that has seen keys change keeps them.
#[test]
fn a_keyring_file_may_begin_with_the_configured_key() {
    let [first, second, _] = KEYS;
    let mut agent =
        Agent::new(Program::Ours, "lone", &["-config-file=config.json", "-keyring-file=ring.json"]);
    agent.write("config.json", &format!(r#"{{"encrypt_key": "{first}"}}"#));
    agent.spawn(&[]);
    assert_eq!(agent.exit_code(), Some(1));
    assert!(agent.log().contains("Encryption key not allowed while using a keyring"), "{}", agent.log());
    assert_eq!(agent.read("ring.json"), "", "nothing is made that was not asked for");

    agent.write("config.json", &format!(r#"{{"encrypt_key": "{first}", "keyring_create": true}}"#));
    agent.start(&[]);
    agent.wait_log("[INFO] agent: Created keyring with the configured key in ring.json");
    assert_eq!(agent.read("ring.json"), format!("[\n  \"{first}\"\n]"));
    for flag in [format!("-install={second}"), format!("-use={second}"), format!("-remove={first}")] {
        assert_eq!(keys(&agent, &flag).0, 0);
    }
    agent.kill();
    agent.start(&[]);
    agent.wait_log("[INFO] agent: Restored keyring with 1 keys from ring.json");
    assert_eq!(agent.read("ring.json"), format!("[\n  \"{second}\"\n]"));
    assert!(keys(&agent, "-list").1.contains(second));
}
