//! Dynamic updates ([RFC 2136]): a change that arrives over DNS.
//!
//! The message is read whole before anything is looked at; its prerequisites are checked and its
//! changes worked out inside the commit, on the zone as it is then. What changes goes the road of all
//! changes, the way its sender's policy and the holder of the zone have chosen: applied at once, placed
//! as an order that waits for approval, or put into a basket. A message that changes nothing leaves
//! nothing.
//!
//! Those that come while the log is being synced are taken together, in one commit.
//!
//! Promises: a sender changes nothing its [policy](super::policy) does not name, and nothing its user may not
//! change by other ways. A reply that nothing was applied yet says so where the client takes it (EDE).
//!
//! Does not: check signatures or addresses; its caller did, and says [who](Sender) sends.
//!
//! [RFC 2136]: https://www.rfc-editor.org/rfc/rfc2136

mod message;
mod sets;

use message::{Message, read};
use sets::Sets;

use super::basket;
use super::item::{self, Draft, Item, What};
use super::kept::{Consent, ORDERS, Origin, Terms};
use super::order::{self, OrderError, Untold};
use super::policy::{self, UpdatePolicy};
use super::{receipt, settle};
use crate::maintain::{CommitError, Door, Zone};
use crate::manage::access::{Context, NoAccess, Permission};
use crate::manage::fault::{Problem, Stop};
use crate::manage::holding::zone::{self as holding, Held};
use crate::manage::id::{OrderId, OrgId};
use crate::manage::people::organisation::{ChangeMode, ORGS};
use crate::manage::people::user;
use crate::manage::time::Timestamp;
use crate::manage::{Manage, bootstrap};
use crate::store::{Rows, Tx, WriteError};
use crate::wire::edns::Ede;
use crate::wire::{Name, Rcode, Type};

/// Who sends an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender<'a> {
    /// An address that may update without a signature. It acts as the operator, at once.
    Listed,
    /// Whoever has this key.
    Key(&'a Name),
}

/// The answer to an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub rcode: Rcode,
    /// A code of extended errors and a text, for clients with EDNS.
    pub why: Option<(u16, String)>,
}

impl From<Rcode> for Reply {
    fn from(rcode: Rcode) -> Reply {
        Reply { rcode, why: None }
    }
}

/// Octets of the text of a reply.
const WHY_OCTETS_MAX: usize = 200;

impl Reply {
    fn said(rcode: Rcode, code: u16, text: impl Into<String>) -> Reply {
        let mut text = text.into();
        while text.len() > WHY_OCTETS_MAX {
            text.pop();
        }
        Reply { rcode, why: Some((code, text)) }
    }
}

/// An update, as it came.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub sender: Sender<'a>,
    pub zone: &'a Name,
    pub message: &'a [u8],
}

/// Updates that pass the door together at most.
pub const TOGETHER_MAX: usize = 64;

/// What became of an update.
enum Became {
    /// It asks for nothing that is not so already.
    Nothing,
    Applied(Box<Applied>),
    /// An order of this number waits.
    Waits(String),
    /// It is in the basket of somebody of this name.
    Basket(String),
}

/// An order that an update became.
struct Applied {
    order: OrderId,
    /// What its event says, until it is told.
    untold: Option<Untold>,
    context: Context,
    zone: Zone,
    /// An RRset that shows it.
    shows: Option<(Name, Type)>,
}

/// Takes an update of `zone`; returns once it is durable, with what to answer.
pub fn update(manage: &Manage, sender: Sender<'_>, zone: &Name, message: &[u8]) -> Reply {
    let request = Request { sender, zone, message };
    update_all(manage, &[request]).pop().unwrap_or_else(|| Rcode::SERVFAIL.into())
}

