//! Stories of whole clusters, played in memory: datagrams and streams are carried by hand, and time jumps from one
//! deadline to the next. The same seed gives the same story.

mod any_file;
mod arbitrary;
mod cluster;

mod coordinates;
mod dispute;
mod failure;
mod force_leave;
mod hostile;
mod join;
mod keys;
mod leave;
mod passing_on;
mod play;
mod queries;
mod snapshot;
mod snapshot_files;
mod storm;
mod tags;
