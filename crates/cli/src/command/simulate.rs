//! `serf simulate`: what to expect of a cluster before it is built, from the simulator.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serf_agent::config::duration::GoDuration;
use serf_agent::config::settings::Settings;
use serf_agent::config::{Profile, Sources, traits};
use serf_agent::text::os_error;
use serf_sim::forecast::{Forecast, NODES, Plan, Run, TICKS, Which};
use serf_sim::report::Signs;
use serf_sim::work::{Progress, default_jobs, free_memory};
use serf_sim::{Latency, Link};

use super::{Command, FORMAT, Failure, format};
use crate::flags::{Flag, Flags};
use crate::output::{Format, Output, error_line};
use crate::table::Table;

pub(crate) const COMMAND: Command = Command {
    name: "simulate",
    synopsis: "Tells what to expect of a cluster, by simulating one",
    about: &[
        "Simulates whole clusters of nodes in this process, on a virtual network and in virtual time, and tells how soon \
         a crash is known, how soon an event is everywhere, what a node sends at rest, and how often a live member is \
         taken for failed. No agent has to run for this command, and nothing is sent anywhere.",
        "The nodes have the settings of a profile, or those of an agent's configuration: of that count the profile, \
         the object gossip, tags, compression, coordinates and whether there is encryption. Addresses, handlers \
         and files of state are not looked at.",
        "Each run is a cluster that has formed long ago. It is watched at rest; then an event of 32 bytes is fired; then \
         one node loses its power. The same seed with the same flags gives the same figures and the same digest.",
        "Memory grows with the square of the nodes: 1000 take 0.15 GB, 5000 take 3 GB, 10000 take 11 GB, for each run \
         that is done at the same time. Ctrl-C ends the command at once.",
    ],
    flags: &[
        Flag::integer("nodes", "N", "How many nodes, 2 to 20000.").or("100"),
        Flag::text("profile", "PROFILE", "The timings: lan, wan, local or fast. Wins over a configuration.")
            .or("lan"),
        Flag::list("config-file", "PATH", "An agent's configuration file in JSON, or a directory of them."),
        Flag::list("config-dir", "PATH", "A directory of such files, or a single one."),
        Flag::text("loss", "SHARE", "The share of packets that are lost, as 0.1 or 10%; at most 0.9.")
            .or("0"),
        Flag::text(
            "latency",
            "DURATION",
            "The time that a packet takes at least. By default 300us; 40ms with the profile wan, 30us with local.",
        ),
        Flag::text(
            "jitter",
            "DURATION",
            "Up to this is added to that, by chance for each packet. By default 200us; 20ms with wan, 20us with local.",
        ),
        Flag::duration("rest", "DURATION", "How long clusters are watched at rest, 1s to 24h.").or("1m"),
        Flag::integer(
            "runs",
            "N",
            "How many clusters are simulated, up to 1000. By default as many as make 10000 nodes, 1 to 20.",
        ),
        Flag::integer("seed", "N", "The seed of the first run; the others count on from it.").or("1"),
        Flag::integer(
            "jobs",
            "N",
            "How many runs at the same time, up to 256. By default as many as there are processors and memory for.",
        ),
        Flag::text("svg", "PATH", "Write the plot to this file as well, as an SVG picture."),
        Flag::switch("force", "Begin even if there seems to be too little memory."),
        FORMAT,
    ],
    connects: false,
    document: r#"{
  "nodes": 100,
  "profile": "lan",
  "loss": 0.1,
  "latency_seconds": 0.0003,
  "jitter_seconds": 0.0002,
  "runs": 2,
  "seed": 1,
  "crash": {
    "first": {
      "mean": 9.5,
      "least": 9,
      "most": 10
    },
    "half": null,
    "most": null,
    "all": null
  },
  "event": {
    "first": null,
    "half": null,
    "most": null,
    "all": null
  },
  "rest": {
    "seconds": 60,
    "datagrams_per_second": 2.4,
    "bytes_per_second": 0,
    "probe_bytes_per_second": 0,
    "state_bytes_per_second": 0,
    "state_exchange_bytes": 0,
    "state_exchange_interval_seconds": 90,
    "failed_probes": 0,
    "told_failed": 0,
    "members_told_failed": 0
  },
  "digest": "00000000000000ff"
}"#,
    output: &[
        "Crash and event: the time until the first, half, 99 % (most) and all of the others know; mean, least and most of \
         all runs. It is null if in some run not so many knew within 5 minutes (a crash; or twice the longest suspicion) \
         or 10 minutes (an event). Agents tell handlers and streams of members somewhat later, as they collect what \
         happens at the same time (coalesce_period, quiescent_period).",
        "Rest: of each node and second, what it sends; it receives as much. Bytes have the headers of IPv4, UDP and TCP \
         in them, not those of the link. Full states are exchanged with one other member at a time, seldom in large \
         clusters: bytes_per_second is the mean over that time, and an exchange is a peak. The simulated names and addresses \
         resemble each other and compress well, so expect more of that part. failed_probes counts \
         those that nobody answered, each of which begins a suspicion; told_failed how often some node was told that a \
         live one had failed, and members_told_failed how many different ones. All three are sums over all runs.",
    ],
    failure: "The configuration or a flag cannot be used, there is too little memory, or a file could not be written.",
    examples: &[
        ("serf simulate -nodes=1000 -loss=5%", "Asks before growing."),
        (
            "serf simulate -nodes=300 -config-dir=/etc/serf -latency=20ms",
            "Tries a configuration before it is rolled out.",
        ),
        (
            "serf simulate -profile=fast -rest=1h -format=json | jq .rest.told_failed",
            "For scripts: false alarms within an hour.",
        ),
    ],
    run,
    ..Command::PLAIN
};

