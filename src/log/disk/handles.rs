//! Which files of the real disk are open. Log directories hold more files than a process may have open: a file that was
//! not used lately is closed, and opened again by its name when it is needed. Every rename and removal goes through here,
//! so that a reopened file is always the same file as before. It must never know what files are for.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::{ArcSwapOption, Guard};
use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::io::Errno;

use super::failed;

/// The known files, and which of them are open. The lock is never held during a call to the disk.
#[derive(Debug)]
pub(super) struct Handles {
    capacity: usize,
    state: Mutex<OpenFiles>,
    renamed: Condvar,
}

#[derive(Default, Debug)]
struct OpenFiles {
    named: BTreeMap<Arc<Path>, Vec<Weak<Kept>>>,
    /// The files that may be closed, the first one next unless it was used since the last look at it. Some have been
    /// dropped.
    ring: VecDeque<Weak<Kept>>,
    open: usize,
    /// Names that are being changed: until the rename returns, a file at or below such a name may be at the old or the
    /// new one.
    renaming: Vec<Arc<Path>>,
}

/// A file that is opened again whenever it is used.
pub(super) struct Kept {
    handles: Arc<Handles>,
    me: Weak<Kept>,
    writable: bool,
    path: Mutex<Arc<Path>>,
    file: ArcSwapOption<File>,
    /// Set by the second use after opening, and by any use after the last look: a file that is used only once is closed
    /// first.
    used: AtomicBool,
    /// The file's name was removed. If the file were closed, it could not be opened again.
    nameless: AtomicBool,
    /// Device and inode, known once the file was closed for the first time.
    identity: OnceLock<(u64, u64)>,
}

impl Handles {
    /// Keeps at most `capacity` files open, and at least one.
    pub fn new(capacity: usize) -> Handles {
        Handles { capacity: capacity.max(1), state: Mutex::default(), renamed: Condvar::new() }
    }

    /// Registers a file. `None`: the file is opened at its first use.
    pub fn keep(self: &Arc<Self>, path: &Path, writable: bool, file: Option<File>) -> Arc<Kept> {
        let path: Arc<Path> = path.into();
        let is_open = file.is_some();
        let kept = Arc::new_cyclic(|me| Kept {
            handles: self.clone(),
            me: me.clone(),
            writable,
            path: Mutex::new(path.clone()),
            file: ArcSwapOption::new(file.map(Arc::new)),
            used: AtomicBool::new(false),
            nameless: AtomicBool::new(false),
            identity: OnceLock::new(),
        });
        let mut met = Vec::new();
        let mut state = self.state.lock();
        state.named.entry(path).or_default().push(kept.me.clone());
        if is_open {
            state.opened(&kept, self.capacity, &mut met);
        }
        release(state, met);
        kept
    }

    /// Opens a file. If the process already has too many open files, this closes others first.
    pub fn open_file(&self, how: &OpenOptions, path: &Path) -> io::Result<File> {
        let too_many = |error: &io::Error| matches!(error.raw_os_error(), Some(code) if code == Errno::MFILE.raw_os_error() || code == Errno::NFILE.raw_os_error());
        match how.open(path) {
            Err(error) if too_many(&error) => {
                let mut met = Vec::new();
                let mut state = self.state.lock();
                let fewer = state.open / 2;
                state.close_down_to(fewer, &mut met);
                release(state, met);
                how.open(path)
            }
            outcome => outcome,
        }
    }

    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.hold_on_to(to);
        let name: Arc<Path> = from.into();
        self.state.lock().renaming.push(name.clone());
        let renamed = fs::rename(from, to);
        let mut met = Vec::new();
        let mut state = self.state.lock();
        state.renaming.retain(|other| !Arc::ptr_eq(other, &name));
        if renamed.is_ok() {
            for path in state.below(from) {
                let Some(files) = state.named.remove(&path) else { continue };
                let Ok(rest) = path.strip_prefix(from) else { continue };
                let now: Arc<Path> =
                    if rest.as_os_str().is_empty() { to.into() } else { to.join(rest).into() };
                for kept in files.iter().filter_map(Weak::upgrade) {
                    *kept.path.lock() = now.clone();
                    met.push(kept);
                }
                state.named.entry(now).or_default().extend(files);
            }
        }
        release(state, met);
        self.renamed.notify_all();
        renamed
    }

    /// Called before the names at and below `path` are removed: opens those files that are in use, so that their users
    /// can go on reading them.
    pub fn hold_on_to(&self, path: &Path) {
        let state = self.state.lock();
        let files = state.below(path).into_iter().flat_map(|path| state.named[&path].clone());
        let met: Vec<Arc<Kept>> = files.filter_map(|kept| kept.upgrade()).collect();
        // This needs the lock, so that none of these files is closed at the same time.
        met.iter().for_each(|kept| kept.nameless.store(true, Ordering::SeqCst));
        drop(state);
        // A file that no longer exists cannot be opened, and does not have to be.
        met.iter().for_each(|kept| drop(kept.file()));
    }

    #[cfg(test)]
    pub fn open_files(&self) -> usize {
        self.state.lock().open
    }
}

