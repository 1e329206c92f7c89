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

/// How a page lies on a screen, seen by a script in the page around it.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Layout {
    /// How wide it is: as wide as the screen, or somebody has to scroll sideways.
    pub(crate) width: u32,
    /// The lowest text in a figure, in CSS pixels.
    pub(crate) lowest_text: f64,
    /// Texts in figures that lie over others, or reach out of their figure.
    pub(crate) in_the_way: Vec<String>,
    /// Figures that can be seen.
    pub(crate) figures: u32,
}

/// Looks at the page in the frame, whose origin is that of the page around it.
const LOOK: &str = "
const inside = frame.contentDocument, odd = [];
let lowest = 1e9, figures = 0;
for (const figure of inside.querySelectorAll('svg')) {
  const all = figure.getBoundingClientRect();
  if (!all.width) continue;
  figures++;
  const texts = [...figure.querySelectorAll('text')].map(it => [it.textContent, it.getBoundingClientRect()]);
  texts.forEach(([words, box], i) => {
    if (!words.trim()) return;
    lowest = Math.min(lowest, box.height);
    if (box.left < all.left - 1 || box.right > all.right + 1 || box.top < all.top - 1 || box.bottom > all.bottom + 1)
      odd.push(words + ' is cut off');
    for (const [other, its] of texts.slice(i + 1))
      if (other.trim() && box.left < its.right - 1 && its.left < box.right - 1 && box.top < its.bottom - 2 && its.top < box.bottom - 2)
        odd.push(words + ' over ' + other);
  });
}
told.textContent = JSON.stringify({width: inside.documentElement.scrollWidth, lowest_text: lowest, in_the_way: odd, figures});
";

impl Browser {
    /// Lays a page out on a screen of this width. A window of its own is never narrower than 500 pixels.
    pub(crate) fn lay_out(&self, html: &str, width: u32, directory: &Path) -> Layout {
        let quoted = html.replace('&', "&amp;").replace('"', "&quot;");
        let file = directory.join("around.html");
        let around = format!(
            "<!doctype html><meta charset=utf-8><pre id=told></pre><iframe id=frame width={width} height=800 \
             style=\"border:0\" onload=\"look()\" srcdoc=\"{quoted}\"></iframe><script>function look(){{{LOOK}}}</script>"
        );
        // The script has to be known before the frame is loaded.
        let (body, script) = around.split_once("<script>").unwrap();
        let around = body.replace("<pre", &format!("<script>{script}<pre"));
        fs::write(&file, around).unwrap();
        let shown = self.show(&file, &directory.join("profile"), &["--window-size=1600,900"]);
        let told =
            shown.dom.split_once("<pre id=\"told\">").unwrap().1.split_once("</pre>").unwrap().0;
        let told = told.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        serde_json::from_str(&told)
            .unwrap_or_else(|error| panic!("{error}: {told} {:?}", shown.console))
    }
}
