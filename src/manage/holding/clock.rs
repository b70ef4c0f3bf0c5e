//! The clock that zones are signed by: whether it is trusted, and an operator's word that it is right.

use serde::{Deserialize, Serialize};

use crate::maintain::trust::BelieveError;
use crate::manage::Manage;
use crate::manage::access::{Context, Permission};
use crate::manage::event::{self, Kind as Happened, News};
use crate::manage::fault::{self, Kind, Refused, Stop};
use crate::manage::time::Timestamp;
use crate::store::{RowError, Rows, Table, Tx};

/// Whether the last event about the clock said that it is doubted.
const TOLD: Table<(), bool> = Table::new("clock doubted", *b"cd");

/// Why nobody's word is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClockError {
    Stop(Stop),
    /// It cannot be right.
    Impossible,
}

fault::stops!(ClockError);

impl std::fmt::Display for ClockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ClockError::Stop(stop) => stop.fmt(f),
            ClockError::Impossible => {
                f.write_str("clock shows a time before this release was made: set it")
            }
        }
    }
}

impl Refused for ClockError {
    fn kind(&self) -> Kind {
        match self {
            ClockError::Stop(stop) => stop.kind(),
            ClockError::Impossible => Kind::Conflict,
        }
    }
}

/// The clock of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ClockView {
    /// What it shows.
    #[schema(value_type = String)]
    pub shows: Timestamp,
    /// The newest moment that it showed while it was trusted.
    #[schema(value_type = Option<String>)]
    pub newest: Option<Timestamp>,
    /// Why nothing is signed by it; none while it is trusted.
    pub doubt: Option<String>,
}

/// The clock of the server, and whether it is trusted.
///
/// # Errors
///
/// [`Stop::Access`] without the right.
pub fn get(manage: &Manage, context: &Context) -> Result<ClockView, Stop> {
    context.may(Permission::ServerOperate)?;
    Ok(view(manage))
}

fn view(manage: &Manage) -> ClockView {
    let doubt = manage.maintain.clock_doubt().map(|doubt| doubt.to_string());
    let newest = Some(manage.maintain.newest_moment_us()).filter(|us| *us > 0).map(Timestamp);
    ClockView { shows: Timestamp::now(), newest, doubt }
}

/// Takes the word of who looks after the server that its clock is right.
///
/// # Errors
///
/// [`ClockError::Impossible`] when it cannot be; [`ClockError::Stop`] without the right, or when the store
/// takes no writes.
pub fn believe(manage: &Manage, context: &Context) -> Result<ClockView, ClockError> {
    context.may(Permission::ServerOperate)?;
    let believed = manage.maintain.believe_clock(|tx| turn(tx, context, false));
    believed.map_err(|error| match error {
        BelieveError::Impossible => ClockError::Impossible,
        BelieveError::Store(text) => ClockError::Stop(Stop::Store(text)),
    })?;
    Ok(view(manage))
}

/// Makes an event of it when the clock came to be doubted, or is trusted again.
///
/// # Errors
///
/// [`Stop::Store`] when the store takes no writes: it is told later.
pub fn tell(manage: &Manage, system: &Context) -> Result<(), Stop> {
    let is_doubted = manage.maintain.clock_doubt().is_some();
    let told = manage.store.read(|rows| rows.get(&TOLD, &()))?.unwrap_or(false);
    if is_doubted == told {
        return Ok(());
    }
    manage.transact(|tx| Ok::<_, Stop>(turn(tx, system, is_doubted)?))
}

fn turn(tx: &mut Tx<'_>, context: &Context, is_doubted: bool) -> Result<(), RowError> {
    tx.put(&TOLD, &(), &is_doubted)?;
    let kind = if is_doubted { Happened::ClockDoubted } else { Happened::ClockTrusted };
    event::record(tx, context, News { kind, order: None, orgs: Vec::new(), touched: Vec::new() })?;
    Ok(())
}
