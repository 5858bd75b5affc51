//! The listener for those who watch over the bank: `/metrics`, `/healthz` and `/readyz`, over plain HTTP/1.
//!
//! It tells how much there is and how it goes, and nothing of any account. **Invariant:** whoever comes here
//! takes nothing from the bank's own clients: there are few connections, each with one request and a short
//! life.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::server::Readiness;

use super::metrics::Metrics;

/// How many connections there are at a time; others wait for their turn.
const CONNECTIONS: usize = 16;
/// How long a connection may live: as long as Prometheus waits for an answer by default.
const LIFETIME: Duration = Duration::from_secs(10);
/// How long nobody is taken in when a connection can't be, since the process has no more files to open.
const PAUSE: Duration = Duration::from_millis(100);
/// The largest head of a request that is read, in bytes. hyper takes no less than 8192.
const MAX_HEAD_BYTES: usize = 8192;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Answers until it is dropped.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS {
            connections.join_next().await;
        }
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(timeout(LIFETIME, converse(stream, metrics.clone())));
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection for metrics could not be taken");
                    sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse(stream: TcpStream, metrics: Arc<Metrics>) {
    let service = service_fn(move |request| {
        let metrics = metrics.clone();
        async move { Ok::<_, Infallible>(answer(&request, &metrics).await) }
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        // The whole connection has its time.
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection for metrics has ended");
    }
}

async fn answer(request: &Request<Incoming>, metrics: &Metrics) -> Response<Full<Bytes>> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => match metrics.text().await {
            Ok(page) => response(StatusCode::OK, OPEN_METRICS, page.into()),
            Err(error) => {
                tracing::error!(%error, "the metrics can't be written");
                text(StatusCode::INTERNAL_SERVER_ERROR, "they can't be written")
            }
        },
        "/healthz" => text(StatusCode::OK, "alive"),
        "/readyz" => match metrics.readiness() {
            Readiness::Ready => text(StatusCode::OK, "ready"),
            Readiness::Starting => text(StatusCode::SERVICE_UNAVAILABLE, "starting"),
            Readiness::Unreachable => {
                text(StatusCode::SERVICE_UNAVAILABLE, "what keeps the books can't be reached")
            }
            Readiness::Draining => text(StatusCode::SERVICE_UNAVAILABLE, "draining"),
        },
        _ => text(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz"),
    }
}

fn text(status: StatusCode, line: &str) -> Response<Full<Bytes>> {
    response(status, TEXT, format!("{line}\n").into())
}

fn response(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