/// Columns and rows of the plot.
const PLOT: (usize, usize) = (60, 11);
/// What a process may take where the system does not tell.
const MEMORY_ASSUMED: u64 = 4 << 30;
/// Less memory than this is not worth a word.
const MEMORY_TOLD: u64 = 1 << 28;

fn run(flags: &Flags, out: &mut Output) -> Result<(), Failure> {
    let format = format(flags)?;
    let question = Question::of(flags)?;
    let memory = question.plan.jobs as u64 * Plan::memory(question.plan.nodes);
    let free = free_memory().unwrap_or(MEMORY_ASSUMED);
    if memory > free && !flags.is_on("force") {
        return Err(Failure::Message(format!(
            "This takes about {} of memory, and {} are free. Take fewer -nodes or -jobs, or insist with -force.",
            bytes(memory as f64),
            bytes(free as f64)
        )));
    }
    if memory > MEMORY_TOLD {
        error_line(&format!("Note: this takes about {} of memory.", bytes(memory as f64)));
    }
    // Before the work, so that nobody waits for a picture that cannot be.
    let path = flags.text("svg");
    let unwritten = |error| Failure::Message(format!("Error writing -svg={path}: {}", os_error(&error)));
    let svg = (!path.is_empty()).then(|| std::fs::File::create(&path)).transpose().map_err(unwritten)?;

    let progress = Progress::new("simulate", question.plan.runs * TICKS);
    let forecast = question.plan.perform(&|| progress.tick());
    let forecast = forecast.map_err(|error| Failure::Message(format!("Error: {error}")))?;

    if let Some(mut file) = svg {
        let picture = forecast.plot().svg(&question.heading());
        file.write_all(picture.as_bytes()).map_err(unwritten)?;
    }
    match format {
        Format::Json => out.report(format, "", &question.document(&forecast)),
        Format::Text => {
            let terminal = out.terminal();
            let unicode = terminal.is_some() && is_unicode(|name| std::env::var(name).ok());
            let signs = if unicode { Signs::Unicode } else { Signs::Ascii };
            out.line(question.text(&forecast, terminal.is_some_and(|it| it.colours), signs).trim_end());
        }
    }
    Ok(())
}

/// Does a terminal show more than ASCII? The first of these that is set tells.
fn is_unicode(variable: impl Fn(&str) -> Option<String>) -> bool {
    let locale =
        ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(variable).find(|value| !value.is_empty());
    locale.is_some_and(|locale| locale.to_ascii_lowercase().replace('-', "").contains("utf8"))
}

/// What is asked, and in whose words.
struct Question {
    plan: Plan,
    profile: Profile,
    /// How long agents hold back what happens to members: at least and at most.
    held_back: [Duration; 2],
    latency: Duration,
}

