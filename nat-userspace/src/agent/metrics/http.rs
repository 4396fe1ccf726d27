//! The HTTP side of the metrics.

use std::{convert::Infallible, sync::Arc, time::Duration};

use anyhow::Result;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use super::source::Source;

/// Connections at a time; others wait.
const CONNECTIONS: usize = 16;
/// Longest time of a connection. Each has one request.
const PATIENCE: Duration = Duration::from_secs(10);
/// Path of the metrics.
const PATH: &str = "/metrics";
/// Format of the metrics.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Answers requests for ever.
pub(super) async fn serve(listener: TcpListener, source: Arc<Source>) -> Result<()> {
    /// Time after an error, such as too many open files.
    const PAUSE: Duration = Duration::from_secs(1);
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&free).acquire_owned().await?;
        match listener.accept().await {
            Ok((stream, _)) => {
                let source = Arc::clone(&source);
                tokio::spawn(async move {
                    answer(stream, &source).await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!("cannot accept a connection for metrics: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Answers the request of a connection.
async fn answer(stream: TcpStream, source: &Source) {
    let service = service_fn(|request: Request<Incoming>| async move {
        Ok::<_, Infallible>(response(request.method(), request.uri().path(), source).await)
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(PATIENCE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("a request for metrics failed: {error}"),
        Err(_) => debug!("a request for metrics took too long"),
    }
}

async fn response(method: &Method, path: &str, source: &Source) -> Response<Full<Bytes>> {
    let (status, kind, body) = if path != PATH {
        (StatusCode::NOT_FOUND, TEXT, format!("see {PATH}\n").into())
    } else if !matches!(*method, Method::GET | Method::HEAD) {
        let body = "only GET is allowed\n".into();
        (StatusCode::METHOD_NOT_ALLOWED, TEXT, body)
    } else {
        match source.text().await {
            Ok(text) => (StatusCode::OK, OPENMETRICS, text),
            Err(why) => {
                let body = format!("sipnat: {why}\n").into();
                (StatusCode::INTERNAL_SERVER_ERROR, TEXT, body)
            }
        }
    };
    let mut response = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, kind);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response = response.header(ALLOW, "GET, HEAD");
    }
    response.body(Full::new(body)).expect("all parts are valid")
}
