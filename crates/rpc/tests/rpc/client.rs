//! The client against agents of a few lines, on a loopback socket.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;

use serf_rpc::message::*;
use serf_rpc::{
    Answer, Client, Command, Connection, Error, Pairs, Request, Step, Text, record, reply, reply_with,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::json::hex;
use crate::vectors::{entries, name};

/// An agent's end of a connection.
struct Agent<S = TcpStream> {
    stream: S,
    connection: Connection,
    ready: VecDeque<(u64, Request)>,
    /// Everything the client has sent.
    received: Vec<u8>,
}

impl Agent {
    async fn accept(listener: &TcpListener, token: &str) -> Self {
        Self::on(listener.accept().await.unwrap().0, token)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Agent<S> {
    fn on(stream: S, token: &str) -> Self {
        Self { stream, connection: Connection::new(token), ready: VecDeque::new(), received: vec![] }
    }

    /// The next request; `None` when the connection is over.
    async fn request(&mut self) -> Option<(u64, Request)> {
        loop {
            if let Some(request) = self.ready.pop_front() {
                return Some(request);
            }
            let mut chunk = [0; 1000];
            let count = self.stream.read(&mut chunk).await.unwrap_or(0);
            if count == 0 {
                return None;
            }
            self.received.extend_from_slice(&chunk[..count]);
            self.connection.receive(&chunk[..count]);
            while let Some(step) = self.connection.next_step() {
                match step {
                    Step::Request { seq, request } => self.ready.push_back((seq, request)),
                    Step::Reply { bytes, .. } => self.send(&bytes).await,
                    Step::Close(_) => return None,
                }
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }
}

/// A place for an agent to listen.
async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// A client, and the agent's end of its connection, past the handshake.
async fn pair(token: &str) -> (Client, Agent) {
    let (listener, address) = listen().await;
    let serve = async {
        let mut agent = Agent::accept(&listener, token).await;
        // Serves the handshake, and the first request of the client shows that it is through.
        let (seq, request) = agent.request().await.unwrap();
        assert_eq!(request, Request::Leave);
        agent.send(&reply(seq, "")).await;
        agent
    };
    let open = async {
        let client = Client::connect(&address, token).await.unwrap();
        client.leave().await.unwrap();
        client
    };
    tokio::join!(open, serve)
}

fn member(name: &str) -> Member {
    Member { name: name.into(), status: "alive".into(), ..Member::default() }
}

fn names(members: Result<Vec<Member>, Error>) -> Vec<String> {
    members.unwrap().iter().map(|member| member.name.to_string()).collect()
}

fn members(names: &[&str]) -> MembersResponse {
    MembersResponse { members: names.iter().map(|name| member(name)).collect() }
}

/// Polls once, so that the request is on its way.
async fn start(future: &mut (impl Future + Unpin)) {
    poll_fn(|context| {
        assert!(std::pin::Pin::new(&mut *future).poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn commands_bring_back_their_results() {
    let (client, mut agent) = pair("").await;
    let serve = async {
        while let Some((seq, request)) = agent.request().await {
            let bytes = match request {
                Request::Members => reply_with(seq, "", &members(&["a", "b"])),
                Request::MembersFiltered(filter) => {
                    assert_eq!(filter.status, "left");
                    reply_with(seq, "", &members(&[]))
                }
                Request::Join(join) => {
                    assert_eq!(join.existing, Some(vec!["x:1".into(), "y:2".into()]));
                    reply_with(seq, "", &JoinResponse { num: 2 })
                }
                Request::ForceLeave(force) => {
                    assert!(force.prune);
                    reply(seq, if force.node == "b" { "" } else { "timed out broadcasting node removal" })
                }
                Request::Stats => {
                    let section: Pairs<Text> = [("name", "a")].into_iter().collect();
                    reply_with(seq, "", &[("agent", section)].into_iter().collect::<StatsResponse>())
                }
                Request::Leave => reply(seq, ""),
                other => panic!("{other:?}"),
            };
            agent.send(&bytes).await;
        }
    };
    let ask = async move {
        assert_eq!(names(client.members().await), ["a", "b"]);
        let filter = MembersFilteredRequest { status: "left".into(), ..MembersFilteredRequest::default() };
        assert_eq!(client.members_filtered(filter).await.unwrap(), []);
        assert_eq!(client.join(["x:1", "y:2"], true).await.unwrap(), 2);
        client.force_leave("b", true).await.unwrap();
        let refused = client.force_leave("c", true).await.unwrap_err();
        assert_eq!(refused.to_string(), "timed out broadcasting node removal");
        let stats = client.stats().await.unwrap();
        assert_eq!(stats.get("agent").and_then(|section| section.get("name")).unwrap(), &"a");
        client.leave().await.unwrap();
    };
    tokio::join!(ask, serve);
}

/// As in the capture `31-members-filtered`, which is what `serf members` sends.
#[tokio::test]
async fn the_bytes_are_those_of_the_go_client() {
    for capture in entries("rpc_conversations.json") {
        let (_, scene) = name(&capture).rsplit_once('/').unwrap();
        let token = match scene {
            "31-members-filtered" => "",
            "03-auth" => "s3cret-token",
            _ => continue,
        };
        let (listener, address) = listen().await;
        let serve = async {
            let mut agent = Agent::accept(&listener, token).await;
            let (seq, _) = agent.request().await.unwrap();
            agent.send(&reply_with(seq, "", &members(&[]))).await;
            agent.received
        };
        let ask = async {
            let client = Client::connect(&address, token).await.unwrap();
            if token.is_empty() {
                let all =
                    MembersFilteredRequest { tags: Some(Pairs::new()), ..MembersFilteredRequest::default() };
                client.members_filtered(all).await
            } else {
                client.members().await
            }
        };
        let (received, answer) = tokio::join!(serve, ask);
        assert_eq!(hex(&received), capture["hex"]["client_to_server"].as_str().unwrap(), "{scene}");
        answer.unwrap();
    }
}

#[tokio::test]
async fn a_wrong_token_is_told_while_connecting() {
    for (theirs, ours) in [("right", "wrong"), ("", "needless")] {
        let (listener, address) = listen().await;
        let serve = async { Agent::accept(&listener, theirs).await.request().await };
        let (none, refused) = tokio::join!(serve, Client::connect(&address, ours));
        assert_eq!(none, None);
        assert_eq!(refused.unwrap_err().to_string(), "Invalid authentication token");
    }
}

/// `members` has a body in its answer, but not in this one.
#[tokio::test]
async fn a_missing_token_is_told_with_the_command_and_the_connection_goes_on() {
    let (listener, address) = listen().await;
    let serve = async { Agent::accept(&listener, "tok").await.request().await };
    let ask = async {
        let client = Client::connect(&address, "").await.unwrap();
        for _ in 0..2 {
            assert_eq!(client.members().await.unwrap_err().to_string(), "Authentication required");
            assert_eq!(client.leave().await.unwrap_err().to_string(), "Authentication required");
        }
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn the_reason_of_a_closing_agent_arrives() {
    let (client, mut agent) = pair("").await;
    let serve = async {
        let (seq, _) = agent.request().await.unwrap();
        agent.send(&reply(seq, "Unsupported command")).await;
        agent.stream.shutdown().await.unwrap();
        drop(agent);
    };
    let ask = async {
        assert_eq!(client.stats().await.unwrap_err().to_string(), "Unsupported command");
        assert_eq!(client.stats().await.unwrap_err().to_string(), "client closed");
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn when_the_connection_ends_everyone_who_waits_is_told() {
    let (client, mut agent) = pair("").await;
    let serve = async {
        agent.request().await.unwrap();
        agent.request().await.unwrap();
        drop(agent);
    };
    let (stats, members, ()) = tokio::join!(client.stats(), client.members(), serve);
    assert_eq!(stats.unwrap_err().to_string(), "client closed");
    assert!(matches!(members, Err(Error::Closed)));
    assert!(matches!(client.leave().await, Err(Error::Closed)));
}

#[tokio::test]
async fn a_failed_join_has_its_body_read() {
    let (client, mut agent) = pair("").await;
    let text = "1 error occurred:\n\t* failed to join x:1: dial tcp\n\n";
    let serve = async {
        let (seq, _) = agent.request().await.unwrap();
        agent.send(&reply_with(seq, text, &JoinResponse { num: 0 })).await;
        let (seq, _) = agent.request().await.unwrap();
        agent.send(&reply_with(seq, "", &members(&["a"]))).await;
    };
    let ask = async {
        assert_eq!(client.join(["x:1"], false).await.unwrap_err().to_string(), text);
        assert_eq!(names(client.members().await), ["a"]);
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn answers_find_their_requests_in_any_order() {
    let (client, mut agent) = pair("").await;
    let serve = async {
        let (first, _) = agent.request().await.unwrap();
        let (second, _) = agent.request().await.unwrap();
        assert_eq!([first, second], [3, 4]);
        // Something that nobody has asked for in between, as the header alone and in the smallest pieces.
        let bytes = [
            reply_with(second, "", &members(&["b"])),
            reply(99, ""),
            reply_with(first, "", &members(&["a"])),
        ];
        for byte in bytes.concat() {
            agent.send(&[byte]).await;
        }
    };
    let (a, b, ()) = tokio::join!(client.members(), client.members(), serve);
    assert_eq!((names(a), names(b)), (vec!["a".into()], vec!["b".into()]));
}

/// A request that was given up is still answered by the agent, and that answer is not to confuse the next one.
#[tokio::test]
async fn giving_up_a_request_leaves_the_connection_in_order() {
    let (client, mut agent) = pair("").await;
    {
        let mut given_up = pin!(client.members());
        start(&mut given_up).await;
    }
    let serve = async {
        for name in ["given up", "wanted"] {
            let (seq, _) = agent.request().await.unwrap();
            agent.send(&reply_with(seq, "", &members(&[name]))).await;
        }
    };
    let (wanted, ()) = tokio::join!(client.members(), serve);
    assert_eq!(names(wanted), ["wanted"]);
}

#[tokio::test]
async fn the_connection_ends_with_the_last_client() {
    let (client, mut agent) = pair("").await;
    let other = client.clone();
    drop(client);
    let serve = async {
        let (seq, _) = agent.request().await.unwrap();
        agent.send(&reply(seq, "")).await;
        agent.request().await
    };
    let ask = async move { other.leave().await.unwrap() };
    let (after, ()) = tokio::join!(serve, ask);
    assert_eq!(after, None);
}

#[tokio::test]
async fn a_body_of_another_form_is_an_error_of_this_request_only() {
    let (client, mut agent) = pair("").await;
    let serve = async {
        let (seq, _) = agent.request().await.unwrap();
        agent.send(&record(seq, &Text::from("members?"))).await;
        let (seq, _) = agent.request().await.unwrap();
        agent.send(&reply(seq, "")).await;
    };
    let ask = async {
        assert!(matches!(client.members().await, Err(Error::BadResponse(_))));
        client.leave().await.unwrap();
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn a_server_of_another_protocol_is_a_closed_client() {
    let (listener, address) = listen().await;
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    };
    let (_stream, refused) = tokio::join!(serve, Client::connect(&address, ""));
    assert_eq!(refused.unwrap_err().to_string(), "client closed");
}

/// The clock is paused: it jumps to the next deadline when there is nothing else to do.
#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up() {
    let (listener, address) = listen().await;
    let refused = Client::connect(&address, "").await.unwrap_err();
    assert!(matches!(refused, Error::TimedOut(Command::Handshake)), "{refused}");
    assert_eq!(refused.to_string(), "timed out waiting for the answer to handshake");

    // One that greets and then is silent.
    let (mut waiting, _) = listener.accept().await.unwrap();
    let greet = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&reply(1, "")).await.unwrap();
        stream
    };
    let (_stream, refused) = tokio::join!(greet, Client::connect(&address, "token"));
    assert!(matches!(refused, Err(Error::TimedOut(Command::Auth))));
    // Giving up closes the connection.
    let mut rest = vec![];
    waiting.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn failures_to_connect_have_the_words_of_go() {
    let (listener, address) = listen().await;
    drop(listener);
    let text = async |address: &str| Client::connect(address, "").await.unwrap_err().to_string();
    assert_eq!(text(&address).await, format!("dial tcp {address}: connect: connection refused"));
    let port = address.parse::<SocketAddr>().unwrap().port();
    assert_eq!(text(&format!(":{port}")).await, format!("dial tcp :{port}: connect: connection refused"));
    assert_eq!(text("zz").await, "dial tcp: address zz: missing port in address");
}

/// The path of a socket for one test, removed afterwards.
#[cfg(unix)]
struct SocketPath(std::path::PathBuf);

#[cfg(unix)]
impl SocketPath {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("serf-rpc-{}-{name}", std::process::id())))
    }

    fn address(&self) -> String {
        format!("unix:{}", self.0.display())
    }
}

#[cfg(unix)]
impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_socket_in_the_file_system_is_an_address() {
    let path = SocketPath::new("address");
    let listener = tokio::net::UnixListener::bind(&path.0).unwrap();
    let serve = async {
        let mut agent = Agent::on(listener.accept().await.unwrap().0, "secret");
        let (seq, request) = agent.request().await.unwrap();
        assert_eq!(request, Request::Members);
        agent.send(&reply_with(seq, "", &members(&["n1"]))).await;
        agent.request().await
    };
    let ask = async {
        let client = Client::connect(&path.address(), "secret").await.unwrap();
        assert_eq!(names(client.members().await), ["n1"]);
    };
    let (none, ()) = tokio::join!(serve, ask);
    assert_eq!(none, None);
}

#[cfg(unix)]
#[tokio::test]
async fn failures_to_connect_to_a_socket_are_told_apart() {
    let path = SocketPath::new("failures");
    let (address, shown) = (path.address(), path.0.display());
    let text = async |address: &str| Client::connect(address, "").await.unwrap_err().to_string();
    assert_eq!(text(&address).await, format!("dial unix {shown}: connect: no such file or directory"));
    drop(tokio::net::UnixListener::bind(&path.0).unwrap());
    assert_eq!(text(&address).await, format!("dial unix {shown}: connect: connection refused"));
    assert_eq!(text("unix:").await, "dial unix: missing path behind 'unix:'");
}

#[tokio::test]
async fn a_host_may_be_a_name() {
    let (listener, address) = listen().await;
    let port = address.parse::<SocketAddr>().unwrap().port();
    let serve = async { Agent::accept(&listener, "").await.request().await };
    let ask = async move { drop(Client::connect(&format!("localhost:{port}"), "").await.unwrap()) };
    let (none, ()) = tokio::join!(serve, ask);
    assert_eq!(none, None);
}

fn user(ltime: u64) -> UserEventRecord {
    UserEventRecord { event: "user".into(), ltime, name: "deploy".into(), ..UserEventRecord::default() }
}

#[tokio::test]
async fn records_come_between_answers_and_end_with_the_connection() {
    let (client, mut agent) = pair("").await;
    let ask = async {
        let mut events = client.stream("user").await.unwrap();
        assert_eq!(names(client.members().await), ["n1"]);
        for ltime in [1, 2] {
            let event = events.next().await.unwrap().unwrap();
            assert_eq!(event, EventRecord::User(user(ltime)));
        }
        assert_eq!(events.lost(), 0);
        events
    };
    let serve = async {
        let (seq, request) = agent.request().await.unwrap();
        assert_eq!(request, Request::Stream(StreamRequest { kind: "user".into() }));
        agent.send(&reply(seq, "")).await;
        agent.send(&record(seq, &user(1))).await;
        let (other, _) = agent.request().await.unwrap();
        agent.send(&record(seq, &user(2))).await;
        agent.send(&reply_with(other, "", &members(&["n1"]))).await;
        agent
    };
    let (mut events, agent) = tokio::join!(ask, serve);
    drop(agent);
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_refused_stream_is_an_error_and_what_nobody_takes_is_counted() {
    let (client, mut agent) = pair("").await;
    let ask = async {
        let refused = client.monitor("LOUD").await.unwrap_err();
        assert_eq!(refused.to_string(), "Unknown log level: LOUD");
        let mut lines = client.monitor("INFO").await.unwrap();
        // The answer to this comes behind all the lines.
        client.leave().await.unwrap();
        let mut taken = 0;
        while lines.lost() + taken < 1500 {
            lines.next().await.unwrap().unwrap();
            taken += 1;
        }
        assert!(lines.lost() > 0, "all of them fitted");
    };
    let serve = async {
        let (seq, _) = agent.request().await.unwrap();
        agent.send(&reply(seq, "Unknown log level: LOUD")).await;
        let (seq, _) = agent.request().await.unwrap();
        agent.send(&reply(seq, "")).await;
        let (leave, _) = agent.request().await.unwrap();
        for _ in 0..1500 {
            agent.send(&record(seq, &LogRecord { log: "a line".into() })).await;
        }
        agent.send(&reply(leave, "")).await;
    };
    tokio::join!(ask, serve);
}

fn answer(kind: &str, from: &str, payload: Option<&[u8]>) -> QueryRecord {
    QueryRecord { kind: kind.into(), from: from.into(), payload: payload.map(<[u8]>::to_vec) }
}

fn done() -> QueryRecord {
    answer("done", "", None)
}

#[tokio::test]
async fn a_query_brings_answers_until_it_is_done_and_others_go_on_meanwhile() {
    let (client, mut agent) = pair("").await;
    let ask = async {
        let query = QueryRequest { name: "load".into(), request_ack: true, ..QueryRequest::default() };
        let mut answers = client.query(query).await.unwrap();
        let first = answers.next().await.unwrap().unwrap();
        assert_eq!(first, Answer::Ack { from: "n1".into() });
        client.leave().await.unwrap();
        let mut rest = vec![];
        while let Some(answer) = answers.next().await {
            let Answer::Response { from, payload } = answer.unwrap() else { panic!("no ack is left") };
            rest.push((from.to_string(), payload));
        }
        assert_eq!(rest, [("n1".into(), b"0.42".to_vec()), ("n2".into(), vec![])]);
        assert!(answers.next().await.is_none(), "the end stays");
        assert_eq!(answers.lost(), 0);
        client.leave().await.unwrap();
    };
    let serve = async {
        let (seq, request) = agent.request().await.unwrap();
        let Request::Query(query) = request else { panic!("{request:?}") };
        assert_eq!((query.name, query.request_ack), ("load".into(), true));
        agent.send(&reply(seq, "")).await;
        agent.send(&record(seq, &answer("ack", "n1", None))).await;
        let (leave, _) = agent.request().await.unwrap();
        agent.send(&record(seq, &answer("response", "n1", Some(b"0.42")))).await;
        agent.send(&reply(leave, "")).await;
        // From nobody, as agents written in Go send it at the end, and of a kind that is yet to be invented.
        agent.send(&record(seq, &answer("ack", "", None))).await;
        agent.send(&record(seq, &answer("applause", "n1", None))).await;
        agent.send(&record(seq, &answer("response", "n2", None))).await;
        agent.send(&record(seq, &done())).await;
        let (leave, _) = agent.request().await.unwrap();
        agent.send(&reply(leave, "")).await;
    };
    tokio::join!(ask, serve);
}

#[tokio::test]
async fn a_query_whose_agent_goes_away_ends_with_an_error() {
    let (client, mut agent) = pair("").await;
    let ask = async {
        let refused = client.query(QueryRequest::default()).await.unwrap_err();
        assert_eq!(refused.to_string(), "query exceeds limit of 1024 bytes");
        let mut answers = client.query(QueryRequest::default()).await.unwrap();
        assert!(matches!(answers.next().await, Some(Ok(Answer::Ack { .. }))));
        assert!(matches!(answers.next().await, Some(Err(Error::Closed))));
        assert!(answers.next().await.is_none());
    };
    let serve = async {
        let (seq, _) = agent.request().await.unwrap();
        agent.send(&reply(seq, "query exceeds limit of 1024 bytes")).await;
        let (seq, _) = agent.request().await.unwrap();
        agent.send(&reply(seq, "")).await;
        agent.send(&record(seq, &answer("ack", "n1", None))).await;
        drop(agent);
    };
    tokio::join!(ask, serve);
}

/// Nobody takes the answers; the end is to be told all the same, and the connection to stay in step.
#[tokio::test]
async fn the_end_of_a_query_is_told_though_answers_are_lost() {
    let (client, mut agent) = pair("").await;
    let ask = async {
        let mut answers = client.query(QueryRequest::default()).await.unwrap();
        // The answer to this comes behind all the others.
        client.leave().await.unwrap();
        let mut taken = 0;
        while let Some(answer) = answers.next().await {
            answer.unwrap();
            taken += 1;
        }
        assert!(answers.lost() > 0, "all of them fitted");
        assert_eq!(answers.lost() + taken, 1500);
    };
    let serve = async {
        let (seq, _) = agent.request().await.unwrap();
        agent.send(&reply(seq, "")).await;
        let (leave, _) = agent.request().await.unwrap();
        for _ in 0..1500 {
            agent.send(&record(seq, &answer("ack", "n1", None))).await;
        }
        agent.send(&record(seq, &done())).await;
        agent.send(&reply(leave, "")).await;
    };
    tokio::join!(ask, serve);
}

#[tokio::test]
async fn queries_come_as_events_and_are_answered_by_their_number() {
    let (client, mut agent) = pair("").await;
    let asked = QueryEventRecord {
        event: "query".into(),
        id: 7,
        ltime: 3,
        name: "load".into(),
        payload: Some(b"now".to_vec()),
    };
    let listen = async {
        let mut events = client.stream("query:load").await.unwrap();
        let Some(Ok(EventRecord::Query(query))) = events.next().await else { panic!("a query comes") };
        assert_eq!(query, asked);
        client.respond(query.id, *b"0.42").await.unwrap();
        let refused = client.respond(query.id, []).await.unwrap_err();
        assert_eq!(refused.to_string(), "failed to respond to key query: response already sent");
        events.stop().await.unwrap();
        client.leave().await.unwrap();
    };
    let serve = async {
        let (stream, _) = agent.request().await.unwrap();
        agent.send(&reply(stream, "")).await;
        agent.send(&record(stream, &asked)).await;
        for (payload, answer) in
            [(Some(b"0.42".to_vec()), ""), (None, "failed to respond to key query: response already sent")]
        {
            let (seq, request) = agent.request().await.unwrap();
            assert_eq!(request, Request::Respond(RespondRequest { id: 7, payload }));
            agent.send(&reply(seq, answer)).await;
        }
        let (seq, request) = agent.request().await.unwrap();
        assert_eq!(request, Request::Stop(StopRequest { stop: stream }));
        agent.send(&reply(seq, "")).await;
        // What was under way when the stream was stopped confuses nobody.
        agent.send(&record(stream, &asked)).await;
        let (seq, _) = agent.request().await.unwrap();
        agent.send(&reply(seq, "")).await;
    };
    tokio::join!(listen, serve);
}

#[tokio::test]
async fn key_commands_report_whether_they_succeed_or_not() {
    let (client, mut agent) = pair("").await;
    let counts: Pairs<i64> = [("a2V5", 2)].into_iter().collect();
    let told: Pairs<Text> = [("n2", "No keyring to modify (encryption not enabled)")].into_iter().collect();
    let good = KeyResponse { keys: Some(counts), num_nodes: 2, num_resp: 2, ..KeyResponse::default() };
    let bad =
        KeyResponse { messages: Some(told), num_err: 1, num_nodes: 2, num_resp: 2, ..KeyResponse::default() };
    let ask = async {
        assert_eq!(client.list_keys().await.unwrap(), good);
        let done = [client.install_key("a2V5").await, client.use_key("a2V5").await];
        for refused in done.into_iter().chain([client.remove_key("a2V5").await]) {
            let Err(Error::Keys { error, report }) = refused else { panic!("{refused:?}") };
            assert_eq!((error, *report), ("1/2 nodes reported failure".into(), bad.clone()));
        }
        let refused = client.list_keys().await.unwrap_err();
        assert_eq!(refused.to_string(), "Authentication required");
    };
    let serve = async {
        let (seq, request) = agent.request().await.unwrap();
        assert_eq!(request, Request::ListKeys);
        agent.send(&reply_with(seq, "", &good)).await;
        let key = KeyRequest { key: "a2V5".into() };
        for want in [Request::InstallKey(key.clone()), Request::UseKey(key.clone()), Request::RemoveKey(key)]
        {
            let (seq, request) = agent.request().await.unwrap();
            assert_eq!(request, want);
            agent.send(&reply_with(seq, "1/2 nodes reported failure", &bad)).await;
        }
        let (seq, _) = agent.request().await.unwrap();
        agent.send(&reply(seq, "Authentication required")).await;
    };
    tokio::join!(ask, serve);
}

#[tokio::test]
async fn a_coordinate_is_there_or_not() {
    let (client, mut agent) = pair("").await;
    let coord = Coordinate { vec: Some(vec![0.0; 8]), error: 1.5, height: 1e-5, ..Coordinate::default() };
    let ask = async {
        assert_eq!(client.coordinate("n1").await.unwrap(), Some(coord.clone()));
        assert_eq!(client.coordinate("n2").await.unwrap(), None);
    };
    let serve = async {
        for ok in [true, false] {
            let (seq, request) = agent.request().await.unwrap();
            let node = if ok { "n1" } else { "n2" };
            assert_eq!(request, Request::GetCoordinate(GetCoordinateRequest { node: node.into() }));
            let coord = if ok { coord.clone() } else { Coordinate::default() };
            agent.send(&reply_with(seq, "", &GetCoordinateResponse { coord, ok })).await;
        }
    };
    tokio::join!(ask, serve);
}
