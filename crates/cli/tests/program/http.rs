//! The HTTP API, as programs use it, and as those do who mean no good.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::agents::{Agent, PATIENCE, Program, converge, until};

/// An agent that serves HTTP there, and where that is.
fn served(name: &str, http: &str, flags: &[&str], files: &[(&str, &str)]) -> (Agent, String) {
    let mut agent = Agent::new(Program::Ours, name, &[&[http], flags].concat());
    files.iter().for_each(|(file, content)| agent.write(file, content));
    agent.spawn(&[]);
    let address = until("the banner tells where HTTP is served", || {
        let log = agent.log();
        let (_, rest) = log.split_once("HTTP addr: '")?;
        Some(rest.split_once('\'')?.0.replace("0.0.0.0", "127.0.0.1"))
    });
    (agent, address)
}

fn local(name: &str, flags: &[&str]) -> (Agent, String) {
    served(name, "-http-addr=:0", flags, &[])
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the agent listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream
}

/// What was answered: the status, the header in lower case, the body.
#[derive(Debug)]
struct Reply {
    status: u16,
    header: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn error(&self) -> String {
        let document = self.json();
        assert_eq!(document.as_object().map(serde_json::Map::len), Some(1), "{self:?}");
        document["error"].as_str().expect("a text").to_owned()
    }

    fn has(&self, line: &str) -> bool {
        self.header.lines().any(|it| it == line)
    }
}

/// Sends a request on a connection of its own, and reads its end.
fn send(address: &str, request: &str, headers: &[&str], body: &str) -> Reply {
    let mut stream = connect(address);
    let host = if headers.iter().any(|it| it.starts_with("Host:")) { "" } else { "Host: localhost\r\n" };
    let more: String = headers.iter().map(|it| format!("{it}\r\n")).collect();
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{host}{more}\r\n{body}"
    );
    stream.write_all(head.as_bytes()).expect("written");
    let mut all = String::new();
    stream.read_to_string(&mut all).expect("text to its end");
    let (head, body) = all.split_once("\r\n\r\n").expect("a header");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Reply { status, header: head.to_lowercase(), body: body.to_owned() }
}

fn get(address: &str, url: &str) -> Reply {
    send(address, &format!("GET {url}"), &[], "")
}

fn post(address: &str, url: &str, body: &Value) -> Reply {
    send(address, &format!("POST {url}"), &["Content-Type: application/json"], &body.to_string())
}

/// A stream of events that has begun. Its chunks are taken as they are: each event is written at once.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(address: &str, request: &str, body: &str) -> Self {
        let mut stream = connect(address);
        let length = body.len();
        let head = format!(
            "{request} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(head.as_bytes()).expect("written");
        let mut this = Self(BufReader::new(stream));
        assert_eq!(this.line(), "HTTP/1.1 200 OK");
        assert!(this.until("content-type: ").ends_with("text/event-stream"));
        this.until("retry: ");
        this
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let n = self.0.read_line(&mut line).expect("a line comes");
        assert!(n > 0, "the stream has ended");
        line.trim_end().to_owned()
    }

    /// The next line that begins so.
    fn until(&mut self, begin: &str) -> String {
        loop {
            let line = self.line();
            if line.starts_with(begin) {
                return line;
            }
        }
    }

    fn event(&mut self) -> (String, Value) {
        let kind = self.until("event: ").split_off("event: ".len());
        let data = self.until("data: ");
        (kind, serde_json::from_str(&data["data: ".len()..]).expect("JSON"))
    }

    fn rest(mut self) -> String {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).expect("text to its end");
        rest
    }
}

