//! The routes called in this process: what a command does to a data directory nobody serves.
//!
//! The same table, checks and answers as over a socket; only who calls is given, not proven.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

use super::{Peer, Server, State};
use crate::manage::access::Context;

/// Somebody already known to the process. Only [`InProcess`] puts it into a request: nothing that
/// comes over a socket can.
#[derive(Clone)]
pub(super) struct Caller(pub(super) Context);

/// All routes, and who calls them.
pub struct InProcess {
    router: Router,
    caller: Caller,
    runtime: Runtime,
}

impl InProcess {
    /// The routes over `state`, called by `caller`.
    ///
    /// # Errors
    ///
    /// When the system gives no thread for them.
    pub fn new(state: State, caller: Context) -> io::Result<InProcess> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let router = runtime.block_on(async { Server::new(state).router() });
        Ok(InProcess { router, caller: Caller(caller), runtime })
    }

    /// One request; its status and body. `kind` is the media type of `body`, empty if there is none.
    pub fn call(&self, method: &str, path: &str, kind: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
        let mut request =
            Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        if !kind.is_empty() {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let request = match request.body(Body::from(body)) {
            Ok(mut request) => {
                request.extensions_mut().insert(Peer(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))));
                request.extensions_mut().insert(self.caller.clone());
                request
            }
            Err(error) => return (400, error.to_string().into_bytes()),
        };
        self.runtime.block_on(async {
            let response = match self.router.clone().oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            let status = response.status().as_u16();
            match to_bytes(response.into_body(), usize::MAX).await {
                Ok(body) => (status, body.into()),
                Err(error) => (500, error.to_string().into_bytes()),
            }
        })
    }
}
