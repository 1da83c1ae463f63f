//! The keys of the whole cluster: one asks, every node changes its own keyring and says how that went (spec `serf.md`
//! §8.1).

use std::collections::BTreeMap;
use std::sync::Arc;

use serf_core::{Answer, Query};
use serf_gossip::{Address, Name};
use serf_wire::encrypt::Key;
use serf_wire::msgpack::Reader;
use serf_wire::serf::{self, KeyRequest, KeyResponse, MessageKind};
use tokio::sync::RwLock;

use crate::driver::Closed;
use crate::error::Error;
use crate::identity::{Identity, NodeAddress};
use crate::serf::Serf;

/// Most different keys counted. Nodes have a handful; what is more is nonsense of some node.
const KEYS_MAX: usize = 4096;
/// Most bytes shown of a response that is none.
const SHOWN_MAX: usize = 32;

/// Changes keep others out, looks do not.
pub(crate) type Turn = Arc<RwLock<()>>;

/// Looks at and changes the keys of all nodes. Made by [`crate::Serf::keys`].
///
/// A new key is brought into use in three steps, each of which every node has to have done before the next: install it,
/// use it, remove the old one.
///
/// ```
/// use serf::{Config, Key, Serf};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let (old, new) = (Key::new(&[7; 32])?, Key::new(&[8; 32])?);
/// let config = Config { bind: "127.0.0.1:0".parse()?, keys: vec![old.clone()], ..Config::lan("web-1") };
/// let serf = Serf::start(config).await?;
///
/// serf.keys().install(&new).await?.check()?;
/// serf.keys().use_primary(&new).await?.check()?;
/// serf.keys().remove(&old).await?.check()?;
///
/// let report = serf.keys().list().await?;
/// report.check()?;
/// assert_eq!((report.keys.len(), report.num_nodes), (1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct KeyManager<'a, I = Name, A = Address> {
    serf: &'a Serf<I, A>,
    relay_factor: u8,
}

/// What the nodes said.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyReport<I = Name> {
    /// What some had to say, by name: why they failed, or what there is to know besides.
    pub messages: BTreeMap<I, String>,
    /// How many nodes were there when it began.
    pub num_nodes: usize,
    /// How many of them responded.
    pub num_resp: usize,
    /// How many of those failed.
    pub num_err: usize,
    /// When listing: the keys, in base64, and how many nodes have them.
    pub keys: BTreeMap<String, usize>,
    /// When listing: the keys that nodes encrypt with, in base64, and how many do.
    pub primary_keys: BTreeMap<String, usize>,
}

/// Not all nodes did what was asked. The texts are the reference's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Some failed; [`KeyReport::messages`] tells why.
    #[error("{failed}/{nodes} nodes reported failure")]
    Failed {
        /// How many.
        failed: usize,
        /// Of how many.
        nodes: usize,
    },
    /// Some did not respond.
    #[error("{responded}/{nodes} nodes reported success")]
    Missing {
        /// How many did.
        responded: usize,
        /// Of how many.
        nodes: usize,
    },
}

impl Default for KeyReport {
    fn default() -> Self {
        Self::of(0)
    }
}

impl<I: Ord> KeyReport<I> {
    /// So many nodes, of which none has said anything yet.
    fn of(num_nodes: usize) -> Self {
        Self {
            messages: BTreeMap::new(),
            num_nodes,
            num_resp: 0,
            num_err: 0,
            keys: BTreeMap::new(),
            primary_keys: BTreeMap::new(),
        }
    }

    /// Whether every node did what was asked.
    ///
    /// # Errors
    /// Some failed, or did not respond.
    pub fn check(&self) -> Result<(), KeyError> {
        let nodes = self.num_nodes;
        if self.num_err > 0 {
            Err(KeyError::Failed { failed: self.num_err, nodes })
        } else if self.num_resp != nodes {
            Err(KeyError::Missing { responded: self.num_resp, nodes })
        } else {
            Ok(())
        }
    }

