//! Hands out the page over HTTP, within bounds that no client can move.
//!
//! At most [`CONNECTIONS`] at once: who comes then waits in the kernel's queue until one ends, and each ends
//! soon, since a request has to be there whole within [`REQUEST_WITHIN`] (which is also how long a connection
//! may be idle), and no connection lasts longer than [`CONNECTION_LASTS`] and [`LAST_ANSWER_WITHIN`]. Buffers
//! are bounded; an answer is the page that all share, so a slow reader holds no copy of it. Only GET and HEAD
//! are known, and no body is read.

use std::net;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderMap};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use merge_ctl::metrics::text::Format;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::pages::Pages;

const CONNECTIONS: usize = 256;
const REQUEST_WITHIN: Duration = Duration::from_secs(3);
const CONNECTION_LASTS: Duration = Duration::from_secs(4);
const LAST_ANSWER_WITHIN: Duration = Duration::from_secs(2);
const BUFFER_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;
/// Where the process or the machine has no more descriptors, others have to end first.
const AFTER_REFUSED: Duration = Duration::from_millis(100);

/// Serves until the process ends.
///
/// # Errors
/// Where the listener cannot be used at all.
pub(super) async fn serve(
    listener: net::TcpListener,
    pages: watch::Receiver<Pages>,
) -> anyhow::Result<()> {
    listener.set_nonblocking(true).context("cannot listen")?;
    let listener = TcpListener::from_std(listener).context("cannot listen")?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await?;
        let Ok((stream, _)) = listener.accept().await else {
            sleep(AFTER_REFUSED).await;
            continue;
        };
        let pages = pages.clone();
        tokio::spawn(async move {
            serve_one(stream, pages).await;
            drop(place);
        });
    }
}

async fn serve_one(stream: TcpStream, pages: watch::Receiver<Pages>) {
    // Without it an answer may wait for an acknowledgement; it is as right then.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let answer = answer(&request, &pages.borrow());
        async move { Ok::<_, std::convert::Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_WITHIN)
        .max_buf_size(BUFFER_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // How a client leaves, or what nonsense it speaks, is its own matter.
    if timeout(CONNECTION_LASTS, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(LAST_ANSWER_WITHIN, connection).await;
    }
}

fn answer(request: &Request<Incoming>, pages: &Pages) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        refused.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        "/metrics" => metrics(format_for(request.headers()), pages),
        "/" => plain(StatusCode::OK, "merge-ctl export: the metrics are at /metrics\n"),
        _ => plain(StatusCode::NOT_FOUND, "the metrics are at /metrics\n"),
    }
}

/// OpenMetrics where the client says that it takes it.
fn format_for(headers: &HeaderMap) -> Format {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let takes_open = |value: &str| {
        value.split(',').any(|kind| kind.trim_start().starts_with("application/openmetrics-text"))
    };
    if { accepted }.any(takes_open) { Format::OpenMetrics } else { Format::Prometheus }
}

fn metrics(format: Format, pages: &Pages) -> Response<Full<Bytes>> {
    let body = match format {
        Format::OpenMetrics => &pages.open_metrics,
        Format::Prometheus => &pages.text,
    };
    with_body(StatusCode::OK, format.content_type(), body.clone())
}

fn plain(status: StatusCode, words: &'static str) -> Response<Full<Bytes>> {
    with_body(status, "text/plain; charset=utf-8", Bytes::from_static(words.as_bytes()))
}

fn with_body(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(accept: &[&'static str]) -> Format {
        let values = accept.iter().map(|it| hyper::header::HeaderValue::from_static(it));
        format_for(&values.map(|value| (ACCEPT, value)).fold(
            HeaderMap::new(),
            |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            },
        ))
    }

    #[test]
    fn a_client_gets_the_text_that_it_understands() {
        assert_eq!(format(&[]), Format::Prometheus);
        assert_eq!(format(&["text/plain;version=0.0.4;q=0.5, */*;q=0.1"]), Format::Prometheus);
        let of_prometheus = "application/openmetrics-text;version=1.0.0,\
                             application/openmetrics-text;version=0.0.1;q=0.75,text/plain;q=0.5";
        assert_eq!(format(&[of_prometheus]), Format::OpenMetrics);
        assert_eq!(format(&["text/html", "application/openmetrics-text"]), Format::OpenMetrics);
    }
}
