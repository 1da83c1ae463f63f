//! The crate against captured traffic of Go Serf, against arbitrary bytes, and against itself.

mod arbitrary;
mod client;
mod connection;
mod json;
mod vectors;
