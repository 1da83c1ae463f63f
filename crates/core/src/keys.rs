//! Keys of the whole cluster: each node changes its own keyring when a query asks for it, has its owner keep the keys if
//! they are to outlive it, and says how that went (spec `serf.md` §8.2).
//!
//! The keyring belongs to the gossip layer, which is not at hand where queries are heard. So what a query asks for is
//! written down, and done when the machine comes by.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use base64ct::{Base64, Encoding};
use serf_gossip::{self as gossip, Instant, KeyChange, KeyringError, Severity, Topic as About};
use serf_wire::encrypt::{Key, KeySize};
use serf_wire::list::List;
use serf_wire::msgpack::Reader;
use serf_wire::serf::{self, KeyRequest, KeyResponse, MessageKind};

use crate::event::Event;
use crate::node::Node;
use crate::query::QueryKey;
use crate::respond::RespondError;
use crate::serf::Serf;
use crate::tasks::Task;

/// A listed key takes at least so many bytes, so that no more are tried than could fit.
const KEY_BYTES_MIN: usize = 25;
/// Most bytes of a reason: what an owner says of its file system must not be too long to be said.
const REASON_MAX: usize = 256;

/// What a query wants of the keyring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyOrder {
    Install,
    Use,
    Remove,
    List,
}

impl KeyOrder {
    /// By the name of the internal query, without its prefix.
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"install-key" => Self::Install,
            b"use-key" => Self::Use,
            b"remove-key" => Self::Remove,
            b"list-keys" => Self::List,
            _ => return None,
        })
    }

    /// What it is for, in words.
    fn aim(self) -> &'static str {
        match self {
            Self::Install => "install key",
            Self::Use => "change primary key",
            Self::Remove => "remove key",
            Self::List => "list keys",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Install => "install-key",
            Self::Use => "use-key",
            Self::Remove => "remove-key",
            Self::List => "list-keys",
        }
    }
}

/// A query for the keyring.
#[derive(Debug)]
pub(crate) struct KeyQuery {
    pub(crate) query: QueryKey,
    pub(crate) order: KeyOrder,
    pub(crate) payload: Vec<u8>,
}

