//! The node's own tags: announced, and kept in a file where one is configured.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serf::{Serf, Tags};

use crate::config::{TAGS_SIZE_MAX, tags};

/// See the module's text.
#[derive(Debug)]
pub(crate) struct TagStore {
    path: Option<PathBuf>,
    current: Mutex<Tags>,
    /// Changes are made one after another: file and announcement then agree.
    changing: tokio::sync::Mutex<()>,
}

impl TagStore {
    /// With the tags that were announced at the start.
    #[must_use]
    pub(crate) fn new(path: Option<PathBuf>, tags: Tags) -> Self {
        Self { path, current: Mutex::new(tags), changing: tokio::sync::Mutex::new(()) }
    }

    /// The tags as they are.
    #[must_use]
    pub(crate) fn get(&self) -> Tags {
        self.lock().clone()
    }

    /// Changes the tags: checked first, then written to the file, then announced.
    ///
    /// # Errors
    /// A text for the operator. Tags that are too long change nothing, nor do those that cannot be written.
    pub(crate) async fn set(&self, serf: &Serf, make: impl FnOnce(Tags) -> Tags) -> Result<(), String> {
        let _changing = self.changing.lock().await;
        let tags = make(self.get());
        if tags::encoded_len(&tags) > TAGS_SIZE_MAX {
            return Err(format!("Encoded length of tags exceeds limit of {TAGS_SIZE_MAX} bytes"));
        }
        if let Some(path) = self.path.clone() {
            let tags = tags.clone();
            // The node goes on while a slow disk takes its time.
            let saved = tokio::task::spawn_blocking(move || tags::save(&path, &tags)).await;
            saved.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        }
        *self.lock() = tags.clone();
        serf.set_tags(tags).await.map_err(|e| e.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, Tags> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
