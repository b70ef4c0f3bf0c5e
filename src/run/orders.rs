//! The timer of orders: those whose time has come are applied, those not yet seen served are looked
//! at again.

use std::time::Duration;

use crate::manage::change::schedule;
use crate::manage::change::settle::Lookout;
use crate::manage::time::Timestamp;
use crate::manage::{Manage, bootstrap};

/// How late a scheduled order may be taken up.
const DUE_STEP: Duration = Duration::from_millis(250);

/// In how many such steps answers that were not seen are looked for again.
const LOOK_STEPS: u32 = 20;

/// Runs until it is aborted. What it does happens on a thread that may wait.
pub(super) async fn keep(manage: Manage) {
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