#[test]
fn members_are_those_of_the_command_line() {
    let (a, http) = local("a", &["-tag", "role=web", "-tag", "dc=east"]);
    let b = Agent::started(Program::Ours, "b", &[&format!("-join={}", a.gossip), "-tag", "role=db"]);
    converge(&[&a, &b]);
    let document = |args: &[&str]| -> Value {
        let out = a.cli("members", &[&["-format=json"], args].concat());
        serde_json::from_slice(&out.stdout).expect("JSON")
    };
    for (query, args) in [
        ("", &[][..]),
        ("?tag=role=w.*&tag=dc=east", &["-tag=role=w.*", "-tag=dc=east"]),
        ("?name=b&status=alive", &["-name=b", "-status=alive"]),
    ] {
        let reply = get(&http, &format!("/v1/members{query}"));
        assert_eq!((reply.status, reply.json()), (200, document(args)), "{query}");
        assert!(reply.has("content-type: application/json"), "{reply:?}");
    }
    assert_eq!(get(&http, "/v1/members?name=nobody").json(), json!({"members": []}));
    let head = send(&http, "HEAD /v1/members", &[], "");
    let length = format!("content-length: {}", get(&http, "/v1/members").body.len());
    assert!(head.status == 200 && head.body.is_empty() && head.has(&length), "{head:?}");

    let stats = a.cli("info", &["-format=json"]).stdout;
    let stats: Value = serde_json::from_slice(&stats).expect("JSON");
    assert_eq!(get(&http, "/v1/stats").json()["tags"], stats["tags"]);
    until("each knows where the other is", || {
        let reply = get(&http, "/v1/rtt?from=b&to=a");
        (reply.status == 200 && reply.json()["seconds"].as_f64()? > 0.0).then_some(())
    });
    let all = get(&http, "/v1/coordinates").json();
    assert_eq!(all["coordinates"].as_array().map(Vec::len), Some(2), "{all}");
    let one = get(&http, "/v1/coordinates?node=b").json();
    assert_eq!(one["coordinates"][0]["node"], "b");
}

#[test]
fn what_makes_no_sense_is_told_in_one_form() {
    let (_agent, http) = local("n", &[]);
    for (request, status, error) in [
        ("GET /v1/membrs", 404, "there is no \"/v1/membrs\"; did you mean /v1/members?"),
        ("GET /", 404, "there is no \"/\"; see /v1/openapi.json for what there is"),
        ("GET /v1/members?stauts=x", 400, "there is no parameter \"stauts\" here; did you mean 'status'?"),
        ("GET /v1/rtt", 400, "'to' is missing: the name of a member"),
        (
            "POST /v1/event",
            400,
            "the body is not what it should be: EOF while parsing a value at line 1 column 0",
        ),
    ] {
        let reply = send(&http, request, &["Content-Type: application/json"], "");
        assert_eq!((reply.status, reply.error().as_str()), (status, error), "{request}");
    }
    for (url, begin) in [
        ("/v1/members?name=(", "Failed to compile regex: "),
        ("/v1/events?type=member-jion", "type=\"member-jion\" is none of *, member-join, "),
    ] {
        let reply = get(&http, url);
        assert!(reply.status == 400 && reply.error().starts_with(begin), "{reply:?}");
    }
    let unknown = get(&http, "/v1/coordinates?node=nobody");
    assert!(unknown.status == 404 && unknown.error().starts_with("no coordinate of \"nobody\" is known: "));
    for (request, allow) in [
        ("DELETE /v1/members", "GET, HEAD"),
        ("OPTIONS /v1/query", "POST"),
        ("GET /v1/event", "POST"),
        ("POST /healthz", "GET, HEAD"),
    ] {
        let reply = send(&http, request, &[], "");
        let (line, error) = (format!("allow: {}", allow.to_lowercase()), format!("takes {allow} only"));
        assert!(reply.status == 405 && reply.has(&line) && reply.error().ends_with(&error), "{reply:?}");
    }
    let large = post(&http, "/v1/event", &json!({"name": "x", "payload": "x".repeat(100_000)}));
    assert_eq!((large.status, large.error().as_str()), (413, "the body is larger than 65536 bytes"));
    let long = get(&http, &format!("/v1/members?name={}", "x".repeat(5000)));
    assert_eq!((long.status, long.error().as_str()), (414, "the URL is longer than 4096 bytes"));
    let event = post(&http, "/v1/event", &json!({"name": "x", "payload": "x".repeat(513)}));
    assert_eq!(
        (event.status, event.error().as_str()),
        (400, "user event exceeds configured limit of 512 bytes before encoding")
    );
    let query = post(&http, "/v1/query", &json!({"name": "_serf_list-keys"}));
    assert_eq!((query.status, query.error().as_str()), (400, "Queries cannot contain the '_serf_' prefix"));
    let document: Value =
        serde_json::from_str(include_str!("../../../agent/src/http/openapi.json")).expect("JSON");
    assert_eq!(get(&http, "/v1/openapi.json?any=thing").json(), document);
    assert_eq!(get(&http, "/healthz").json(), json!({"status": "alive"}));
}

