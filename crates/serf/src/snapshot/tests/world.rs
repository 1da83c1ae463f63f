//! A file system that does what a test says: it fails where it is told to, stops in the middle of any step, and tells what
//! would be left after that.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::snapshot::disk::Disk;

/// What a step is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Open,
    Create,
    Read,
    Append,
    Truncate,
    Sync,
    Rename,
    Remove,
    SyncName,
}

/// How a step fails. An append may have done a part of its work before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) kind: ErrorKind,
    pub(super) after: usize,
}

type Judge = dyn FnMut(Step, usize) -> Option<Fault>;
type Names = BTreeMap<PathBuf, usize>;

#[derive(Default)]
struct State {
    files: Vec<Content>,
    names: Names,
    /// Those that have reached the disk.
    safe_names: Names,
    /// How much may still happen: each step counts for one, and each byte that is appended.
    fuel: Option<u64>,
    spent: u64,
    fault: Option<Box<Judge>>,
    is_shared: bool,
}

#[derive(Default, Clone)]
struct Content {
    bytes: Vec<u8>,
    /// What of it has reached the disk.
    safe: Vec<u8>,
}

/// The same world for all clones.
#[derive(Default, Clone)]
pub(super) struct World(Rc<RefCell<State>>);

impl World {
    /// With one file, which is safe.
    pub(super) fn with(path: &str, bytes: &[u8]) -> Self {
        let world = Self::default();
        world.put(path, bytes);
        world
    }

    pub(super) fn put(&self, path: &str, bytes: &[u8]) {
        let state = &mut *self.0.borrow_mut();
        state.files.push(Content { bytes: bytes.to_vec(), safe: bytes.to_vec() });
        state.names.insert(path.into(), state.files.len() - 1);
        state.safe_names = state.names.clone();
    }

    pub(super) fn file(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.0.borrow();
        state.names.get(Path::new(path)).map(|at| state.files[*at].bytes.clone())
    }

    /// Stops everything after this much.
    pub(super) fn stop_after(&self, fuel: u64) {
        self.0.borrow_mut().fuel = Some(fuel);
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.0.borrow().fuel == Some(0)
    }

    /// How much has happened so far.
    pub(super) fn spent(&self) -> u64 {
        self.0.borrow().spent
    }

    /// Asked at each step, with the bytes that an append is about.
    pub(super) fn fail(&self, fault: impl FnMut(Step, usize) -> Option<Fault> + 'static) {
        self.0.borrow_mut().fault = Some(Box::new(fault));
    }

    pub(super) fn heal(&self) {
        self.0.borrow_mut().fault = None;
    }

    pub(super) fn share(&self) {
        self.0.borrow_mut().is_shared = true;
    }

    /// What a killed process leaves.
    pub(super) fn after_kill(&self) -> Self {
        let state = self.0.borrow();
        let files: Vec<Content> =
            state.files.iter().map(|f| Content { bytes: f.bytes.clone(), safe: f.bytes.clone() }).collect();
        Self::of(files, state.names.clone())
    }

    /// What may be left when the power goes: of names the old ones or the new ones, and of what was appended last nothing,
    /// some, all, or zeroes.
    pub(super) fn after_power_loss(&self) -> Vec<Self> {
        let state = self.0.borrow();
        let mut worlds = Vec::new();
        for names in [&state.safe_names, &state.names] {
            for variant in 0..4 {
                let files = state.files.iter().map(|file| {
                    let grew = file.bytes.starts_with(&file.safe);
                    let unsafe_bytes = if grew { &file.bytes[file.safe.len()..] } else { &[] };
                    let mut bytes = file.safe.clone();
                    match variant {
                        0 => {}
                        1 => bytes.extend_from_slice(&unsafe_bytes[..unsafe_bytes.len() / 2]),
                        2 => bytes.extend_from_slice(unsafe_bytes),
                        _ => bytes.resize(bytes.len() + unsafe_bytes.len(), 0),
                    }
                    Content { safe: bytes.clone(), bytes }
                });
                worlds.push(Self::of(files.collect(), names.clone()));
            }
        }
        worlds
    }

    fn of(files: Vec<Content>, names: Names) -> Self {
        let safe_names = names.clone();
        Self(Rc::new(RefCell::new(State { files, names, safe_names, ..State::default() })))
    }

