//! Two nodes with one name.

use serf::{Config, Error, Event, Events, NodeState, Serf, Status, driver::Closed};

use crate::cluster::{addr, becomes, config, start};
use crate::{on_both, within};

/// Everything up to the end.
async fn last(mut events: Events) -> Option<Event> {
    let mut last = None;
    while let Some(event) = within(events.recv()).await {
        last = Some(event);
    }
    last
}

#[test]
fn the_later_one_of_a_name_ends_and_says_why() {
    on_both(async || {
        let (a, first) = (start("a", "127.0.0.1:0").await, start("dup", "127.0.0.2:0").await);
        within(first.join([addr(&a)])).await.unwrap();
        becomes(&a, "dup", Some(Status::Alive)).await;
        // A second to be heard in. On a machine where that is too little it is asked again.
        let config = Config { query_timeout_mult: 50, ..config("dup", "127.0.0.3:0") };
        let (second, events) = Serf::start_with_events(config).await.unwrap();
        within(async {
            let closed = second.closed();
            tokio::pin!(closed);
            loop {
                tokio::select! {
                    () = &mut closed => break,
                    joined = second.join([addr(&a)]) => {
                        // Each join is an occasion to notice.
                        if joined == Err(Error::Closed(Closed)) {
                            break;
                        }
                    }
                }
            }
        })
        .await;
        assert_eq!(second.state().await, NodeState::Shutdown);
        let Some(Event::NameLost { ours: 0, all: 1 }) = last(events).await else { panic!("another end") };
        assert_eq!(first.state().await, NodeState::Alive);
        assert_eq!(a.member("dup").await.unwrap().unwrap().addr, *first.advertise_addr());
    });
}
