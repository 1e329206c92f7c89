//! A real browser, where there is one.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Names that it goes by.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// The browser of this machine.
pub(crate) struct Browser(PathBuf);

/// What became of a page.
pub(crate) struct Shown {
    /// What is in it once it is there.
    pub(crate) dom: String,
    /// What it complains of.
    pub(crate) console: Vec<String>,
    /// How long all of it took, the start of the browser too.
    pub(crate) took: Duration,
}

/// Tells what must be seen, also where what a test prints is not shown.
#[expect(clippy::explicit_write, reason = "what the macros print is kept back")]
pub(crate) fn tell(words: &str) {
    writeln!(io::stderr(), "{words}").unwrap();
}

impl Browser {
    /// The browser, or none, which is told.
    pub(crate) fn find() -> Option<Self> {
        let path = std::env::var_os("PATH")?;
        let places: Vec<_> = std::env::split_paths(&path).collect();
        let found = NAMES.iter().flat_map(|name| places.iter().map(move |place| place.join(name)));
        let found = found.into_iter().find(|file| file.is_file());
        if found.is_none() {
            tell("SKIPPED: no browser here. To check reports in one: apt-get install chromium");
        }
        found.map(Self)
    }

    /// Opens a file and takes a picture of it, as wide as that.
    pub(crate) fn show(&self, file: &Path, profile: &Path, arguments: &[&str]) -> Shown {
        let begun = Instant::now();
        let output = Command::new(&self.0)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--enable-logging=stderr",
            ])
            // Whoever asks for anything outside gets no answer, and complains.
            .args(["--proxy-server=127.0.0.1:9", "--hide-scrollbars", "--disable-dev-shm-usage"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .args(arguments)
            .arg(format!("file://{}", fs::canonicalize(file).unwrap().display()))
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        let is_of_the_page = |line: &&str| line.contains("CONSOLE");
        Shown {
            dom: String::from_utf8(output.stdout).unwrap(),
            console: told.lines().filter(is_of_the_page).map(str::to_owned).collect(),
            took: begun.elapsed(),
        }
    }
}