    /// A step begins. An error if it fails or nothing happens any more.
    fn step(&self, step: Step, bytes: usize) -> Result<(), Fault> {
        let state = &mut *self.0.borrow_mut();
        if state.fuel == Some(0) {
            return Err(Fault { kind: ErrorKind::Other, after: 0 });
        }
        state.spent += 1;
        if let Some(fuel) = &mut state.fuel {
            *fuel -= 1;
        }
        match state.fault.as_mut().and_then(|fault| fault(step, bytes)) {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    fn plain(&self, step: Step) -> io::Result<()> {
        self.step(step, 0).map_err(|fault| fault.kind.into())
    }
}

/// A file that is open.
#[derive(Debug)]
pub(super) struct Open {
    at: usize,
    read: usize,
}

impl Disk for World {
    type File = Open;

    fn target(&mut self, path: &Path) -> PathBuf {
        path.to_owned()
    }

    fn is_there(&mut self, path: &Path) -> bool {
        self.0.borrow().names.contains_key(path)
    }

    fn open(&mut self, path: &Path) -> io::Result<Open> {
        self.plain(Step::Open)?;
        let state = &mut *self.0.borrow_mut();
        let next = state.files.len();
        let at = *state.names.entry(path.to_owned()).or_insert(next);
        if at == next {
            state.files.push(Content::default());
        }
        Ok(Open { at, read: 0 })
    }

    fn create(&mut self, path: &Path, _like: &Open) -> io::Result<Open> {
        self.plain(Step::Create)?;
        let state = &mut *self.0.borrow_mut();
        if state.names.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.files.push(Content::default());
        state.names.insert(path.to_owned(), state.files.len() - 1);
        Ok(Open { at: state.files.len() - 1, read: 0 })
    }

    fn read(&mut self, file: &mut Open, buffer: &mut [u8]) -> io::Result<usize> {
        self.plain(Step::Read)?;
        let state = self.0.borrow();
        let rest = &state.files[file.at].bytes[file.read..];
        // Never as much as there is room for.
        let n = rest.len().min(buffer.len()).min(7);
        buffer[..n].copy_from_slice(&rest[..n]);
        file.read += n;
        Ok(n)
    }

    fn append(&mut self, file: &mut Open, bytes: &[u8]) -> io::Result<()> {
        let fault = self.step(Step::Append, bytes.len()).err();
        let state = &mut *self.0.borrow_mut();
        let mut n = fault.map_or(bytes.len(), |fault| fault.after.min(bytes.len()));
        if let Some(fuel) = &mut state.fuel {
            n = n.min(usize::try_from(*fuel).unwrap());
            *fuel -= n as u64;
        }
        state.spent += n as u64;
        state.files[file.at].bytes.extend_from_slice(&bytes[..n]);
        match fault {
            Some(fault) => Err(fault.kind.into()),
            None if n < bytes.len() => Err(ErrorKind::Other.into()),
            None => Ok(()),
        }
    }

    fn truncate(&mut self, file: &mut Open, len: u64) -> io::Result<()> {
        self.plain(Step::Truncate)?;
        let content = &mut self.0.borrow_mut().files[file.at];
        let len = usize::try_from(len).unwrap();
        assert!(len <= content.bytes.len(), "a file is not made longer");
        content.bytes.truncate(len);
        Ok(())
    }

    fn sync(&mut self, file: &mut Open) -> io::Result<()> {
        self.plain(Step::Sync)?;
        let content = &mut self.0.borrow_mut().files[file.at];
        content.safe = content.bytes.clone();
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.plain(Step::Rename)?;
        let names = &mut self.0.borrow_mut().names;
        let at = names.remove(from).ok_or(ErrorKind::NotFound)?;
        names.insert(to.to_owned(), at);
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.plain(Step::Remove)?;
        let removed = self.0.borrow_mut().names.remove(path);
        removed.map(drop).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn sync_name(&mut self, _path: &Path) -> io::Result<()> {
        self.plain(Step::SyncName)?;
        let state = &mut *self.0.borrow_mut();
        state.safe_names = state.names.clone();
        Ok(())
    }

    fn claim(&mut self, _file: &Open) -> bool {
        !self.0.borrow().is_shared
    }
}
