//! The file that the audit log is appended to, when it is not to go with the other log.
//!
//! **Invariants:** a line is handed to the operating system as a whole and at once; when it can't be written
//! that is told on standard error, once until it can be again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

/// The file, for whoever writes to it and whoever opens it anew.
#[derive(Clone, Debug)]
pub struct AuditLog {
    path: PathBuf,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug)]
struct Open {
    file: File,
    has_failed: bool,
}

impl AuditLog {
    /// Opens the file, or makes it; what is in it stays.
    ///
    /// # Errors
    ///
    /// One line that says why it can't be written to.
    pub fn open(path: &Path) -> Result<Self, String> {
        let open = Open { file: append_to(path)?, has_failed: false };
        Ok(Self { path: path.to_owned(), open: Arc::new(Mutex::new(open)) })
    }

    /// Opens the file anew under its name, since what was open may have been moved away.
    ///
    /// # Errors
    ///
    /// One line that says why that can't be done; what was open stays in use.
    pub fn reopen(&self) -> Result<(), String> {
        self.lock().file = append_to(&self.path)?;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn append_to(path: &Path) -> Result<File, String> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.map_err(|error| format!("{} can't be written to: {error}", path.display()))
}

impl<'a> MakeWriter<'a> for AuditLog {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(self)
    }
}

/// Writes one line.
#[derive(Debug)]
pub struct Line<'a>(&'a AuditLog);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut open = self.0.lock();
        let result = open.file.write_all(line);
        let has_failed = std::mem::replace(&mut open.has_failed, result.is_err());
        if let Err(error) = &result
            && !has_failed
        {
            // The log itself would come back here.
            let path = self.0.path.display();
            let _ = writeln!(io::stderr(), "bank: {path} can't be written to: {error}");
        }
        result.map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
