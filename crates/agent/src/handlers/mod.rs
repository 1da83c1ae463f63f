//! Event handlers: the scripts that an agent runs for events. Which run for which event, with what on their standard
//! input, and what comes of what they print.
//!
//! Scripts run one after another in the order of events, and for each event in the order of the configuration, as long as
//! each ends in good time; see [`schedule`]. Reading events never waits for a script.

mod input;
mod output;
mod run;
mod schedule;

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serf::{Event, Events, Serf};
use serf_wire::tags;
use tokio::sync::mpsc;
use tokio::task::{self, JoinHandle, JoinSet};
use tokio::time::{Sleep, sleep, timeout};

use self::input::{Occasion, Own};
use self::run::{Feeding, Run};
use self::schedule::{Asked, Next, Schedule};
use crate::events::{EventFilter, EventHandlers};
use crate::telemetry::Telemetry;
use crate::text::printable;

/// How long the end of the agent waits until the scripts that have begun have their input. They go on without it.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// The handlers of an agent.
#[derive(Debug)]
pub(crate) struct Handlers {
    active: Arc<Active>,
    runner: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Active(Mutex<Arc<EventHandlers>>);

impl Active {
    fn get(&self) -> Arc<EventHandlers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, handlers: EventHandlers) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(handlers);
    }
}

impl Handlers {
    /// From now on events are logged, and scripts run for them.
    pub(crate) fn start(serf: &Serf, telemetry: &Telemetry, events: Events, handlers: EventHandlers) -> Self {
        let active = Arc::new(Active::default());
        active.set(handlers);
        let runner = Runner::new(serf.clone(), telemetry.clone(), active.clone());
        Self { active, runner: Mutex::new(Some(tokio::spawn(runner.run(events)))) }
    }

    /// Other handlers from the next event on. What waits already runs as it was to.
    pub(crate) fn replace(&self, handlers: EventHandlers) {
        self.active.set(handlers);
    }

    /// The handlers as `info` shows them: by event, with a colon in any case. Of several for one event, the last.
    pub(crate) fn entries(&self) -> BTreeMap<String, String> {
        let entry = |filter: &EventFilter| format!("{}:{}", filter.kind(), filter.name());
        let handlers = self.active.get();
        handlers.list.iter().map(|handler| (entry(&handler.filter), handler.script.to_string())).collect()
    }

    /// Once the node is gone: waits until the last events are taken and the scripts that have begun have their input.
    /// They are left alone.
    pub(crate) async fn finish(&self) {
        let runner = self.runner.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runner) = runner {
            let _ = timeout(END_PATIENCE, runner).await;
        }
    }
}

/// An event for a script.
#[derive(Debug)]
struct Job {
    event: Arc<Event>,
    handlers: Arc<EventHandlers>,
}

/// The task that takes events and starts scripts.
struct Runner {
    serf: Serf,
    telemetry: Telemetry,
    active: Arc<Active>,
    schedule: Schedule<Job>,
    running: JoinSet<()>,
    scripts: HashMap<task::Id, Arc<str>>,
    /// When the others go on beside the one that runs.
    patience: Option<Pin<Box<Sleep>>>,
    /// The node as it was last seen.
    own: Own,
    feeding: Feeding,
    all_fed: mpsc::Receiver<()>,
}

impl Runner {
    fn new(serf: Serf, telemetry: Telemetry, active: Arc<Active>) -> Self {
        let (feeding, all_fed) = mpsc::channel(1);
        Self {
            own: Own { name: serf.name().as_bytes().to_vec(), ..Own::default() },
            serf,
            telemetry,
            active,
            schedule: Schedule::new(),
            running: JoinSet::new(),
            scripts: HashMap::new(),
            patience: None,
            feeding,
            all_fed,
        }
    }

    /// Until the node is gone.
    async fn run(mut self, mut events: Events) {
        let mut shed = 0;
        loop {
            while let Some(next) = self.schedule.next() {
                self.begin(next).await;
            }
            let patience = async {
                match &mut self.patience {
                    Some(patience) => patience.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = events.recv() => {
                    let Some(event) = event else { break };
                    self.take(event);
                    let now = events.shed();
                    if now > shed {
                        let lost = now - shed;
                        log::warn!(target: "agent", "{lost} events came faster than they could be handled, and were dropped");
                        shed = now;
                    }
                }
                Some(ended) = self.running.join_next_with_id() => {
                    let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                    if let Some(script) = self.scripts.remove(&id)
                        && self.schedule.ended(&script)
                    {
                        self.patience = None;
                    }
                }
                () = patience => {
                    self.patience = None;
                    if let Some(script) = self.schedule.lose_patience() {
                        log::warn!(target: "agent", "Script '{script}' still runs: others no longer wait for it");
                    }
                }
            }
        }
        let waiting = self.schedule.waiting();
        if waiting > 0 {
            log::warn!(target: "agent", "{waiting} runs of event handlers have not begun, and will not");
        }
        drop(self.feeding);
        self.all_fed.recv().await;
    }

    /// Has all handlers run for an event that want it.
    fn take(&mut self, event: Event) {
        match &event {
            Event::Member(e) => log::info!(target: "agent", "Received event: {}", e.kind),
            Event::User(e) => log::info!(target: "agent", "Received event: {}", printable(&e.to_string())),
            Event::Query(e) => log::info!(target: "agent", "Received event: {}", printable(&e.to_string())),
            _ => {}
        }
        let event = Arc::new(event);
        let Some(occasion) = Occasion::of(&event) else { return };
        let (kind, name, size) = (occasion.kind(), occasion.name(), occasion.size());
        let handlers = self.active.get();
        for handler in handlers.list.iter().filter(|handler| handler.filter.admits(kind, &name)) {
            let job = Job { event: event.clone(), handlers: handlers.clone() };
            if self.schedule.ask(&handler.script, size, job) == Asked::ShedFirst {
                log::warn!(target: "agent", "Script '{}' is too far behind: events for it are dropped", handler.script);
            }
        }
    }

    async fn begin(&mut self, Next { script, job, shed }: Next<Job>) {
        if shed > 0 {
            log::warn!(target: "agent", "{shed} events for script '{script}' were dropped");
        }
        let EventHandlers { patience, timeout, json, .. } = *job.handlers;
        // A node that is gone keeps the tags it had.
        if let Ok(Some(me)) = self.serf.local_member().await {
            self.own.tags = tags::decode(&me.meta).0;
        }
        let Some(occasion) = Occasion::of(&job.event) else {
            self.schedule.ended(&script);
            return;
        };
        let run = Run {
            script: script.clone(),
            kind: occasion.kind(),
            environment: self.own.environment(&occasion, json),
            stdin: if json { occasion.json(&self.own) } else { occasion.text() },
            timeout,
        };
        let (feeding, telemetry, timed) = (self.feeding.clone(), self.telemetry.clone(), script.clone());
        let task = self.running.spawn(async move {
            let begin = Instant::now();
            let answer = run.execute(feeding).await;
            telemetry.invoked(&timed, begin.elapsed());
            if let (Event::Query(query), Some(answer)) = (&*job.event, answer)
                && let Err(error) = query.respond(answer).await
            {
                let query = printable(&query.to_string());
                log::warn!(target: "agent", "Failed to respond to query '{query}': {error}");
            }
        });
        self.scripts.insert(task.id(), script);
        if patience.is_zero() {
            self.schedule.lose_patience();
        } else {
            self.patience = Some(Box::pin(sleep(patience)));
        }
    }
}