impl Question {
    fn of(flags: &Flags) -> Result<Self, Failure> {
        if let Some(word) = flags.arguments().first() {
            let word = word.to_string_lossy();
            return Err(Failure::Usage(format!("'{word}' is no flag; the number of nodes is -nodes.")));
        }
        let nodes = whole(flags, "nodes", NODES.0, NODES.1)?;
        let runs = match flags.integer("runs") {
            0 => (10_000 / nodes).clamp(1, 20),
            _ => whole(flags, "runs", 1, 1000)?,
        };
        let seed = flags.integer("seed").cast_unsigned();
        let loss = share(&flags.text("loss"))?;
        let rest = flags.duration("rest").to_std();
        if !(Duration::from_secs(1)..=Duration::from_secs(24 * 3600)).contains(&rest) {
            return Err(Failure::Message(format!(
                "Invalid -rest: {}. It is 1s to 24h.",
                flags.duration("rest")
            )));
        }

        let files = flags.lists(&["config-file", "config-dir"]).into_iter().map(PathBuf::from).collect();
        let profile = flags.given_text("profile").map(str::to_owned);
        let sources =
            Sources { files, flags: Settings { profile, ..Settings::default() }, notices: Vec::new() };
        let (profile, config) =
            traits(&sources).map_err(|error| Failure::Message(format!("Error: {error}")))?;
        let held_back = [config.quiescent_period, config.coalesce_period];
        let node = config.into_core();
        let most = node.gossip.hardening.max_members;
        if nodes > most {
            return Err(Failure::Message(format!(
                "Invalid -nodes: {nodes}. The configuration allows {most} members ('gossip.max_members')."
            )));
        }

        let micros = Duration::from_micros;
        let (latency, jitter) = match profile {
            Profile::Wan => (micros(40_000), micros(20_000)),
            Profile::Local => (micros(30), micros(20)),
            Profile::Lan | Profile::Fast => (micros(300), micros(200)),
        };
        let (latency, jitter) = (time(flags, "latency", latency)?, time(flags, "jitter", jitter)?);
        let link = Link { latency: Latency::Fixed(latency), jitter, loss, ..Link::lan() };
        let jobs = match flags.integer("jobs") {
            0 => {
                let room = free_memory().unwrap_or(MEMORY_ASSUMED) / Plan::memory(nodes);
                default_jobs().min(runs).min(usize::try_from(room).unwrap_or(usize::MAX)).max(1)
            }
            _ => whole(flags, "jobs", 1, 256)?.min(runs),
        };
        let plan = Plan { node, nodes, link, rest, seed, runs, jobs };
        Ok(Self { plan, profile, held_back, latency })
    }

    fn heading(&self) -> String {
        let Plan { nodes, link, .. } = &self.plan;
        let longest = self.latency + link.jitter;
        let latency = if link.jitter.is_zero() {
            seconds(longest)
        } else {
            format!("{} to {}", seconds(self.latency), seconds(longest))
        };
        let loss = if link.loss > 0.0 {
            format!("{} % lost", rounded(link.loss * 100.0))
        } else {
            "none lost".into()
        };
        format!("{nodes} nodes, profile {}, packets take {latency}, {loss}", self.profile)
    }

