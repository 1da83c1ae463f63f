//! The program, driven from outside: alone, and in clusters with HashiCorp's `serf` where that is installed.

mod agents;
mod alone;
mod checklist;
mod configured;
mod conversations;
mod crowd;
mod exchange;
mod extras;
mod forms;
mod handlers;
mod http;
mod keys;
mod life;
mod mixed;
mod queries;
mod scripted;
mod service;
mod snapshots;
mod starts;
mod swaps;
mod tree;
mod warts;