/// Takes updates in their order; returns once all are durable, with what to answer to each.
///
/// They are one record of the log, and each of them is taken wholly or not at all: what one asks
/// for is judged on the zone as those before it leave it, and falls without the others.
pub fn update_all(manage: &Manage, requests: &[Request<'_>]) -> Vec<Reply> {
    let requests = requests.iter().map(|request| (request, read(request.zone, request.message)));
    let (mut replies, mut good) = (Vec::new(), Vec::new());
    for (place, (request, message)) in requests.enumerate() {
        let faulty = message.as_ref().err().cloned();
        replies.push(faulty.unwrap_or_else(|| Rcode::SERVFAIL.into()));
        good.extend(message.ok().map(|message| (place, request, message)));
    }
    let Ok(operator) = bootstrap::operator_org(manage) else { return replies };
    for some in good.chunks(TOGETHER_MAX) {
        let answers = match together(manage, operator, some) {
            Some(answers) => answers,
            // What one of them does to the transaction is not for the others to suffer.
            None => {
                some.chunks(1).flat_map(|one| together(manage, operator, one)).flatten().collect()
            }
        };
        for ((place, ..), answer) in some.iter().zip(answers) {
            if let Some(reply) = replies.get_mut(*place) {
                *reply = answer;
            }
        }
    }
    replies
}

/// Takes updates in one commit; none when they cannot be taken together, and nothing happened then.
fn together(
    manage: &Manage,
    operator: OrgId,
    updates: &[(usize, &Request<'_>, Message)],
) -> Option<Vec<Reply>> {
    let done = manage.maintain.commit(|door| {
        let take = |(_, request, message): &(usize, &Request<'_>, Message)| {
            door.attempt(|door| {
                let author = author(door.tx(), request.sender, operator)?;
                take(door, &author, request.zone, message)
            })
        };
        let mut became: Vec<_> = updates.iter().map(take).collect();
        record(door.tx(), &mut became)?;
        Ok::<_, Stop>(became)
    });
    match done {
        Ok(committed) => {
            let at = committed.durable_at.into();
            let answers = committed.value.into_iter();
            Some(answers.map(|became| answer(manage, became, at)).collect())
        }
        Err(CommitError::Write(WriteError::Stopped { .. })) => {
            Some(updates.iter().map(|_| Rcode::SERVFAIL.into()).collect())
        }
        Err(why) if updates.len() > 1 => {
            tracing::warn!(?why, "updates were not taken together, and are taken one by one");
            None
        }
        Err(why) => {
            tracing::warn!(?why, "an update was not taken");
            Some(vec![Rcode::SERVFAIL.into()])
        }
    }
}

/// Writes the events of what was applied: one for the orders of one organisation by one sender.
fn record(tx: &mut Tx<'_>, became: &mut [Result<Became, No>]) -> Result<(), Stop> {
    let mut told: Vec<(&Context, Vec<Untold>)> = Vec::new();
    let most = became.len();
    for applied in became.iter_mut().filter_map(|one| match one {
        Ok(Became::Applied(applied)) => Some(applied),
        _ => None,
    }) {
        let Some(untold) = applied.untold.take() else { continue };
        let context = &applied.context;
        let alike = |(other, orders): &&mut (&Context, Vec<Untold>)| {
            (other.actor, other.org) == (context.actor, context.org)
                && orders.first().is_some_and(|first| first.order.org == untold.order.org)
        };
        match told.iter_mut().find(alike) {
            Some((_, orders)) => orders.push(untold),
            None => {
                let mut orders = Vec::with_capacity(most);
                orders.push(untold);
                told.push((context, orders));
            }
        }
    }
    told.iter().try_for_each(|(context, orders)| receipt::record_applied(tx, context, orders))
}

/// What to answer to an update that is durable, if it changed anything.
fn answer(manage: &Manage, became: Result<Became, No>, durable_at: Timestamp) -> Reply {
    match became {
        Ok(Became::Nothing) => Rcode::NOERROR.into(),
        Ok(Became::Applied(applied)) => {
            let Applied { order, context, zone, shows, .. } = *applied;
            let applied = settle::Applied { id: order, context, durable_at };
            // A zone that is not answered from has nothing to show, and is left to who looks later.
            if zone.is_answered() {
                settle::remember(manage, applied, &zone, shows);
            }
            Rcode::NOERROR.into()
        }
        Ok(Became::Waits(number)) => {
            let text = format!("not applied yet: order {number} waits for approval");
            Reply::said(Rcode::NOERROR, Ede::OTHER, text)
        }
        Ok(Became::Basket(name)) => {
            let text = format!("not applied yet: put into the basket of {name}");
            Reply::said(Rcode::NOERROR, Ede::OTHER, text)
        }
        Err(No::Reply(reply)) => reply,
        Err(No::Order(error)) => refusal(&error),
    }
}

/// Why an update is not taken.
enum No {
    Reply(Reply),
    Order(OrderError),
}

impl<T: Into<Stop>> From<T> for No {
    fn from(why: T) -> No {
        No::Order(OrderError::Stop(why.into()))
    }
}

fn denied(text: impl Into<String>) -> No {
    No::Reply(Reply::said(Rcode::REFUSED, Ede::PROHIBITED, text))
}

fn refusal(error: &OrderError) -> Reply {
    match error {
        OrderError::Stop(Stop::Access(NoAccess::NotFound)) => Rcode::NOTAUTH.into(),
        OrderError::Stop(Stop::Access(why)) => {
            Reply::said(Rcode::REFUSED, Ede::PROHIBITED, why.to_string())
        }
        OrderError::Stop(Stop::Store(_)) => Rcode::SERVFAIL.into(),
        OrderError::Invalid(problems) => {
            let text = problems.first().map_or("", |Problem { text, .. }| text);
            Reply::said(Rcode::REFUSED, Ede::OTHER, text)
        }
        other => Reply::said(Rcode::REFUSED, Ede::OTHER, other.to_string()),
    }
}

/// Who acts, and within which bounds; without a policy there are none.
struct Author {
    context: Context,
    policy: Option<UpdatePolicy>,
}

fn author(rows: &impl Rows, sender: Sender<'_>, operator: OrgId) -> Result<Author, No> {
    let key = match sender {
        Sender::Listed => return Ok(Author { context: Context::system(operator), policy: None }),
        Sender::Key(key) => key,
    };
    let policy = policy::of_key(rows, key)?;
    let policy = policy.ok_or_else(|| denied(format!("key {key} has no update policy")))?;
    let context = user::acting(rows, policy.user)?;
    let context = context.ok_or_else(|| denied("the user of the key may not act"))?;
    Ok(Author { context, policy: Some(policy) })
}

impl Author {
    /// Refuses what the policy does not name.
    fn may_touch(&self, owner: &Name, rtype: Type) -> Result<(), No> {
        match &self.policy {
            Some(policy) if !policy.allows(owner, rtype) => {
                Err(denied(format!("the policy of the key does not name {owner} {rtype}")))
            }
            _ => Ok(()),
        }
    }

    /// How its changes are taken: as the policy says, but never past an approval that the holder of
    /// the zone wants, unless whoever set the policy may push what was approved elsewhere.
    fn mode(&self, rows: &impl Rows, held: &Held) -> Result<ChangeMode, No> {
        let Some(policy) = &self.policy else { return Ok(ChangeMode::Direct) };
        let org = rows.get(&ORGS, &held.org)?.ok_or(NoAccess::NotFound)?;
        let chosen = policy.mode.unwrap_or(org.change_mode);
        let past = chosen == ChangeMode::Direct && org.change_mode == ChangeMode::Approval;
        Ok(if past && !policy.approved { ChangeMode::Approval } else { chosen })
    }
}

/// Takes an update, all of it or nothing.
fn take(
    door: &mut Door<'_, '_>,
    author: &Author,
    zone: &Name,
    message: &Message,
) -> Result<Became, No> {
    let context = &author.context;
    holding::may_change(door.tx(), context)?;
    let held = holding::fetch(door.tx(), context, Permission::ZoneEdit, zone)?;
    if let Some(policy) = &author.policy
        && !policy.covers(door.tx(), zone)?
    {
        return Err(denied(format!("the key is not for zone {zone}")));
    }
    let mode = author.mode(door.tx(), &held)?;
    let user = context.actor.user().filter(|_| mode == ChangeMode::Basket);
    let mut sets = Sets::new(door.tx(), &held.zone, user);
    if let Err(reply) = sets.prerequisites(&message.prerequisites)? {
        return Err(No::Reply(reply));
    }
    for line in &message.updates {
        if line.rtype != Type::ANY {
            author.may_touch(&line.owner, line.rtype)?;
        }
        sets.change(line)?;
    }
    let waits = sets.are_asked_for(&message.updates);
    let drafts = sets.drafts(&held);
    for draft in &drafts {
        if let What::Edit { owner, rtype } = &draft.what {
            author.may_touch(owner, *rtype)?;
        }
    }
    match (drafts.is_empty(), user) {
        // Sent again, it is in the basket still: clients repeat what is not answered in time.
        (is_empty, Some(user)) if !is_empty || waits => {
            basket::put_all(door.tx(), context, user, drafts).map_err(No::Order)?;
            Ok(Became::Basket(super::shown::person(door.tx(), user)?.name))
        }
        (true, _) => Ok(Became::Nothing),
        (false, _) => place(door, author, &held.zone, drafts, mode),
    }
}

/// Places what an update changes as an order; the same update sent again is the same order while it
/// waits, for clients repeat what is not answered in time.
fn place(
    door: &mut Door<'_, '_>,
    author: &Author,
    zone: &Zone,
    drafts: Vec<Draft>,
    mode: ChangeMode,
) -> Result<Became, No> {
    let shows = drafts.iter().find_map(|draft| match &draft.what {
        What::Edit { owner, rtype } if *rtype != Type::SOA => Some((owner.clone(), *rtype)),
        _ => None,
    });
    let (tx, context) = (door.tx(), &author.context);
    let savepoint = tx.savepoint();
    let by = context.actor.user();
    let items = drafts.into_iter().map(|draft| Item::new(tx, by, draft));
    let items = items.collect::<Result<Vec<_>, _>>()?;
    if mode == ChangeMode::Approval
        && let Some(number) = waiting(tx, context, &items)?
    {
        tx.rollback_to(savepoint);
        return Ok(Became::Waits(number));
    }
    let consent = if mode == ChangeMode::Direct { Consent::Given } else { Consent::Needed };
    let note = author.policy.as_ref().map(|policy| format!("signed with {}", policy.key));
    let terms = Terms { consent, note, ..Terms::of(Origin::Update) };
    let (id, untold) = order::put_untold(door, context, items, terms).map_err(No::Order)?;
    if untold.is_some() {
        let (context, zone) = (context.clone(), zone.clone());
        return Ok(Became::Applied(Box::new(Applied { order: id, untold, context, zone, shows })));
    }
    let order = door.tx().get(&ORDERS, &id)?.ok_or(NoAccess::NotFound)?;
    Ok(Became::Waits(order.name()))
}

/// The number of an order of the same author that waits with the same items.
fn waiting(tx: &Tx<'_>, context: &Context, items: &[Item]) -> Result<Option<String>, No> {
    let digest = item::digest_of_all(tx, items)?;
    let Some(first) = items.first() else { return Ok(None) };
    for open in item::open_beside(tx, first)? {
        let Some(id) = open.holder.order.filter(|_| open.holder.user == context.actor.user())
        else {
            continue;
        };
        let order = tx.get(&ORDERS, &id)?.filter(|order| order.digest == digest);
        if let Some(order) = order.filter(|order| order.state().waits()) {
            return Ok(Some(order.name()));
        }
    }
    Ok(None)
}
