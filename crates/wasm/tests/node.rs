//! The module in WebAssembly, under Node.js: `build.sh` builds and tests it, and then it is held against the native
//! simulator: the same seeds, the same digests. Where the target or Node.js is missing this says so and is done.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use serf_gossip::Config;
use serf_sim::{Latency, Link, Network, Scenario, Sim, play};

/// What `build.sh` ends with where something is missing.
const LACKING: i32 = 3;

#[test]
fn the_module_under_node_has_the_digests_of_the_native_simulator() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Beside what cargo builds for this machine, so that both are kept.
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("wasm");
    let mut build = Command::new("bash");
    build.arg(here.join("build.sh")).env("SERF_WASM_DIR", &out).env("CARGO", env!("CARGO"));
    // Those are for this machine.
    build.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    let built = done(build, "");
    if built.status.code() == Some(LACKING) {
        return skipped(&String::from_utf8_lossy(&built.stderr));
    }
    assert!(built.status.success(), "build.sh: {}{}", text(&built.stdout), text(&built.stderr));

    let worlds: Vec<Value> =
        [(5, 1, "lan"), (40, 2, "lan"), (25, 3, "wan"), (16, u64::MAX, "fast"), (12, 4, "local")]
            .into_iter()
            .map(|(nodes, seed, profile)| {
                json!({
                    "nodes": nodes, "seed": seed.to_string(), "profile": profile, "formed": seed % 2 == 0,
                    "latency": 1.25, "jitter": 7.5, "loss": 0.03,
                })
            })
            .collect();
    let stories: Vec<Value> = (1..=12).map(|seed| json!({"seed": seed, "nodes": 9})).collect();
    let native: Vec<String> = worlds.iter().map(world).chain(stories.iter().map(story)).collect();

    let mut node = Command::new("node");
    node.arg(here.join("js/digests.js")).arg(out.join("site/serf.wasm"));
    let told = done(node, &json!({"worlds": worlds, "stories": stories}).to_string());
    assert!(told.status.success(), "node: {}", text(&told.stderr));
    let wasm: Vec<String> = text(&told.stdout).lines().map(str::to_owned).collect();
    for (native, wasm) in native.iter().zip(&wasm) {
        println!("native {native}, WebAssembly {wasm}");
    }
    assert_eq!(native, wasm);
}

/// What `digests.js` does, on the simulator itself.
fn world(options: &Value) -> String {
    let nodes = options["nodes"].as_u64().unwrap() as usize;
    let profile = match options["profile"].as_str().unwrap() {
        "wan" => Config::wan,
        "fast" => Config::fast,
        "local" => Config::local,
        _ => Config::lan,
    };
    let mut sim = Sim::new(options["seed"].as_str().unwrap().parse().unwrap());
    sim.network = Network::flat(Link {
        latency: Latency::Fixed(Duration::from_micros(1250)),
        jitter: Duration::from_micros(7500),
        ..Link::lossy(0.03)
    });
    for at in 0..nodes {
        sim.add(Sim::profiled(at, profile)).unwrap();
    }
    if options["formed"] == true {
        sim.acquaint();
    } else {
        (1..nodes).for_each(|at| {
            sim.join(at, 0);
        });
    }
    sim.run(Duration::from_secs(10));
    let (name, payload) = ("deploy".into(), b"v1".to_vec());
    sim.command(1, |id| serf_core::Command::UserEvent { id, name, payload, coalesce: false });
    (0..nodes).for_each(|at| sim.network.set_part(at, (at * 2 / nodes) as u32));
    sim.run(Duration::from_secs(40));
    sim.network.heal();
    sim.kill(2);
    sim.run(Duration::from_secs(60));
    format!("{:016x}", sim.digest())
}

fn story(options: &Value) -> String {
    let story = Scenario::draw(options["seed"].as_u64().unwrap(), 9);
    format!("{:016x}", play(&story, None).expect("no rule is broken").digest)
}

fn done(mut command: Command, input: &str) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|why| panic!("{command:?}: {why}"));
    // Few bytes, which fit the pipe; who does not read them is done with that.
    let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Past the test harness, which shows nothing of tests that pass.
fn skipped(why: &str) {
    let _ = writeln!(
        std::io::stderr(),
        "\nthe_module_under_node…: SKIPPED, nothing was tested in WebAssembly: {why}"
    );
}
