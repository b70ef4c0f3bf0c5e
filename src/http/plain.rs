//! Routes outside the API: health, readiness, metrics, the reference page.

use std::fmt::Write;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, http};

use super::guard::{self, RequestId};
use super::problem::{Kind, Problem};
use super::{App, Counts, doh, openapi, reference, routes};

/// All routes, guarded, for the address of the API.
pub(super) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api", get(reference_page))
        .route("/api/openapi.json", get(openapi_document));
    router = routes::router(router);
    if app.resolve.is_some() {
        router = router.route(doh::PATH, get(doh::get).post(doh::post));
    }
    let guarded = middleware::from_fn_with_state(Arc::clone(&app), guard::guard);
    finished(router, app, |router| router.layer(guarded))
}

/// `/dns-query` alone, for addresses of DNS over HTTPS: they are everybody's, and the API is not.
///
/// Whatever name it is called by: what it says is public, so there is nothing to rebind a name for.
pub(super) fn queries(app: Arc<App>) -> Router {
    let router = Router::new().route(doh::PATH, get(doh::get).post(doh::post));
    finished(router, app, |router| router)
}

/// The routes with what all have in common around them.
fn finished(
    router: Router<Arc<App>>,
    app: Arc<App>,
    guarded: impl FnOnce(Router<Arc<App>>) -> Router<Arc<App>>,
) -> Router {
    let router = router
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|method: http::Method| async move {
            Problem::new(Kind::MethodNotAllowed, format!("the resource has no method {method}"))
        })
        .layer(middleware::from_fn(fence));
    guarded(router)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard::watch))
        .with_state(app)
}

/// Turns a panic of a handler into a problem.
async fn fence(request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    match Fenced(AssertUnwindSafe(Box::pin(next.run(request)))).await {
        Ok(response) => response,
        Err(panic) => guard::panicked(&*panic, &id).into_response(),
    }
}

/// A future whose panics come out as values.
struct Fenced<F>(AssertUnwindSafe<F>);

impl<F: Future + Unpin> Future for Fenced<F> {
    type Output = std::thread::Result<F::Output>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        let inner = std::pin::Pin::new(&mut self.0.0);
        match std::panic::catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => std::task::Poll::Ready(Err(panic)),
        }
    }
}

/// The process runs and speaks.
async fn healthz() -> &'static str {
    "ok\n"
}

/// Every zone answers.
async fn readyz(State(app): State<Arc<App>>) -> Response {
    let readiness = (app.readiness)();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("{}\n", readiness.text)).into_response()
}

/// The metrics of the process, and those of HTTP behind them.
async fn metrics(State(app): State<Arc<App>>) -> Response {
    let mut text = (app.metrics)();
    text += &app.counts.shown("nameplane_http", "Requests answered");
    text += &app
        .counts_of_queries
        .shown("nameplane_doh", "Requests answered where DNS over HTTPS listens");
    let media_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, media_type)], text).into_response()
}

impl Counts {
    /// In the text format of Prometheus, under names that begin with `prefix`.
    fn shown(&self, prefix: &str, what: &str) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "# HELP {prefix}_requests_total {what}, by class of status.");
        let _ = writeln!(text, "# TYPE {prefix}_requests_total counter");
        let mut all = 0;
        for (class, count) in self.by_class.iter().enumerate().skip(1) {
            let count = count.load(Ordering::Relaxed);
            all += count;
            let _ = writeln!(text, "{prefix}_requests_total{{status=\"{class}xx\"}} {count}");
        }
        let seconds = self.elapsed_us.load(Ordering::Relaxed) as f64 / 1e6;
        let name = format!("{prefix}_request_seconds");
        let _ = writeln!(text, "# HELP {name} Time from a request's head to its response's head.");
        let _ = writeln!(text, "# TYPE {name} summary\n{name}_sum {seconds}\n{name}_count {all}");
        text
    }
}

/// The reference of the API for people.
async fn reference_page() -> Response {
    let (page, policy) = reference::page();
    let fields = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, policy),
    ];
    (fields, page).into_response()
}

/// The reference of the API for programs.
async fn openapi_document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi::text()).into_response()
}