// The lock is released first: whoever drops the last reference to a file takes the lock to unregister it.
fn release(state: MutexGuard<'_, OpenFiles>, met: Vec<Arc<Kept>>) {
    drop(state);
    drop(met);
}

impl OpenFiles {
    fn below(&self, path: &Path) -> Vec<Arc<Path>> {
        let from = self.named.range::<Path, _>((Bound::Included(path), Bound::Unbounded));
        from.map(|(path, _)| path.clone()).take_while(|at| at.starts_with(path)).collect()
    }

    // Counts one more file as open, and closes others if there are too many. `met` must be dropped without the lock.
    fn opened(&mut self, kept: &Arc<Kept>, capacity: usize, met: &mut Vec<Arc<Kept>>) {
        self.open += 1;
        self.ring.push_back(kept.me.clone());
        self.close_down_to(capacity, met);
    }

    fn close_down_to(&mut self, capacity: usize, met: &mut Vec<Arc<Kept>>) {
        for _ in 0..2 * self.ring.len() {
            if self.open <= capacity {
                return;
            }
            let Some(next) = self.ring.pop_front().and_then(|next| next.upgrade()) else { continue };
            // Since Linux 4.16, a write-back error that no descriptor has reported yet is reported to the next one that
            // opens the file. So a file may be closed before it is synced.
            if next.nameless.load(Ordering::SeqCst) {
                // A file without a name stays open for as long as it is used.
            } else if next.used.swap(false, Ordering::Relaxed) || !next.close() {
                self.ring.push_back(next.me.clone());
            } else {
                self.open -= 1;
            }
            met.push(next);
        }
    }
}

impl Kept {
    pub fn path(&self) -> Arc<Path> {
        self.path.lock().clone()
    }

    /// The open file. It stays open for as long as the guard lives.
    pub fn file(&self) -> io::Result<Guard<Option<Arc<File>>>> {
        let file = self.file.load();
        if file.is_none() {
            return self.open_again();
        }
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        Ok(file)
    }

    /// Like `file`, but returns `None` if the file would have to be opened.
    pub fn file_if_open(&self) -> Guard<Option<Arc<File>>> {
        let file = self.file.load();
        if file.is_some() && !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        file
    }

    fn open_again(&self) -> io::Result<Guard<Option<Arc<File>>>> {
        let me = self.me.upgrade();
        loop {
            let path = self.path();
            let opened = self.handles.open_file(File::options().read(true).write(self.writable), &path);
            let opened = opened.and_then(|file| self.check(&file).map(|()| file));
            let mut met = Vec::new();
            let mut state = self.handles.state.lock();
            // The file was renamed during the opening, perhaps to another name and back.
            if !Arc::ptr_eq(&self.path.lock(), &path) {
                continue;
            }
            let file = self.file.load();
            if file.is_some() {
                return Ok(file);
            }
            if opened.is_err() && state.renaming.iter().any(|from| path.starts_with(from)) {
                self.handles.renamed.wait(&mut state);
                continue;
            }
            let file = Arc::new(opened.map_err(|error| failed("open again", &path, error))?);
            self.file.store(Some(file.clone()));
            if let Some(me) = &me {
                state.opened(me, self.handles.capacity, &mut met);
            }
            release(state, met);
            return Ok(Guard::from_inner(Some(file)));
        }
    }

    fn check(&self, file: &File) -> io::Result<()> {
        let Some(known) = self.identity.get() else { return Ok(()) };
        match identity(file)? == *known {
            true => Ok(()),
            false => Err(io::Error::new(io::ErrorKind::NotFound, "another file has its name now")),
        }
    }

    // Returns false if the file stays open: without its device and inode, a reopened file could not be recognised as the
    // same.
    fn close(&self) -> bool {
        let file = self.file.load();
        let known =
            file.as_deref().map(|file| self.identity.get().copied().map_or_else(|| identity(file), Ok));
        let Some(Ok(known)) = known else { return false };
        let _ = self.identity.set(known);
        self.file.store(None);
        true
    }
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    let meta = file.metadata()?;
    Ok((meta.dev(), meta.ino()))
}

impl Drop for Kept {
    fn drop(&mut self) {
        let state = &mut *self.handles.state.lock();
        if self.file.load().is_some() {
            state.open -= 1;
        }
        let path = self.path.lock();
        if let Some(files) = state.named.get_mut(&*path) {
            files.retain(|kept| !std::ptr::eq(kept.as_ptr(), self));
            if files.is_empty() {
                state.named.remove(&*path);
            }
        }
        if state.ring.len() > 2 * state.open + 64 {
            state.ring.retain(|kept| kept.strong_count() > 0);
        }
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path().display())
    }
}
