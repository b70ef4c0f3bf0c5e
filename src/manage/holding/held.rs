//! Zones that are held, and let go of again: the events of it.

use super::zone;
use crate::maintain::hold::{self, Turn};
use crate::manage::Manage;
use crate::manage::access::Context;
use crate::manage::event::{self, Kind as Happened, News, Object, Touched};
use crate::manage::fault::Stop;
use crate::manage::id::OrgId;

/// Turns that become events in one transaction.
const TURNS_PER_STEP: usize = 100;

/// Makes events of what happened to zones that are or were held; returns how many.
///
/// # Errors
///
/// [`Stop::Store`] when the store takes no writes: what happened is told later.
pub fn tell(manage: &Manage, system: &Context) -> Result<usize, Stop> {
    let news = manage.store.read(|rows| hold::news(rows, TURNS_PER_STEP))?;
    if news.is_empty() {
        return Ok(0);
    }
    manage.transact(|tx| {
        for (number, news) in &news {
            let kind = match news.turn {
                Turn::Held => Happened::ZoneHeld,
                Turn::Expires => Happened::ZoneExpires,
                Turn::Released => Happened::ZoneReleased,
                Turn::SecondSigner => Happened::SecondSigner,
                Turn::OneSigner => Happened::OneSigner,
            };
            let holder = zone::held(&*tx, &news.apex)?.map(|held| held.org);
            let orgs: Vec<OrgId> = holder.or_else(|| news.org.parse().ok()).into_iter().collect();
            let object = Object::Zone(news.apex.clone());
            let touched = vec![Touched { object, before: None, after: None }];
            event::record(tx, system, News { kind, order: None, orgs, touched })?;
            hold::forget_news(tx, *number)?;
        }
        Ok::<_, Stop>(news.len())
    })
}
