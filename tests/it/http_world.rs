//! The HTTP server in this process, on a free loopback port.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use nameplane::http::{self, Readiness, Settings, State};
use nameplane::maintain::{self, Maintain};
use nameplane::manage::{Manage, bootstrap};
use nameplane::seal::Sealer;
use nameplane::store::Store;
use tokio::sync::oneshot;

/// One server. Dropped, it stops.
pub struct World {
    pub http: SocketAddr,
    pub manage: Manage,
    /// The secret of the operator's token.
    pub operator: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Settings for impatient tests.
pub fn settings() -> Settings {
    Settings {
        head_time: Duration::from_millis(300),
        body_time: Duration::from_millis(500),
        idle_time: Duration::from_millis(500),
        drain_time: Duration::from_secs(5),
        ..Settings::default()
    }
}

/// What a server with an empty store needs, and the secret of the operator's token.
pub fn state(settings: Settings) -> (State, String) {
    let maintain = Maintain::offline(
        Store::in_memory(),
        maintain::Settings {
            sealer: Some(Sealer::passing().unwrap()),
            ..maintain::Settings::default()
        },
    );
    let manage = Manage::new(maintain);
    let operator = bootstrap::first_start(&manage).unwrap().secret.unwrap();
    let ready = Readiness { ready: true, text: "ready".into() };
    let state = State {
        manage,
        readiness: Arc::new(move || ready.clone()),
        metrics: Arc::new(String::new),
        traffic: Arc::new(Default::default),
        resolve: None,
        queries: Arc::default(),
        settings,
    };
    (state, operator)
}

impl World {
    pub fn start() -> World {
        World::with(settings(), None)
    }

    /// With these settings, and a readiness that is asked for by `/readyz`.
    pub fn with(
        settings: Settings,
        readiness: Option<Arc<dyn Fn() -> Readiness + Send + Sync>>,
    ) -> World {
        let (mut state, operator) = state(settings);
        state.readiness = readiness.unwrap_or(state.readiness);
        let manage = state.manage.clone();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let http = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let stopped = async { drop(stopped.await) };
                http::serve(listener, state, stopped).await.unwrap();
            });
        });
        World { http, manage, operator, stop: Some(stop), thread: Some(thread) }
    }

    /// Tells the server to stop and waits until it has.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
    }
}
