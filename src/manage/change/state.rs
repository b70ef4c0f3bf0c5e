//! The states of an order, and the only steps between them.
//!
//! From `served` an order goes on to `confirmed`, or from either to `reverted`.
//!
//! ```text
//! submitted ─┬→ approved ────────────┬──────────────↓
//!            ├→ conflict             └→ scheduled → applying ─┬→ applied ─→ served ─→ reverted
//!            └→ awaiting_approval ─→ approved ─↑              ├→ conflict
//!                 ├→ rejected                                 └→ failed
//!                 └→ cancelled (also from scheduled and on_hold)
//!
//! awaiting_approval, scheduled ⇄ on_hold
//! ```
//!
//! `applying` lasts as long as the commit that applies; it is seen from outside only in the list of
//! times. `conflict` and `failed` mean that nothing was applied. From `on_hold` an order goes back to
//! where it was and nowhere else, so that nothing gets past its approval.

use serde::{Deserialize, Serialize};

use crate::manage::time::Timestamp;
use crate::manage::words::worded;

worded! {
    /// Where an order stands.
    pub enum State {
        /// Placed; its items no longer change.
        Submitted "submitted"
        /// Waits for somebody other than its author.
        AwaitingApproval "awaiting_approval"
        /// May be applied.
        Approved "approved"
        /// On its way through the door.
        Applying "applying"
        /// Durable, and published on this server.
        Applied "applied"
        /// This server was asked over UDP and gave the new answers.
        Served "served"
        /// What it was based on has changed; nothing was applied.
        Conflict "conflict"
        /// It breaks a rule of a zone; nothing was applied.
        Failed "failed"
        /// An approver said no.
        Rejected "rejected"
        /// Taken back before it was applied.
        Cancelled "cancelled"
        /// Applied, and undone by a later order.
        Reverted "reverted"
        // Stored by their place: add at the end.
        /// Served everywhere: every name server of its zones was asked and gave the new answers.
        Confirmed "confirmed"
        /// May be applied, and waits for its time.
        Scheduled "scheduled"
        /// Stopped until somebody lets it go on.
        OnHold "on_hold"
    }
}

/// The steps there are.
#[rustfmt::skip]
const STEPS: &[(State, &[State])] = &[
    (State::Submitted,        &[State::AwaitingApproval, State::Approved, State::Conflict]),
    (State::AwaitingApproval, &[State::Approved, State::Rejected, State::Cancelled, State::OnHold]),
    (State::Approved,         &[State::Applying, State::Scheduled]),
    (State::Scheduled,        &[State::Applying, State::Cancelled, State::OnHold]),
    (State::OnHold,           &[State::AwaitingApproval, State::Scheduled, State::Cancelled]),
    (State::Applying,         &[State::Applied, State::Conflict, State::Failed]),
    (State::Applied,          &[State::Served, State::Reverted]),
    (State::Served,           &[State::Confirmed, State::Reverted]),
    (State::Confirmed,        &[State::Reverted]),
    (State::Conflict,         &[]),
    (State::Failed,           &[]),
    (State::Rejected,         &[]),
    (State::Cancelled,        &[]),
    (State::Reverted,         &[]),
];

impl State {
    /// Whether an order may go from here to `to`.
    pub fn leads_to(self, to: State) -> bool {
        STEPS.iter().any(|(from, next)| *from == self && next.contains(&to))
    }

    /// Whether it may still become part of what is served.
    pub fn is_open(self) -> bool {
        matches!(
            self,
            State::Submitted
                | State::AwaitingApproval
                | State::Approved
                | State::Scheduled
                | State::OnHold
                | State::Applying
        )
    }

    /// Whether its changes are part of what is served.
    pub fn is_applied(self) -> bool {
        matches!(self, State::Applied | State::Served | State::Confirmed)
    }

    /// Whether it waits for somebody or something, and can be taken back meanwhile.
    pub fn waits(self) -> bool {
        matches!(self, State::AwaitingApproval | State::Scheduled | State::OnHold)
    }
}

/// When an order entered a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Reached {
    pub state: State,
    /// To the microsecond.
    #[schema(value_type = String, example = "2026-01-31T23:59:59.123456Z")]
    pub at: Timestamp,
}

/// The states an order went through, oldest first. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History(Vec<Reached>);

impl History {
    /// Begins with `submitted`.
    pub fn begin(at: Timestamp) -> History {
        // As many as an order goes through that is approved and applied at once.
        let mut steps = Vec::with_capacity(4);
        steps.push(Reached { state: State::Submitted, at });
        History(steps)
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.0.last().map_or(State::Submitted, |reached| reached.state)
    }

    /// All steps, oldest first.
    pub fn steps(&self) -> &[Reached] {
        &self.0
    }

    /// The state before the one it is in.
    pub fn before(&self) -> Option<State> {
        self.0.iter().rev().nth(1).map(|reached| reached.state)
    }

    /// When it first entered `state`.
    pub fn reached(&self, state: State) -> Option<Timestamp> {
        self.0.iter().find(|reached| reached.state == state).map(|reached| reached.at)
    }

    /// Whether it did not go through at once.
    pub fn has_waited(&self) -> bool {
        self.0.iter().any(|reached| reached.state.waits())
    }

    /// Goes one step on. Time never runs backwards in a history, whatever the clock says.
    ///
    /// # Errors
    ///
    /// The state it is in, when no step leads from there to `to`.
    pub fn go(&mut self, to: State, at: Timestamp) -> Result<(), State> {
        let from = self.state();
        if !from.leads_to(to) {
            return Err(from);
        }
        let last = self.0.last().map_or(at, |reached| reached.at);
        self.0.push(Reached { state: to, at: at.max(last) });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_line_and_is_reached_from_submitted() {
        let mut reached = vec![State::Submitted];
        let mut next = 0;
        while let Some(from) = reached.get(next).copied() {
            let fresh = |to: &State| from.leads_to(*to) && !reached.contains(to);
            reached.extend(State::all().filter(fresh).collect::<Vec<_>>());
            next += 1;
        }
        assert!(State::all().all(|state| reached.contains(&state)));
    }

    #[test]
    fn nothing_leads_back_from_an_end_and_nothing_applied_is_cancelled() {
        for end in
            [State::Conflict, State::Failed, State::Rejected, State::Cancelled, State::Reverted]
        {
            assert!(State::all().all(|to| !end.leads_to(to)), "{end}");
        }
        for late in [State::Applying, State::Applied, State::Served, State::Confirmed] {
            assert!(!late.leads_to(State::Cancelled), "{late}");
        }
    }

    #[test]
    fn no_way_leads_to_applied_but_through_approved() {
        let before: Vec<State> =
            State::all().filter(|from| from.leads_to(State::Applied)).collect();
        assert_eq!(before, [State::Applying]);
        let before: Vec<State> =
            State::all().filter(|from| from.leads_to(State::Applying)).collect();
        assert_eq!(before, [State::Approved, State::Scheduled]);
        let before: Vec<State> =
            State::all().filter(|from| from.leads_to(State::Scheduled)).collect();
        assert_eq!(before, [State::Approved, State::OnHold]);
    }

    #[test]
    fn a_clock_that_runs_backwards_does_not_turn_the_history_around() {
        let mut history = History::begin(Timestamp(10));
        history.go(State::Approved, Timestamp(5)).unwrap();
        assert_eq!(history.reached(State::Approved), Some(Timestamp(10)));
        assert_eq!(history.go(State::Served, Timestamp(20)), Err(State::Approved));
    }

    #[test]
    fn words_are_those_of_json() {
        for state in State::all() {
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{state}\""));
        }
    }
}