    fn text(&self, forecast: &Forecast, colours: bool, signs: Signs) -> String {
        let plan = &self.plan;
        let runs = match plan.runs {
            1 => format!("1 run, seed {}", plan.seed),
            runs => format!("{runs} runs, seeds from {}", plan.seed),
        };
        let mut out = format!("{}; {runs}\n\n", self.heading());
        let mut table = Table::new(&["", "MEAN", "LEAST", "MOST"]);
        let shares = [("the first", 0.0), ("half", 0.5), ("99 %", 0.99), ("all", 1.0)];
        let parts: [(&str, Which); 2] =
            [("An event is heard by", |run| &run.event), ("A crash is known to", |run| &run.crash)];
        for (what, spread) in parts {
            for (who, share) in shares {
                let cells = match Times::of(forecast, spread, share) {
                    Some(times) => [times.mean, times.least, times.most].map(short),
                    None => ["not in time", "", ""].map(str::to_owned),
                };
                let [mean, least, most] = cells.map(Into::into);
                table.push(vec![format!("{what} {who}").into(), mean, least, most]);
            }
        }
        out += &table.render(colours);
        let rest = self.rest(forecast);
        out += &format!(
            "\n\nAt rest each node sends {} datagrams and {} a second: {} for probes and gossip,\n{} for full states",
            (rest.datagrams_per_second * 10.0).round() / 10.0,
            bytes(rest.bytes_per_second),
            bytes(rest.probe_bytes_per_second),
            bytes(rest.state_bytes_per_second)
        );
        if !forecast.exchange_interval.is_zero() {
            out += &format!(
                " (every {} an exchange of {} with one other)",
                GoDuration::from_nanos(
                    i64::try_from(forecast.exchange_interval.as_nanos()).unwrap_or(i64::MAX)
                ),
                bytes(rest.state_exchange_bytes)
            );
        }
        out += &format!(
            ".\nIn {} at rest{} {} probes failed, and {} live members were told to have failed",
            seconds(plan.rest),
            if plan.runs > 1 { ", in all runs together," } else { "" },
            rest.failed_probes,
            rest.members_told_failed
        );
        if rest.told_failed > 0 {
            out += &format!(", {} times at all nodes together", rest.told_failed);
        }
        out += ".\n";
        let [least, most] = self.held_back;
        if !least.is_zero() && !most.is_zero() {
            out += &format!(
                "Agents tell handlers of members {} to {} later than they know.\n",
                seconds(least.min(most)),
                seconds(most)
            );
        }
        out + &format!(
            "Digest: {:016x}\n\n{}",
            forecast.digest(),
            forecast.plot().text(PLOT.0, PLOT.1, signs)
        )
    }

    fn rest(&self, forecast: &Forecast) -> Rest {
        let sum = |of: fn(&Run) -> u64| forecast.runs.iter().map(of).sum();
        let (probing, exchanging) = (forecast.mean(Run::probing), forecast.exchanging());
        Rest {
            seconds: rounded(self.plan.rest.as_secs_f64()),
            datagrams_per_second: rounded(forecast.mean(Run::datagrams)),
            bytes_per_second: rounded(probing + exchanging),
            probe_bytes_per_second: rounded(probing),
            state_bytes_per_second: rounded(exchanging),
            state_exchange_bytes: rounded(forecast.mean(|run| run.exchange as f64)),
            state_exchange_interval_seconds: rounded(forecast.exchange_interval.as_secs_f64()),
            failed_probes: sum(|run| run.rest.failed_probes),
            told_failed: sum(|run| run.rest.told_failed as u64),
            members_told_failed: sum(|run| run.rest.accused as u64),
        }
    }

    fn document(&self, forecast: &Forecast) -> Document {
        let Plan { nodes, link, seed, runs, .. } = &self.plan;
        Document {
            nodes: *nodes,
            profile: self.profile.to_string(),
            loss: link.loss,
            latency_seconds: self.latency.as_secs_f64(),
            jitter_seconds: link.jitter.as_secs_f64(),
            runs: *runs,
            seed: *seed,
            crash: Reached::of(forecast, |run| &run.crash),
            event: Reached::of(forecast, |run| &run.event),
            rest: self.rest(forecast),
            digest: format!("{:016x}", forecast.digest()),
        }
    }
}

#[derive(Serialize)]
struct Document {
    nodes: usize,
    profile: String,
    loss: f64,
    latency_seconds: f64,
    jitter_seconds: f64,
    runs: usize,
    seed: u64,
    crash: Reached,
    event: Reached,
    rest: Rest,
    digest: String,
}

#[derive(Serialize)]
struct Reached {
    first: Option<Times>,
    half: Option<Times>,
    most: Option<Times>,
    all: Option<Times>,
}

impl Reached {
    fn of(forecast: &Forecast, spread: Which) -> Self {
        let [first, half, most, all] = [0.0, 0.5, 0.99, 1.0].map(|share| Times::of(forecast, spread, share));
        Self { first, half, most, all }
    }
}

/// In seconds.
#[derive(Serialize)]
struct Times {
    mean: f64,
    least: f64,
    most: f64,
}

