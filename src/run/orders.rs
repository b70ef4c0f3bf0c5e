//! What works on orders by itself: what the last run left is continued, a timer applies those whose time has
//! come and looks again at those not yet seen served, and those whose zones are seen everywhere are confirmed.
//! What happened to zones by itself becomes events in the timer's turn.

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::manage::change::settle::{self, Lookout};
use crate::manage::change::{confirm, schedule};
use crate::manage::holding::{clock, held};
use crate::manage::time::Timestamp;
use crate::manage::{Manage, bootstrap};
use crate::transport;

/// What works on by itself once every zone is loaded.
#[derive(Default)]
pub(super) struct Jobs {
    timer: Option<tokio::task::JoinHandle<()>>,
    confirmer: Option<JoinHandle<()>>,
}

impl Jobs {
    pub(super) fn start(manage: &Manage) -> io::Result<Jobs> {
        let (resuming, confirming) = (manage.clone(), manage.clone());
        tokio::task::spawn_blocking(move || resume(&resuming));
        let thread = std::thread::Builder::new().name("confirm".into());
        let confirmer = thread.spawn(move || {
            transport::stand_back();
            confirm(&confirming);
        })?;
        let timer = tokio::spawn(keep(manage.clone()));
        Ok(Jobs { timer: Some(timer), confirmer: Some(confirmer) })
    }

    pub(super) async fn end_timer(&mut self) {
        if let Some(timer) = self.timer.take() {
            timer.abort();
            let _ = timer.await; // aborted, and so an error
        }
    }

    /// Waits for the confirmer, which ends with the upkeep.
    pub(super) fn join(self) {
        if let Some(confirmer) = self.confirmer {
            let _ = confirmer.join(); // a panic of it is in the log
        }
    }
}

/// Continues the orders that were applied but not yet seen served when the server last stopped.
fn resume(manage: &Manage) {
    let resumed = bootstrap::system(manage).map(|system| settle::resume(manage, &system));
    match resumed {
        Ok(Ok(0)) => {}
        Ok(Ok(orders)) => tracing::info!(orders, "{orders} orders of the last run are served now"),
        Ok(Err(error)) => tracing::warn!(%error, "orders of the last run are not settled: {error}"),
        Err(error) => tracing::warn!(?error, "orders of the last run are not settled"),
    }
}

/// How late a scheduled order may be taken up.
const DUE_STEP: Duration = Duration::from_millis(250);

/// In how many such steps answers that were not seen are looked for again.
const LOOK_STEPS: u32 = 20;

/// Runs until it is aborted. What it does happens on a thread that may wait.
async fn keep(manage: Manage) {
    let mut state = Some(Lookout::default());
    for step in (0u32..).cycle() {
        tokio::time::sleep(DUE_STEP).await;
        let (manage, mut lookout) = (manage.clone(), state.take().unwrap_or_default());
        let work = move || {
            turn(&manage, step.is_multiple_of(LOOK_STEPS).then_some(&mut lookout));
            lookout
        };
        // A panic is fenced: it cost this turn, and is in the log.
        state = tokio::task::spawn_blocking(work).await.ok();
    }
}

fn turn(manage: &Manage, lookout: Option<&mut Lookout>) {
    let done = bootstrap::system(manage).map_err(Into::into).and_then(|system| {
        let due = schedule::apply_due(manage, &system, Timestamp::now())?;
        let later = settle::settle_later(manage)?;
        if later > 0 {
            tracing::debug!(later, "{later} updates are seen served");
        }
        held::tell(manage, &system)?;
        clock::tell(manage, &system)?;
        let served = lookout.map_or(Ok(0), |lookout| lookout.look(manage, &system))?;
        Ok::<_, crate::manage::change::order::OrderError>((due, served))
    });
    match done {
        Ok((0, 0)) => {}
        Ok((due, served)) => {
            tracing::info!(due, served, "{due} orders were due, {served} are seen served only now");
        }
        // The store says by itself when it stops taking writes; this goes on until it does again.
        Err(error) => tracing::debug!(%error, "the timer of orders did not get through: {error}"),
    }
}

/// How long to wait for news of zones that are served everywhere, before looking at the end.
const NEWS_WAIT: Duration = Duration::from_secs(5);

/// Confirms orders as their zones are seen everywhere, until the upkeep ends.
fn confirm(manage: &Manage) {
    let system = match bootstrap::system(manage) {
        Ok(system) => system,
        Err(error) => return tracing::warn!(%error, "no order is confirmed: {error}"),
    };
    if let Err(error) = confirm::resume(manage) {
        tracing::warn!(%error, "orders of the last run are not confirmed: {error}");
    }
    while let Some(news) = manage.maintain.wait_everywhere(NEWS_WAIT) {
        if let Err(error) = confirm::seen(manage, &system, &news) {
            tracing::warn!(%error, "orders are served everywhere and not confirmed: {error}");
        }
    }
}