#[test]
fn events_come_to_whoever_listens_until_the_agent_ends() {
    let (mut a, http) = local("a", &[]);
    let mut all = Stream::open(&http, "GET /v1/events", "");
    let mut some = Stream::open(&http, "GET /v1/events?type=user:deploy,member-join", "");
    for body in [
        json!({"name": "other", "coalesce": false}),
        json!({"name": "deploy", "payload_base64": "/wo=", "coalesce": false}),
    ] {
        let reply = post(&http, "/v1/event", &body);
        assert!(reply.status == 204 && reply.body.is_empty(), "{reply:?}");
    }
    let other = json!({"event": "user", "name": "other", "ltime": 1, "coalesce": false,
        "payload": "", "payload_base64": ""});
    let deploy = json!({"event": "user", "name": "deploy", "ltime": 2, "coalesce": false,
        "payload": null, "payload_base64": "/wo="});
    assert_eq!(all.event(), ("user".into(), other));
    assert_eq!(all.event(), ("user".into(), deploy.clone()));
    assert_eq!(some.event(), ("user".into(), deploy));
    let _b = Agent::started(Program::Ours, "b", &[&format!("-join={}", a.gossip), "-tag", "role=db"]);
    // Its own may come late, and both may come together.
    loop {
        let (kind, join) = some.event();
        assert_eq!(kind, "member-join");
        let members = join["members"].as_array().expect("a list");
        if let Some(b) = members.iter().find(|member| member["name"] == "b") {
            assert_eq!(b["tags"], json!({"role": "db"}));
            break;
        }
    }

    a.signal("-INT");
    let rest = some.rest();
    assert!(rest.ends_with("0\r\n\r\n"), "it ends as it should: {rest}");
    assert_eq!(a.exit_code(), Some(0));
}

#[test]
fn queries_are_answered_at_the_end_or_as_answers_come() {
    let (_agent, http) = local("n1", &["-tag", "role=web", "-event-handler=query:echo=cat"]);
    let ask = |body: Value| post(&http, "/v1/query", &body);
    let patience = 60;
    let reply = ask(json!({"name": "echo", "payload": "hi", "request_ack": true, "timeout": patience,
        "filter_nodes": ["n1", "n2"], "filter_tags": {"role": "^web$"}, "relay_factor": 1}));
    assert_eq!(reply.status, 200, "{reply:?}");
    let answer = json!({"from": "n1", "payload": "hi\n", "payload_base64": "aGkK"});
    let outcome = json!({"name": "echo", "ltime": 1, "present": 1, "acks": ["n1"], "responses": [answer],
        "end": "complete"});
    assert_eq!(reply.json(), outcome);

    let body = json!({"name": "echo", "payload": "hi", "request_ack": true, "timeout": patience});
    let mut stream = Stream::open(&http, "POST /v1/query", &body.to_string());
    assert_eq!(stream.event(), ("ack".into(), json!({"from": "n1"})));
    assert_eq!(stream.event(), ("response".into(), answer));
    let done = json!({"end": "complete", "acks": 1, "responses": 1});
    assert_eq!(stream.event(), ("done".into(), done));

    let nobody = ask(json!({"name": "echo", "filter_nodes": ["n7"], "timeout": 0.05})).json();
    assert_eq!((&nobody["acks"], &nobody["responses"]), (&json!([]), &json!([])), "{nobody}");
}

#[test]
fn numbers_are_there_for_prometheus() {
    let (agent, http) = local("n", &["-event-handler=user:tick=true"]);
    assert_eq!(post(&http, "/v1/event", &json!({"name": "tick \"1\""})).status, 204);
    agent.cli("members", &[]);
    until("all of it has been counted", || {
        let reply = get(&http, "/metrics");
        assert!(reply.status == 200 && reply.has("content-type: text/plain; version=0.0.4; charset=utf-8"));
        let lines: Vec<&str> = reply.body.lines().collect();
        let at_least = |name: &str, least: f64| {
            let value = lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value.unwrap_or_else(|| panic!("no {name}")).parse::<f64>().expect("a number") >= least
        };
        assert!(lines.contains(&"serf_members{status=\"alive\"} 1"));
        assert!(lines.contains(&"# TYPE serf_gossip_probe_seconds summary"));
        (lines.contains(&"serf_user_events_total 1")
            && lines.contains(&"serf_user_events_by_name_total{name=\"tick_\\\"1\\\"\"} 1")
            && at_least("serf_rpc_commands_total", 1.0)
            && at_least("serf_http_requests_total", 2.0)
            && at_least("serf_resident_memory_bytes", 0.0))
        .then_some(())
    });
}