impl Times {
    /// None if it did not come so far in some run.
    fn of(forecast: &Forecast, spread: Which, share: f64) -> Option<Self> {
        let times = forecast.runs.iter().map(|run| Some(spread(run).until(share)?.as_secs_f64()));
        let times: Vec<f64> = times.collect::<Option<_>>()?;
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        let (least, most) = times.iter().fold((f64::MAX, 0.0_f64), |(l, m), t| (l.min(*t), m.max(*t)));
        let [mean, least, most] = [mean, least, most].map(rounded);
        Some(Self { mean, least, most })
    }
}

#[derive(Serialize)]
struct Rest {
    seconds: f64,
    datagrams_per_second: f64,
    bytes_per_second: f64,
    probe_bytes_per_second: f64,
    state_bytes_per_second: f64,
    state_exchange_bytes: f64,
    state_exchange_interval_seconds: f64,
    failed_probes: u64,
    told_failed: u64,
    members_told_failed: u64,
}

fn whole(flags: &Flags, name: &str, least: usize, most: usize) -> Result<usize, Failure> {
    let given = flags.integer(name);
    usize::try_from(given)
        .ok()
        .filter(|n| (least..=most).contains(n))
        .ok_or_else(|| Failure::Message(format!("Invalid -{name}: {given}. It is {least} to {most}.")))
}

/// `0.1` and `10%` are the same.
fn share(text: &str) -> Result<f64, Failure> {
    let number = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse(),
    };
    number.ok().filter(|share| (0.0..=0.9).contains(share)).ok_or_else(|| {
        Failure::Message(format!("Invalid -loss: {text}. It is a share such as 0.1 or 10%, up to 0.9."))
    })
}

/// A time of packets.
fn time(flags: &Flags, name: &str, default: Duration) -> Result<Duration, Failure> {
    let Some(text) = flags.given_text(name).filter(|text| !text.is_empty()) else { return Ok(default) };
    let most = Duration::from_secs(10);
    match text.parse::<GoDuration>() {
        Ok(time) if time.as_nanos() >= 0 && time.to_std() <= most => Ok(time.to_std()),
        Ok(_) => Err(Failure::Message(format!("Invalid -{name}: {text}. It is 0s to 10s."))),
        Err(error) => Err(Failure::Message(format!("Invalid -{name}: {error}"))),
    }
}

/// To three decimals.
fn rounded(n: f64) -> f64 {
    (n * 1000.0).round() / 1000.0
}

/// Seconds, with as many digits as mean something.
fn short(seconds: f64) -> String {
    if seconds < 10.0 { format!("{seconds:.2} s") } else { format!("{seconds:.1} s") }
}

fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 1.0 {
        format!("{} ms", rounded(seconds * 1000.0))
    } else {
        format!("{} s", rounded(seconds))
    }
}

fn bytes(n: f64) -> String {
    match n {
        n if n >= 1e9 => format!("{:.1} GB", n / 1e9),
        n if n >= 1e6 => format!("{:.1} MB", n / 1e6),
        n if n >= 1e3 => format!("{:.1} kB", n / 1e3),
        n => format!("{n:.0} B"),
    }
}

#[cfg(test)]
mod tests {
    use serf_sim::experiment::Spread;

    use super::*;
    use crate::flags::parse;

    fn asked(line: &str) -> Result<Question, Failure> {
        let arguments: Vec<_> = line.split_whitespace().map(Into::into).collect();
        Question::of(&parse(COMMAND.flags(), &arguments).expect("well-formed flags"))
    }