/// Why a keyring was not changed, as the node says it to whoever asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Refused {
    /// The request cannot be read. The reference says nothing in this case.
    #[error("")]
    Unreadable,
    #[error("No keyring to modify (encryption not enabled)")]
    NoKeyring,
    #[error(transparent)]
    Size(#[from] KeySize),
    #[error(transparent)]
    Ring(#[from] KeyringError),
}

impl Node {
    /// Does what a query wants of the keyring.
    pub(crate) fn obey(&mut self, now: Instant, asked: &KeyQuery) {
        let KeyQuery { query, order, ref payload } = *asked;
        self.serf.notice(now, Severity::Info, About::Serf, format_args!("Received {} query", order.name()));
        if order == KeyOrder::List {
            return self.list_keys(now, query);
        }
        match self.key_change(order, payload) {
            Ok(Some(change)) => {
                let id = self.tasks.begin(Task::KeyQuery { query, order });
                self.order(now, gossip::Command::Keyring { id, change });
            }
            Ok(None) => self.keyring_changed(now, query, order, Ok(())),
            Err(why) => self.serf.refuse_key(now, query, order.aim(), &why.to_string()),
        }
    }

    /// What is to be done to the keyring, if anything.
    fn key_change(&self, order: KeyOrder, payload: &[u8]) -> Result<Option<KeyChange>, Refused> {
        // The first byte is a type that nobody has ever looked at; there need not even be one (B1).
        let body = payload.get(1..).ok_or(Refused::Unreadable)?;
        let request = KeyRequest::read(&mut Reader::new(body)).map_err(|_| Refused::Unreadable)?;
        if self.gossip.keyring().is_empty() {
            return Err(Refused::NoKeyring);
        }
        Ok(match (order, Key::new(request.key.as_deref().unwrap_or_default())) {
            (KeyOrder::Install, key) => Some(KeyChange::Install(key?)),
            (KeyOrder::Use, Ok(key)) => Some(KeyChange::Use(key)),
            (KeyOrder::Use, Err(_)) => return Err(KeyringError::NotInRing.into()),
            (KeyOrder::Remove, Ok(key)) => Some(KeyChange::Remove(key)),
            // What cannot be there is not there.
            (KeyOrder::Remove | KeyOrder::List, _) => None,
        })
    }

    /// The keyring was changed, or refused to be. If the keys are to be kept, whoever asked hears of it when they are.
    pub(crate) fn keyring_changed(
        &mut self,
        now: Instant,
        query: QueryKey,
        order: KeyOrder,
        changed: Result<(), KeyringError>,
    ) {
        match changed {
            Ok(()) if self.serf.config.keep_keys => {
                let keys = self.gossip.keyring().keys().to_vec();
                self.serf.emit(Event::KeysChanged { key: query, keys });
            }
            Ok(()) => self.serf.tell_of_key(now, query, Ok(())),
            Err(why) => self.serf.refuse_key(now, query, order.aim(), &why.to_string()),
        }
    }

    /// Tells our keys: all of them if they fit in a response, or so many that do.
    fn list_keys(&mut self, now: Instant, query: QueryKey) {
        let texts: Vec<String> =
            self.gossip.keyring().keys().iter().map(|key| Base64::encode_string(key.as_bytes())).collect();
        let Some(primary) = texts.first() else {
            let why = "Keyring is empty (encryption not enabled)";
            return self.serf.refuse_key(now, query, KeyOrder::List.aim(), why);
        };
        let keys: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
        let response = KeyResponse {
            result: true,
            message: b"",
            keys: List::of(&keys),
            primary_key: primary.as_bytes(),
        };
        let mut sent = self.serf.respond_with(now, query, &response);
        let most = (self.serf.config.query_response_size_limit / KEY_BYTES_MIN).min(keys.len());
        for first in (1..=most).rev() {
            if !matches!(sent, Err(RespondError::TooLong(_))) {
                break;
            }
            let message =
                alloc::format!("truncated key list response, showing first {first} of {} keys", keys.len());
            let shorter =
                KeyResponse { message: message.as_bytes(), keys: List::of(&keys[..first]), ..response };
            sent = self.serf.respond_with(now, query, &shorter);
            if sent.is_ok() {
                self.serf.line(Severity::Warn, format_args!("{message}"));
            }
        }
        if let Err(why) = sent {
            self.serf.not_told(now, &why);
        }
    }
}

impl Serf {
    /// Tells whoever asked how a change of the keyring went.
    pub(crate) fn tell_of_key(&mut self, now: Instant, query: QueryKey, result: Result<(), &str>) {
        let why = result.err().unwrap_or_default();
        let why = &why[..why.floor_char_boundary(REASON_MAX)];
        let response =
            KeyResponse { result: result.is_ok(), message: why.as_bytes(), ..KeyResponse::default() };
        if let Err(why) = self.respond_with(now, query, &response) {
            self.not_told(now, &why);
        }
    }

    /// The same if nothing came of it, which the log says as well.
    pub(crate) fn refuse_key(&mut self, now: Instant, query: QueryKey, aim: &str, why: &str) {
        let by = self.asker_of(query);
        // Whoever asks so is told nothing.
        let said = if why.is_empty() { "the request cannot be read" } else { why };
        let text = format_args!("Failed to {aim}: {said} (asked by '{by}')");
        self.notice(now, Severity::Error, About::Keys, text);
        self.tell_of_key(now, query, Err(why));
    }

    fn not_told(&mut self, now: Instant, why: &RespondError) {
        self.notice(now, Severity::Error, About::Serf, format_args!("failed to respond to key query: {why}"));
    }

    fn respond_with(
        &mut self,
        now: Instant,
        query: QueryKey,
        response: &KeyResponse<'_>,
    ) -> Result<(), RespondError> {
        let mut message = Vec::new();
        serf::put(&mut message, MessageKind::KeyResponse, |w| response.write(w));
        self.respond(now, query, &message)
    }
}
