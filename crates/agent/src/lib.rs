//! The Serf agent as a library: what runs behind `serf agent`.
//!
//! The way from a command line to a running agent: [`config::load`] makes a [`config::Config`] of files and
//! flags, [`logging::Log`] takes up what the parts have to say, [`banner`] is what the operator sees first.
#![forbid(unsafe_code)]

pub mod banner;
mod complaints;
pub mod config;
pub mod events;
mod files;
mod handlers;
mod http;
mod join;
pub mod json;
mod keys;
mod listener;
pub mod log_format;
pub mod logging;
mod losses;
mod matching;
mod mdns;
pub mod members;
mod notify;
mod queries;
mod remedy;
mod run;
mod service;
mod session;
mod stdout;
pub mod syslog;
mod tag_store;
mod telemetry;
pub mod text;

pub use run::run;

// The README's program is one that works.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
