//! The commands described at length: pages for `man`, and a reference in Markdown. Both come from the tables.

mod markdown;
mod roff;

pub(crate) use markdown::reference;
pub(crate) use roff::{overview, page};