    fn refused(line: &str) -> String {
        match asked(line).map(drop) {
            Err(Failure::Message(text) | Failure::Usage(text)) => text,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn flags_make_a_plan() {
        let question = asked("-nodes=3000 -loss=12.5% -seed=7").expect("fine");
        let plan = &question.plan;
        assert_eq!((plan.nodes, plan.runs, plan.seed, plan.link.loss), (3000, 3, 7, 0.125));
        assert_eq!(question.heading(), "3000 nodes, profile lan, packets take 0.3 ms to 0.5 ms, 12.5 % lost");
        let wan = asked("-profile=wan -jitter=0s -runs=4 -jobs=9").expect("fine");
        assert_eq!(wan.heading(), "100 nodes, profile wan, packets take 40 ms, none lost");
        assert_eq!((wan.plan.runs, wan.plan.jobs, wan.plan.node.gossip.suspicion_mult), (4, 4, 6));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (line, text) in [
            ("-nodes=1", "Invalid -nodes: 1. It is 2 to 20000."),
            ("-nodes=20001", "Invalid -nodes: 20001. It is 2 to 20000."),
            ("-runs=-1", "Invalid -runs: -1. It is 1 to 1000."),
            ("-loss=1", "Invalid -loss: 1. It is a share such as 0.1 or 10%, up to 0.9."),
            ("-loss=NaN", "Invalid -loss: NaN. It is a share such as 0.1 or 10%, up to 0.9."),
            ("-latency=5", "Invalid -latency: time: missing unit in duration \"5\""),
            ("-jitter=-5ms", "Invalid -jitter: -5ms. It is 0s to 10s."),
            ("-rest=1ms", "Invalid -rest: 1ms. It is 1s to 24h."),
            ("-profile=lann", "Error: Unknown profile: lann"),
            ("5000", "'5000' is no flag; the number of nodes is -nodes."),
        ] {
            assert_eq!(refused(line), text);
        }
        assert!(refused("-config-file=missing/file").contains("missing/file"));
    }

    #[test]
    fn a_configuration_of_another_machine_shapes_the_nodes() {
        let path = std::env::temp_dir().join(format!("serf-simulate-{}.json", std::process::id()));
        let text = r#"{"profile": "wan", "interface": "none-such", "encrypt_key": "cg8StVXbQJ0gPvMd9o7yrg==",
            "tags_file": "/none/such", "tags": {"role": "web"}, "enable_compression": false,
            "gossip": {"probe_interval": "700ms", "probe_timeout": "90ms", "max_members": 50}}"#;
        std::fs::write(&path, text).expect("a file");
        let file = format!("-config-file={} -nodes=20", path.display());
        let (wan, lan) = (asked(&file), asked(&format!("{file} -profile=lan")));
        let many = refused(&format!("{file} -nodes=51"));
        std::fs::remove_file(&path).expect("it was there");
        let plan = wan.expect("fine").plan;
        let gossip = &plan.node.gossip;
        assert_eq!((gossip.probe_interval, gossip.suspicion_mult), (Duration::from_millis(700), 6));
        assert_eq!((gossip.keys.len(), gossip.compression, plan.node.tags.len()), (1, false, 1));
        assert_eq!(lan.expect("fine").plan.node.gossip.suspicion_mult, 4);
        assert_eq!(many, "Invalid -nodes: 51. The configuration allows 50 members ('gossip.max_members').");
    }

    #[test]
    fn the_document_is_as_described() {
        let question = asked("-loss=0.1 -runs=2").expect("fine");
        let spread = |seconds| Spread { times: vec![Duration::from_secs(seconds)], wanted: 99 };
        let run = |seconds| Run {
            crash: spread(seconds),
            event: Spread { times: Vec::new(), wanted: 99 },
            rest: serf_sim::experiment::Rest { time: Duration::from_secs(60), ..Default::default() },
            exchange: 0,
            digest: 0,
        };
        let forecast = Forecast { runs: vec![run(9), run(10)], exchange_interval: Duration::from_secs(90) };
        let mut document = question.document(&forecast);
        (document.rest.datagrams_per_second, document.digest) = (2.4, "00000000000000ff".to_owned());
        let text = serf_agent::json::to_string_pretty(&document);
        assert_eq!(text.replace(".0,", ",").replace(".0\n", "\n"), COMMAND.document);
    }

    #[test]
    fn people_read_the_same() {
        let question = asked("-nodes=8 -runs=1 -rest=5s -seed=2").expect("fine");
        let forecast = question.plan.perform(&|| {}).expect("settings that work");
        let text = question.text(&forecast, false, Signs::Ascii);
        assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 100), "{text}");
        for part in
            ["8 nodes, profile lan", "1 run, seed 2", "A crash is known to all", "% of the nodes", "Digest: "]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_locale_tells_what_a_terminal_shows() {
        for (variables, unicode) in [
            (&[("LANG", "de_DE.UTF-8")][..], true),
            (&[("LC_ALL", "C"), ("LANG", "en_US.utf8")], false),
            (&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8")], true),
            (&[], false),
        ] {
            let value = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
            assert_eq!(is_unicode(value), unicode, "{variables:?}");
        }
    }
}
