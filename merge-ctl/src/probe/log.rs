//! The programs' own words: rare messages through aya-log, kept until somebody asks.

use std::sync::{Arc, Mutex, PoisonError};

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};

/// How many lines are kept at most; later ones are lost.
const MAX_LINES: usize = 1024;

/// Collects what the programs log.
pub(super) struct ProgramLog {
    logger: EbpfLogger<Lines>,
    lines: Lines,
}

impl ProgramLog {
    /// Begins to read the log of loaded programs.
    ///
    /// # Errors
    /// The object has no log.
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, aya_log::Error> {
        let lines = Lines::default();
        let logger = EbpfLogger::init_with_logger(ebpf, lines.clone())?;
        Ok(Self { logger, lines })
    }

    /// The lines since the last time.
    pub(super) fn drain(&mut self) -> Vec<String> {
        self.logger.flush();
        std::mem::take(&mut self.lines.lock())
    }
}

/// Where the logger leaves its lines. It must be shareable between threads to be one.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        // Lines are whole even where somebody panicked with the lock held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for Lines {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut lines = self.lock();
        if lines.len() < MAX_LINES {
            lines.push(format!("{}: {}", record.level().as_str().to_lowercase(), record.args()));
        }
    }

    fn flush(&self) {}
}
