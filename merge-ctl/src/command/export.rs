//! `merge-ctl export`: the models of all merges, and the fill of all snapshots, as metrics.
//!
//! Two threads. This one reads devices and probes at its own pace, whoever asks or does not, and
//! publishes each page as finished text. The other one has no privilege at all; it hands out that text
//! and pushes it. So no number of requests, and no client, makes anything be read.

mod follow;
mod http;
mod own;
mod pages;
mod push;
mod replayed;
mod textfile;

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::thread;

use anyhow::Context as _;
use merge_ctl::metrics::Page;
use tokio::runtime;
use tokio::sync::watch;

use super::live::LeaveSignals;
use super::privilege;
use super::terminal;
use crate::cli::Export;
use crate::exit::{Exit, Usage};
use follow::Follower;
use pages::{Pages, Wanted};
use push::Collector;
use replayed::Replayed;
use textfile::Textfile;

/// Follows all there is until the user leaves.
pub(crate) async fn run(options: &Export) -> anyhow::Result<ExitCode> {
    let mut signals = LeaveSignals::listen()?.deaf_to_hangup();
    let collector = options.otlp.as_deref().map(Collector::parse).transpose();
    let collector = collector.map_err(Usage)?;
    let listener = options.address().map(listen).transpose()?;
    let textfile = options.textfile.as_deref().map(Textfile::new).transpose()?;
    let mut source = Source::new(options)?;
    privilege::keep_what_is_needed(options.textfile.as_deref())?;
    tell_where(options, listener.as_ref())?;
    let wanted = Wanted { otlp: collector.is_some() };
    let (publish, published) = watch::channel(Pages::of(&source.page(), wanted));
    let server = Server { listener, collector, every: options.otlp_interval };
    let mut server =
        thread::Builder::new().name("serve".to_owned()).spawn(|| server.run(published))?;
    let mut trouble = None;
    loop {
        let page = source.page();
        let pages = Pages::of(&page, wanted);
        if let Some(textfile) = &textfile {
            told_once(&mut trouble, textfile.write(&pages.text));
        }
        publish.send_replace(pages);
        tokio::select! {
            () = source.next_round() => {}
            () = signals.any() => break,
        }
        if server.is_finished() {
            server = joined(server)?;
        }
    }
    textfile.map_or(Ok(()), |textfile| textfile.remove())?;
    Ok(Exit::Done.into())
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .with_context(|| format!("cannot listen on {address} (--listen takes another address)"))
}

/// Where the figures come from.
enum Source {
    Host(Box<Follower>),
    Recording(Box<Replayed>),
}

impl Source {
    fn new(options: &Export) -> anyhow::Result<Self> {
        Ok(match &options.replay {
            Some(path) => Self::Recording(Box::new(Replayed::open(path, options.interval)?)),
            None => Self::Host(Box::new(Follower::new(options)?)),
        })
    }

    fn page(&self) -> Page {
        match self {
            Self::Host(host) => host.page(),
            Self::Recording(recording) => recording.page(),
        }
    }

    async fn next_round(&mut self) {
        match self {
            Self::Host(host) => host.next_round().await,
            Self::Recording(recording) => recording.next_round().await,
        }
    }
}

/// What runs on the other thread.
struct Server {
    listener: Option<TcpListener>,
    collector: Option<Collector>,
    every: std::time::Duration,
}

type Handle = thread::JoinHandle<anyhow::Result<()>>;

impl Server {
    fn run(self, published: watch::Receiver<Pages>) -> anyhow::Result<()> {
        privilege::drop_all()?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = self.listener.map(|it| http::serve(it, published.clone()));
            let push = self.collector.map(|it| push::push(it, published, self.every));
            let (listener, push) = (or_never(listener), or_never(push));
            tokio::select! {
                ended = listener => ended,
                ended = push => ended,
            }
        })
    }
}

/// What is not wanted never ends.
async fn or_never<F: Future>(wanted: Option<F>) -> F::Output {
    match wanted {
        Some(wanted) => wanted.await,
        None => std::future::pending().await,
    }
}

/// Why the other thread has ended, which it never does by itself.
fn joined(server: Handle) -> anyhow::Result<Handle> {
    match server.join() {
        Ok(ended) => ended.context("nothing is handed out any more")?,
        Err(_) => anyhow::bail!("nothing is handed out any more: the server has crashed"),
    }
    anyhow::bail!("nothing is handed out any more")
}

/// Tells trouble when it begins, and not again until it is another.
fn told_once(last: &mut Option<String>, result: anyhow::Result<()>) {
    let now = result.err().map(|error| format!("{error:#}"));
    if let Some(words) = now.as_ref().filter(|_| now != *last) {
        terminal::tell(words);
    }
    *last = now;
}

fn tell_where(options: &Export, listener: Option<&TcpListener>) -> anyhow::Result<()> {
    if let Some(listener) = listener {
        let address = listener.local_addr()?;
        terminal::tell(&format!("metrics are at http://{address}/metrics"));
    }
    if let Some(directory) = &options.textfile {
        let path = merge_ctl::harmless::path(&textfile::path_in(directory));
        terminal::tell(&format!("metrics are in {path}"));
    }
    if let Some(url) = &options.otlp {
        let url = merge_ctl::harmless::printable(url);
        terminal::tell(&format!("metrics are pushed to {url}"));
    }
    Ok(())
}
