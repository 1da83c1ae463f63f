//! Stories of one machine, and of a few joined by hand, without a network.

mod alive;
mod cluster;
mod codecs;
mod commands;
mod dead;
mod exchanges;
mod hardening;
mod hostile;
mod math;
mod merge;
mod net;
mod packets;
mod probe;
mod rig;
mod streams;
mod suspect;
