//! A file that may change while the bank runs.
//!
//! **Invariant:** what was read last and was good is in force; a file that is gone, cut or malformed is told
//! in the log, once, and changes nothing. The content is compared, not the time of the file, so that files
//! put in place by a link or within the clock's grain are seen.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

type Parse<T> = Box<dyn Fn(&[u8]) -> Result<T, String> + Send + Sync>;

/// What a file says.
pub struct Reloaded<T> {
    path: PathBuf,
    parse: Parse<T>,
    current: RwLock<Arc<T>>,
    /// What was read last, good or not.
    seen: Mutex<Result<Vec<u8>, String>>,
}

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// One line that names it and says why it can't be used.
    pub fn open(
        path: &Path,
        parse: impl Fn(&[u8]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let content = read(path).map_err(|why| format!("{} {why}", path.display()))?;
        let first = parse(&content).map_err(|why| format!("{}: {why}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            parse: Box::new(parse),
            current: RwLock::new(Arc::new(first)),
            seen: Mutex::new(Ok(content)),
        })
    }

    /// What is in force.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the file, and takes over what it says if that is new and good: whether it did.
    pub fn look(&self) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let content = read(&self.path);
        if content == *seen {
            return false;
        }
        let file = self.path.display();
        let parsed = content.as_deref().map_err(Clone::clone).and_then(|it| (self.parse)(it));
        *seen = content;
        match parsed {
            Ok(new) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                tracing::info!(%file, "the file has changed and was read again");
                true
            }
            Err(why) => {
                tracing::error!(%file, why, "the file can't be used; what it said before stands");
                false
            }
        }
    }

    /// Looks at the file now and then, for ever.
    pub async fn keep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let file = self.clone();
            // It may be on a slow disk.
            if tokio::task::spawn_blocking(move || file.look()).await.is_err() {
                return;
            }
        }
    }
}

impl<T> std::fmt::Debug for Reloaded<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloaded").field("path", &self.path).finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| format!("can't be read: {error}"))?;
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut content)
        .map_err(|error| format!("can't be read: {error}"))?;
    if content.len() as u64 > MAX_BYTES {
        return Err(format!("is larger than {MAX_BYTES} bytes"));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(content: &[u8]) -> Result<String, String> {
        let text = String::from_utf8_lossy(content).into_owned();
        if text.starts_with('!') { Err("it is bad".to_owned()) } else { Ok(text) }
    }

    #[test]
    fn what_is_good_is_taken_over_and_what_is_bad_is_not() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("file");
        assert!(Reloaded::open(&path, parse).is_err_and(|why| why.contains("can't be read")));
        std::fs::write(&path, "!").expect("it can be written");
        assert!(Reloaded::open(&path, parse).is_err_and(|why| why.contains("it is bad")));

        std::fs::write(&path, "one").expect("it can be written");
        let file = Reloaded::open(&path, parse).expect("it is good");
        assert!(!file.look(), "nothing has changed");
        std::fs::write(&path, "two").expect("it can be written");
        assert!(file.look());
        assert_eq!(*file.current(), "two");

        std::fs::write(&path, "!").expect("it can be written");
        assert!(!file.look());
        std::fs::remove_file(&path).expect("it is there");
        assert!(!file.look());
        std::fs::write(&path, vec![b'x'; (1 << 20) + 1]).expect("it can be written");
        assert!(!file.look());
        assert_eq!(*file.current(), "two", "what it said before stands");

        // As secrets are put in place in containers: by a link, within the same moment.
        let other = folder.path().join("other");
        std::fs::write(&other, "three").expect("it can be written");
        std::fs::rename(&other, &path).expect("it can be moved");
        assert!(file.look());
        assert_eq!(*file.current(), "three");
    }
}
