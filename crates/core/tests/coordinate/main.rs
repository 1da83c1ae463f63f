//! The mathematics of network coordinates: against the reference's recorded results, bit for bit, and in simulated
//! networks.

mod simulation;
mod unit;
mod vectors;