    fn take(&mut self, from: I, payload: &[u8]) {
        self.num_resp += 1;
        let Ok((MessageKind::KeyResponse, body)) = MessageKind::split(payload) else {
            // The beginning is what tells who sends what here.
            let beginning: Vec<String> = payload.iter().take(SHOWN_MAX).map(u8::to_string).collect();
            return self.fail(from, format!("Invalid key query response type: [{}]", beginning.join(" ")));
        };
        let response = match KeyResponse::read(&mut Reader::new(body)) {
            Ok(response) => response,
            Err(why) => return self.fail(from, format!("Failed to decode key query response: {why}")),
        };
        let message = String::from_utf8_lossy(response.message).into_owned();
        if !response.result {
            self.fail(from, message);
        } else if !message.is_empty() {
            log::warn!(target: "serf", "{}", message.escape_debug());
            self.messages.insert(from, message);
        }
        for key in response.keys {
            count(&mut self.keys, key);
        }
        // Nodes that list nothing have nothing to say here either (B39).
        if !response.primary_key.is_empty() {
            count(&mut self.primary_keys, response.primary_key);
        }
    }

    fn fail(&mut self, from: I, message: String) {
        self.num_err += 1;
        self.messages.insert(from, message);
    }
}

fn count(keys: &mut BTreeMap<String, usize>, key: &[u8]) {
    let key = String::from_utf8_lossy(key);
    if let Some(count) = keys.get_mut(&*key) {
        *count += 1;
    } else if keys.len() < KEYS_MAX {
        keys.insert(key.into_owned(), 1);
    }
}

impl<'a, I: Identity, A: NodeAddress> KeyManager<'a, I, A> {
    pub(crate) fn new(serf: &'a Serf<I, A>) -> Self {
        Self { serf, relay_factor: 0 }
    }

    /// Has each answer come through so many other nodes as well, in case it is lost on the direct way.
    #[must_use]
    pub fn with_relays(self, relay_factor: u8) -> Self {
        Self { relay_factor, ..self }
    }

    /// Has all nodes accept one more key. Those who have it already are content.
    ///
    /// Nodes check what they are given: it must be of 16, 24 or 32 bytes, and they must be encrypted already. Whoever has
    /// a [`crate::Config::keyring_file`] has written it before it says yes.
    ///
    /// # Errors
    /// The question could not be asked. What nodes answered is in the report; see [`KeyReport::check`].
    pub async fn install(&self, key: impl AsRef<[u8]>) -> Result<KeyReport<I>, Error> {
        self.change("_serf_install-key", key.as_ref()).await
    }

    /// Has all nodes encrypt with a key, which they must have.
    ///
    /// # Errors
    /// See [`KeyManager::install`].
    pub async fn use_primary(&self, key: impl AsRef<[u8]>) -> Result<KeyReport<I>, Error> {
        self.change("_serf_use-key", key.as_ref()).await
    }

    /// Has all nodes forget a key, which they must not encrypt with. Those who do not have it are content.
    ///
    /// # Errors
    /// See [`KeyManager::install`].
    pub async fn remove(&self, key: impl AsRef<[u8]>) -> Result<KeyReport<I>, Error> {
        self.change("_serf_remove-key", key.as_ref()).await
    }

    /// Asks all nodes for their keys.
    ///
    /// # Errors
    /// See [`KeyManager::install`].
    pub async fn list(&self) -> Result<KeyReport<I>, Error> {
        let _turn = self.serf.key_turn().read().await;
        self.ask("_serf_list-keys", b"").await
    }

    /// The keys of this node, the first being the one it encrypts with. None: nothing is encrypted.
    ///
    /// ```
    /// use serf::{Config, Key, Serf};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let keys = vec![Key::new(&[7; 32])?];
    /// let config = Config { bind: "127.0.0.1:0".parse()?, keys: keys.clone(), ..Config::lan("web-1") };
    /// let serf = Serf::start(config).await?;
    /// assert_eq!(serf.keys().local().await?, keys);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The node is gone.
    pub async fn local(&self) -> Result<Vec<Key>, Closed> {
        self.serf.local_keys().await
    }

    async fn change(&self, name: &str, key: &[u8]) -> Result<KeyReport<I>, Error> {
        let _turn = self.serf.key_turn().write().await;
        self.ask(name, key).await
    }

    async fn ask(&self, name: &str, key: &[u8]) -> Result<KeyReport<I>, Error> {
        let mut payload = Vec::new();
        let request = KeyRequest { key: Some(key.into()) };
        serf::put(&mut payload, MessageKind::KeyRequest, |w| request.write(w));
        let query = Query::new(name).with_payload(payload).with_relays(self.relay_factor);
        let mut answers = self.serf.query(query).await?;
        let mut report = KeyReport::of(answers.present());
        while report.num_resp < report.num_nodes
            && let Some(answer) = answers.next().await
        {
            if let Answer::Response { from, payload } = answer {
                report.take(from, &payload);
            }
        }
        Ok(report)
    }
}