#[test]
fn with_a_token_only_those_who_have_it_are_served() {
    let flags = ["-config-file=auth.json"];
    let files = [("auth.json", r#"{"rpc_auth": "secret"}"#)];
    let (agent, http) = served("guarded", "-http-addr=0.0.0.0:0", &flags, &files);
    let foreign = "Host: serf.example";
    let event = |token: &str| send(&http, "POST /v1/event", &[foreign, token], r#"{"name": "x"}"#);
    let members = |token: &str| send(&http, "GET /v1/members", &[foreign, token], "");
    for (token, error) in [
        ("X: y", "a token is needed: send 'Authorization: Bearer TOKEN' with the agent's rpc_auth"),
        ("Authorization: Bearer wrong", "the token is wrong: it is the agent's rpc_auth"),
    ] {
        for reply in [event(token), members(token)] {
            assert_eq!((reply.status, reply.error().as_str()), (401, error));
            assert!(reply.has("www-authenticate: bearer realm=\"serf\""), "{reply:?}");
        }
    }
    assert_eq!(event("Authorization: Bearer secret").status, 204);
    assert_eq!(members("Authorization: Bearer secret").status, 200);
    for open in ["/healthz", "/v1/openapi.json"] {
        assert_eq!(send(&http, &format!("GET {open}"), &[foreign], "").status, 200);
    }
    agent.wait_log(
        "[WARN] agent.http: denied /v1/event: the token is wrong: it is the agent's rpc_auth from=127.",
    );
    assert!(!agent.log().contains("secret"));
}

#[test]
fn without_a_token_nobody_else_can_have_anything_done() {
    let json = "Content-Type: application/json";
    let (agent, http) = served("readable", "-http-addr=0.0.0.0:0", &[], &[]);
    assert_eq!(send(&http, "GET /v1/members", &["Host: serf.example"], "").status, 200);
    let reply = send(&http, "POST /v1/event", &[json], r#"{"name": "x"}"#);
    assert!(reply.status == 403 && reply.error().contains("set rpc_auth in its configuration"), "{reply:?}");
    agent.wait_log("[WARN] agent.http: whoever reaches 0.0.0.0:");

    let (_agent, http) = local("local", &[]);
    for (request, headers) in [
        ("GET /v1/members", &["Host: serf.example"][..]),
        ("GET /metrics", &["Host: 127.0.0.1.serf.example:7374"]),
        ("POST /v1/event", &["Host: serf.example", json]),
        ("POST /v1/event", &["Content-Type: text/plain"]),
        (
            "POST /v1/event",
            &["Origin: http://serf.example", "Content-Type: application/x-www-form-urlencoded"],
        ),
    ] {
        let reply = send(&http, request, headers, r#"{"name": "x"}"#);
        assert!(reply.status == 403 && reply.error().contains("set rpc_auth"), "{reply:?}");
    }
    assert_eq!(send(&http, "POST /v1/event", &[json, "Host: [::1]:80"], r#"{"name": "x"}"#).status, 204);
}

#[test]
fn a_port_that_is_taken_is_told_before_gossip_begins() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound");
    for (flag, error) in [
        (
            format!("-http-addr={address}"),
            format!(
                "==> Error starting HTTP listener: listen tcp {address}: bind: address already in use\n    (name "
            ),
        ),
        (
            "-http-addr=7374".to_owned(),
            "==> Error starting HTTP listener: address 7374: a number is no host\n    (write HOST:PORT, "
                .to_owned(),
        ),
    ] {
        let mut agent = Agent::new(Program::Ours, "late", &[&flag]);
        agent.spawn(&[]);
        assert_eq!(agent.exit_code(), Some(1));
        let log = agent.log();
        assert!(log.contains(&error) && !log.contains("EventMemberJoin"), "{log}");
    }
}

#[test]
fn http_clients_that_mean_no_good_cost_others_nothing() {
    let (agent, http) = local("patient", &[]);
    let is_served = || assert_eq!(get(&http, "/healthz").status, 200);
    let before = agent.open_files();

    // More than there are seats for: some say nothing, some half of it, some announce more than they send.
    let idle: Vec<TcpStream> = (0..300)
        .map(|n| {
            let mut stream = connect(&http);
            let words: &[u8] = match n % 3 {
                0 => b"",
                1 => b"GET /v1/members HTTP/1.1\r\nHost: loc",
                _ => {
                    b"POST /v1/event HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                       Content-Length: 100\r\n\r\n{"
                }
            };
            // It may have been sent away for another.
            let _ = stream.write_all(words);
            stream
        })
        .collect();
    is_served();

    // Asks for more and more and never reads: it is the agent that stops reading.
    let mut greedy = connect(&http);
    greedy.set_nonblocking(true).expect("it can be set");
    let requests = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
    let mut asked = 0;
    loop {
        match greedy.write(&requests) {
            Ok(n) => asked += n,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                break;
            }
        }
        assert!(asked < 64 << 20, "the agent reads on though nobody takes its answers");
    }
    is_served();

    for garbage in
        [&b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"[..], &[0x48; 1 << 20], b"GET / HTTP/9.9\r\n\r\n"]
    {
        let mut stream = connect(&http);
        let _ = stream.write_all(garbage);
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => assert!(answer.starts_with(b"HTTP/1.1 4") || answer.is_empty()),
            // What we still sent may have been refused.
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
    is_served();
    until("they are counted", || {
        let page = get(&http, "/metrics").body;
        let is_some = |name: &str| page.lines().any(|it| it.starts_with(name) && !it.ends_with(" 0"));
        (is_some("serf_http_bad_total ") && is_some("serf_http_refused_total ")).then_some(())
    });
    agent.wait_log(
        "[WARN] agent.http: 256 clients are connected: ending the connection idle for longest from=127.",
    );

    drop((idle, greedy));
    if let Some(before) = before {
        until("all connections are closed", || (agent.open_files()? <= before).then_some(()));
    }
    is_served();
}

#[test]
fn one_connection_serves_many_requests() {
    let (_agent, http) = local("n", &[]);
    let mut stream = connect(&http);
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout can be set");
    for n in 0..100 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("written");
        let mut answer = Vec::new();
        while !answer.ends_with(b"{\"status\":\"alive\"}\n") {
            let mut buffer = [0; 1024];
            let taken = stream.read(&mut buffer).expect("an answer");
            assert!(taken > 0, "closed after {n}");
            answer.extend_from_slice(&buffer[..taken]);
        }
    }
}

#[test]
fn streams_and_queries_are_bounded_and_end_with_those_who_asked() {
    let (_agent, http) = local("n", &[]);
    let endless = json!({"name": "x", "timeout": 300}).to_string();
    for (request, body, max) in [("GET /v1/events", "", 64), ("POST /v1/query", endless.as_str(), 32)] {
        let json = ["Content-Type: application/json", "Accept: text/event-stream"];
        let open: Vec<Stream> = (0..max).map(|_| Stream::open(&http, request, body)).collect();
        let reply = send(&http, request, &json, body);
        assert!(reply.status == 503 && reply.has("retry-after: 1"), "{reply:?}");
        assert!(reply.error().contains(&format!("the limit is {max}")), "{reply:?}");
        assert_eq!(get(&http, "/healthz").status, 200);
        drop(open);
        until("there is room again", || {
            let mut stream = connect(&http);
            let length = body.len();
            let head = format!(
                "{request} HTTP/1.1\r\nHost: localhost\r\n{}\r\n{}\r\nContent-Length: {length}\r\n\r\n{body}",
                json[0], json[1]
            );
            stream.write_all(head.as_bytes()).expect("written");
            let mut status = [0; 12];
            stream.read_exact(&mut status).expect("answered");
            (status == *b"HTTP/1.1 200").then_some(())
        });
    }
    // The same of one that is answered at the end.
    for _ in 0..40 {
        let mut stream = connect(&http);
        let length = endless.len();
        let head = format!(
            "POST /v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n\
             {endless}"
        );
        stream.write_all(head.as_bytes()).expect("written");
    }
    until("nobody waits for an answer any more", || {
        let reply = post(&http, "/v1/query", &json!({"name": "x", "timeout": 0.01}));
        (reply.status == 200).then_some(())
    });
}
