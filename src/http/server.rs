//! Connections: accepted, bounded in number and in time, drained at the end.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::StatusCode;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tower::ServiceExt;
use tracing::{debug, info, warn};

use super::call::BODY_UNIT;
use super::rate::Rates;
use super::{App, Counts, Peer, Settings, State, plain};

/// Octets of a request's head, all fields together.
const HEAD_OCTETS_MAX: usize = 64 * 1024;

/// Octets of a response that is sent in one piece. What is longer is for HTTP/1.1 and HTTP/2.
const WHOLE_OCTETS_MAX: usize = 16 << 20;

/// Answers HTTP on `listener` until `shutdown` is there, then lets open requests end.
///
/// # Errors
///
/// None once it runs: a connection that cannot be accepted is logged and the next is awaited.
pub async fn serve(
    listener: TcpListener,
    state: State,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let server = Server::new(state);
    let places = Arc::new(Semaphore::new(server.settings().connections_max));
    let mut shutdown = pin!(shutdown);
    loop {
        let place = tokio::select! {
            () = &mut shutdown => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let (stream, peer) = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "a connection cannot be accepted");
                    // Out of descriptors: the connections there are must end before one can start.
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let _ = stream.set_nodelay(true);
        let connection = server.connection(stream, peer, Protocol::Http1);
        tokio::spawn(async move {
            connection.await;
            drop(place);
        });
    }
    drop(listener);
    server.drain().await;
    Ok(())
}

/// Which HTTP a stream speaks; over TLS the handshake (ALPN) decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 and 1.1.
    Http1,
    /// HTTP/2 from the first octet.
    Http2,
}

/// Answers HTTP on streams somebody else accepts.
pub struct Server {
    app: Arc<App>,
    router: Router,
    graceful: GracefulShutdown,
}

impl Server {
    /// A server of all routes.
    pub fn new(state: State) -> Server {
        Server::of(state, Arc::default(), plain::router)
    }

    /// A server of `/dns-query` alone.
    pub fn of_queries(state: State) -> Server {
        let counts = Arc::clone(&state.queries);
        Server::of(state, counts, plain::queries)
    }

    fn of(state: State, counts: Arc<Counts>, router: fn(Arc<App>) -> Router) -> Server {
        let app = Arc::new(App {
            places: Semaphore::new(state.settings.requests_max),
            bodies: Semaphore::new(state.settings.bodies_octets_max / BODY_UNIT),
            queries: Semaphore::new(state.settings.queries_octets_max / BODY_UNIT),
            rates: Rates::new(state.settings.token_requests_per_minute_max),
            began: Instant::now(),
            settings: state.settings,
            manage: state.manage,
            readiness: state.readiness,
            metrics: state.metrics,
            traffic: state.traffic,
            resolve: state.resolve,
            counts,
            counts_of_queries: state.queries,
        });
        let router = router(Arc::clone(&app));
        Server { app, router, graceful: GracefulShutdown::new() }
    }

    /// The routes without a connection, for callers in this process.
    pub(super) fn router(&self) -> Router {
        self.router.clone()
    }

    /// Names and limits it was made with.
    pub fn settings(&self) -> &Settings {
        &self.app.settings
    }

    /// The future of one connection from `peer`; it ends with the connection and never fails.
    pub fn connection<S>(
        &self,
        stream: S,
        peer: SocketAddr,
        protocol: Protocol,
    ) -> impl Future<Output = ()> + Send + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = self.router.clone();
        let asked = Arc::new(Notify::new());
        let heard = Arc::clone(&asked);
        let service =
            tower::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
                heard.notify_one();
                request.extensions_mut().insert(Peer(peer));
                router.clone().oneshot(request)
            });
        let service = TowerToHyperService::new(service);
        let settings = &self.app.settings;
        let patience = settings.idle_time + settings.body_time;
        let io = TokioIo::new(Patient::new(stream, patience));
        let head_time = settings.head_time;
        let watcher = self.graceful.watcher();
        async move {
            let ended = match protocol {
                Protocol::Http1 => {
                    let connection = hyper::server::conn::http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(head_time)
                        .max_buf_size(HEAD_OCTETS_MAX)
                        .serve_connection(io, service);
                    watcher.watch(connection).await
                }
                Protocol::Http2 => {
                    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .timer(TokioTimer::new())
                        .max_concurrent_streams(64)
                        .max_header_list_size(HEAD_OCTETS_MAX as u32)
                        .keep_alive_interval(head_time)
                        .keep_alive_timeout(head_time)
                        .serve_connection(io, service);
                    // Pings move, so to `Patient` whoever answers ours is busy for ever.
                    let idle = async { while timeout(patience, asked.notified()).await.is_ok() {} };
                    tokio::select! {
                        ended = watcher.watch(connection) => ended,
                        () = idle => Ok(()),
                    }
                }
            };
            if let Err(error) = ended {
                debug!(%error, "a connection ended early");
            }
        }
    }

    /// Answers one request from `peer` that came by itself, as HTTP/3 brings it.
    pub fn request<B>(
        &self,
        request: hyper::Request<B>,
        peer: SocketAddr,
    ) -> impl Future<Output = hyper::Response<Bytes>> + Send + use<B>
    where
        B: hyper::body::Body<Data = Bytes, Error = io::Error> + Send + 'static,
    {
        let router = self.router.clone();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        async move {
            let Ok(response) = router.oneshot(request).await;
            let (mut head, body) = response.into_parts();
            let body = to_bytes(body, WHOLE_OCTETS_MAX).await.unwrap_or_else(|_| {
                head.status = StatusCode::INTERNAL_SERVER_ERROR;
                Bytes::new()
            });
            hyper::Response::from_parts(head, body)
        }
    }

    /// Ends idle connections, waits for requests in work, gives up after the drain time.
    pub async fn drain(self) {
        let limit = self.app.settings.drain_time;
        if timeout(limit, self.graceful.shutdown()).await.is_err() {
            info!("some HTTP requests were still open after {limit:?}: dropped");
        }
    }
}

/// A stream that fails when nothing moves for a while: a peer that stops reading holds a response,
/// and with it memory, for no longer than this.
struct Patient<S> {
    stream: S,
    patience: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl<S> Patient<S> {
    fn new(stream: S, patience: Duration) -> Patient<S> {
        Patient { stream, patience, sleep: Box::pin(sleep(patience)) }
    }

    /// Passes progress on and restarts the clock; on a standstill looks at the clock.
    fn watch<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.sleep.as_mut().reset(Instant::now() + self.patience);
            return poll;
        }
        match self.sleep.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.watch(cx, poll)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, octets);
        self.watch(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, poll)
    }
}
