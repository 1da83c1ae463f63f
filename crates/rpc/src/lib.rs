//! The agent's RPC protocol: what programs say to a running agent, and what it answers.
//!
//! The protocol is requests and responses over TCP or a Unix socket, in MessagePack, with numbers that tell which
//! response belongs to which request. This crate has it three times:
//! - [`message`]: every message as a plain struct;
//! - [`Connection`]: the agent's side of one connection as a machine, which is fed bytes and says what to do; it
//!   knows no sockets;
//! - [`Client`]: the program's side, on tokio.
//!
//! It does not carry out requests. The agent does that, with a loop like this one:
//!
//! ```no_run
//! use serf_rpc::message::MembersResponse;
//! use serf_rpc::{Connection, Request, Step, reply, reply_with};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use tokio::net::TcpStream;
//!
//! async fn serve(mut stream: TcpStream, token: &str) -> std::io::Result<()> {
//!     let mut connection = Connection::new(token);
//!     let mut chunk = vec![0; 16 * 1024];
//!     loop {
//!         let count = stream.read(&mut chunk).await?;
//!         connection.receive(&chunk[..count]);
//!         while let Some(step) = connection.next_step() {
//!             let bytes = match step {
//!                 Step::Request { seq, request: Request::Members } => {
//!                     reply_with(seq, "", &MembersResponse::default())
//!                 }
//!                 Step::Request { seq, request: _ } => reply(seq, "not in this example"),
//!                 Step::Reply { bytes, warning } => {
//!                     if let Some(warning) = warning {
//!                         eprintln!("[WARN] agent.ipc: {warning}");
//!                     }
//!                     bytes
//!                 }
//!                 Step::Close(reason) => {
//!                     eprintln!("[ERR] agent.ipc: {reason}");
//!                     return stream.shutdown().await;
//!                 }
//!             };
//!             stream.write_all(&bytes).await?;
//!         }
//!         if count == 0 {
//!             if let Some(reason) = connection.end() {
//!                 eprintln!("[ERR] agent.ipc: {reason}");
//!             }
//!             return Ok(());
//!         }
//!     }
//! }
//! ```
//!
//! And a program with a question:
//!
//! ```no_run
//! # async fn ask() -> Result<(), serf_rpc::Error> {
//! let client = serf_rpc::Client::connect("127.0.0.1:7373", "").await?;
//! for member in client.members().await? {
//!     println!("{} is {}", member.name, member.status);
//! }
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod client;
mod connection;
mod dial;
mod frame;
pub mod message;
mod request;
mod value;

pub use client::{Answer, Answers, Client, Error, Records, TIMEOUT};
pub use connection::{CloseReason, Connection, REQUEST_BYTES_MAX, Step, VERSION};
pub use dial::{Address, DialError, PathError, UNIX_PATH_MAX};
pub use frame::BadMessage;
pub use request::{Command, Request, record, reply, reply_with};
pub use value::{Pairs, Text, Value};
