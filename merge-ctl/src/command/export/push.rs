//! Pushes the page to an OpenTelemetry collector: OTLP over HTTP, in JSON.
//!
//! A collector that is away, slow or refuses costs nobody anything: a push is over after [`WITHIN`], the next
//! one comes at its time with the figures of then, and what went wrong is told once.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::pages::Pages;
use super::told_once;
use crate::command::live;

const WITHIN: Duration = Duration::from_secs(10);
/// Where an OTLP receiver takes metrics.
const PATH: &str = "/v1/metrics";
const PORT: u16 = 4318;

/// Where to push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Collector {
    host: String,
    port: u16,
    authority: String,
    path: String,
}

impl Collector {
    /// Reads an URL: `http://HOST[:4318][/v1/metrics]`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("--otlp: {error}"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err("--otlp: TLS is not spoken here: push to a collector on this host, \
                            which passes it on"
                    .to_owned());
            }
            _ => return Err("--otlp: give an URL: http://127.0.0.1:4318".to_owned()),
        }
        let authority = uri.authority().filter(|it| !it.as_str().contains('@'));
        let authority = authority.ok_or("--otlp: a host is needed, and no user")?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(PORT),
            authority: authority.to_string(),
            path: if path == "/" { PATH } else { path }.to_owned(),
        })
    }

    async fn push(&self, body: Bytes) -> anyhow::Result<()> {
        let stream = TcpStream::connect((&*self.host, self.port)).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::post(&self.path)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("merge-ctl/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))?;
        // The connection works only as long as it is polled, and may end with the answer.
        let mut answer = std::pin::pin!(sender.send_request(request));
        let status = tokio::select! {
            answer = &mut answer => answer?.status(),
            ended = connection => {
                ended?;
                answer.await?.status()
            }
        };
        ensure!(status.is_success(), "it answers {status}");
        Ok(())
    }
}

/// Pushes until the process ends.
///
/// # Errors
/// None: what goes wrong is told.
pub(super) async fn push(
    collector: Collector,
    pages: watch::Receiver<Pages>,
    every: Duration,
) -> anyhow::Result<()> {
    let mut ticker = live::every(every);
    let mut trouble = None;
    loop {
        ticker.tick().await;
        let body = pages.borrow().otlp.clone();
        let pushed = match timeout(WITHIN, collector.push(body)).await {
            Ok(pushed) => pushed,
            Err(_) => Err(anyhow::anyhow!("no answer for {} s", WITHIN.as_secs())),
        };
        let words = || format!("cannot push to http://{}{}", collector.authority, collector.path);
        told_once(&mut trouble, pushed.with_context(words));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_url_says_where_and_what_is_left_out_is_as_usual() {
        let of = |text| Collector::parse(text).map(|it| (it.host, it.port, it.path));
        let usual = || PATH.to_owned();
        assert_eq!(of("http://127.0.0.1:4318"), Ok(("127.0.0.1".into(), 4318, usual())));
        assert_eq!(of("http://collector/"), Ok(("collector".into(), 4318, usual())));
        assert_eq!(of("http://[::1]:9/x/y?z"), Ok(("::1".into(), 9, "/x/y?z".into())));
        for wrong in ["https://collector", "collector:4318", "", "http://", "http://u:p@host"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
