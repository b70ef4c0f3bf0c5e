//! The table of routes of the API, and what is read off it.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::{RawPathParams, Request, State};
use axum::http::Method;
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, MethodRouter, on};
use serde::de::DeserializeOwned;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::{RefOr, Schema};

use super::App;
use super::call::{self, Ask, Gives, Handler, Takes};
use super::guard::RequestId;
use super::rest::{
    access, basket, catalogs, dnssec, events, limits, orders, orgs, primaries, rrsets, secondaries,
    tokens, traffic, tsig, update_policy, users, zones,
};
use crate::manage::access::Permission;
use crate::manage::event;

/// What it takes to call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A valid token; what is shown depends on whose it is.
    Token,
    /// This permission, before anything else is looked at.
    Permission(Permission),
}

/// What a call leaves behind in the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audit {
    /// Nothing: it only reads.
    Read,
    /// Events of this kind.
    Event(event::Kind),
}

/// One line of the table.
pub struct Route {
    pub method: Method,
    pub path: &'static str,
    /// `noun.verb`; the noun is the tag in the document.
    pub name: &'static str,
    pub summary: &'static str,
    pub need: Need,
    pub audit: Audit,
    pub(super) handler: Handler,
    pub(super) media_types: &'static [&'static str],
    pub(super) form: Form,
}

/// The description of a route, read off the types of its handler.
pub struct Form {
    pub parameters: Vec<Parameter>,
    pub body: Option<RefOr<Schema>>,
    pub body_required: bool,
    pub gives: Option<(&'static str, RefOr<Schema>)>,
    pub status: u16,
    pub schemas: Vec<(String, RefOr<Schema>)>,
}

/// A line of the table; what the handler takes and gives describes the rest.
fn route<P, Q, B, R>(
    (method, path): (Method, &'static str),
    (name, summary): (&'static str, &'static str),
    need: Need,
    audit: Audit,
    handler: fn(Ask<P, Q, B>) -> Result<R, super::problem::Problem>,
) -> Route
where
    P: DeserializeOwned + IntoParams + 'static,
    Q: DeserializeOwned + IntoParams + 'static,
    B: Takes + 'static,
    R: Gives + 'static,
{
    let mut schemas = Vec::new();
    let mut parameters = P::into_params(|| Some(ParameterIn::Path));
    parameters.extend(Q::into_params(|| Some(ParameterIn::Query)));
    let form = Form {
        parameters,
        body: (!B::MEDIA_TYPES.is_empty()).then(|| B::schema(&mut schemas)),
        body_required: B::REQUIRED,
        gives: R::MEDIA_TYPE.map(|media_type| (media_type, R::schema(&mut schemas))),
        status: R::STATUS.as_u16(),
        schemas,
    };
    let handler = call::erase(handler);
    Route { method, path, name, summary, need, audit, handler, media_types: B::MEDIA_TYPES, form }
}

/// The table, made once.
pub fn table() -> &'static [Route] {
    static TABLE: LazyLock<Vec<Route>> = LazyLock::new(lines);
    &TABLE
}

/// The router of the table.
pub(super) fn router(mut router: Router<Arc<App>>) -> Router<Arc<App>> {
    for line in table() {
        router = router.route(line.path, method_router(line));
    }
    router
}

fn method_router(line: &'static Route) -> MethodRouter<Arc<App>> {
    let handler = move |State(app): State<Arc<App>>, path: RawPathParams, request: Request| async move {
        let id = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
        call::call(app, line, path, request, &id).await.into_response()
    };
    let filter =
        MethodFilter::try_from(line.method.clone()).expect("the table names plain methods");
    on(filter, handler)
}

/// The lines of the table.
#[rustfmt::skip]
fn lines() -> Vec<Route> {
    use Audit::{Event, Read};
    use Need::{Permission as May, Token};
    use crate::manage::access::Permission::*;
    use crate::manage::event::Kind::*;
    let get = |path| (Method::GET, path);
    let post = |path| (Method::POST, path);
    let put = |path| (Method::PUT, path);
    let patch = |path| (Method::PATCH, path);
    let delete = |path| (Method::DELETE, path);
    vec![
        route(get("/v1/orgs"),            ("orgs.list", "Lists the organisations in your reach."), May(OrgView), Read, orgs::list),
        route(post("/v1/orgs"),           ("orgs.create", "Creates an organisation with its first superuser."), May(OrgManage), Event(OrganisationCreated), orgs::create),
        route(get("/v1/orgs/{org}"),      ("orgs.get", "Shows an organisation."), May(OrgView), Read, orgs::get),
        route(patch("/v1/orgs/{org}"),    ("orgs.update", "Changes an organisation; what is left out stays."), May(OrgEdit), Event(OrganisationChanged), orgs::update),

        route(get("/v1/orgs/{org}/users"),  ("users.list", "Lists the users of an organisation."), May(UserView), Read, users::list),
        route(post("/v1/orgs/{org}/users"), ("users.create", "Creates a user."), May(UserManage), Event(UserCreated), users::create),
        route(get("/v1/users/{user}"),      ("users.get", "Shows a user."), Token, Read, users::get),
        route(patch("/v1/users/{user}"),    ("users.update", "Changes a user, or closes the account; what is left out stays."), May(UserManage), Event(UserChanged), users::update),

        route(get("/v1/tokens"),            ("tokens.list", "Lists the tokens of an organisation; without the right to see all, your own."), May(TokenOwn), Read, tokens::list),
        route(post("/v1/tokens"),           ("tokens.create", "Creates a token. Its secret is shown this once."), May(TokenOwn), Event(TokenCreated), tokens::create),
        route(delete("/v1/tokens/{token}"), ("tokens.revoke", "Revokes a token. Twice is once."), May(TokenOwn), Event(TokenRevoked), tokens::revoke),

        route(get("/v1/zones"),                 ("zones.list", "Lists zones in canonical order of their names."), May(ZoneView), Read, zones::list),
        route(post("/v1/zones"),                ("zones.create", "Asks for a new zone."), May(ZoneManage), Event(OrderPlaced), zones::create),
        route(get("/v1/zones/{zone}"),          ("zones.get", "Shows a zone."), May(ZoneView), Read, zones::get),
        route(delete("/v1/zones/{zone}"),       ("zones.delete", "Asks for the end of a zone and everything in it."), May(ZoneManage), Event(OrderPlaced), zones::delete),
        route(get("/v1/zones/{zone}/file"),     ("zones.export", "Gives a zone as a zone file, in canonical form and order."), May(ZoneView), Read, zones::export),
        route(put("/v1/zones/{zone}/file"),     ("zones.import", "Asks that a zone has the records of a zone file; creates it if there is none."), May(ZoneManage), Event(OrderPlaced), zones::import),
        route(post("/v1/zones/{zone}/check"),   ("zones.check", "Looks at a zone file: every fault with its line and column, every rule it breaks. Nothing is kept."), May(ZoneView), Read, zones::check),
        route(get("/v1/zones/{zone}/versions"), ("zones.versions", "Lists the versions of a zone with what changed, the newest first."), May(ZoneView), Read, zones::versions),
        route(get("/v1/zones/{zone}/explain"),  ("zones.explain", "Says which order made an RRset what it is, or took it away."), May(ZoneView), Read, zones::explain),

        route(get("/v1/zones/{zone}/rrsets"),                  ("rrsets.list", "Lists RRsets in canonical order: as served, or merged with your basket."), May(ZoneView), Read, rrsets::list),
        route(patch("/v1/zones/{zone}/rrsets"),                ("rrsets.edit", "Asks for changes of RRsets: applied at once or put into your basket, as the organisation has chosen."), May(ZoneEdit), Event(BasketChanged), rrsets::patch),
        route(get("/v1/zones/{zone}/rrsets/{name}/{type}"),    ("rrsets.get", "Shows an RRset as it is served."), May(ZoneView), Read, rrsets::get),
        route(put("/v1/zones/{zone}/rrsets/{name}/{type}"),    ("rrsets.put", "Asks that an RRset is exactly this; needs If-Match or If-None-Match."), May(ZoneEdit), Event(BasketChanged), rrsets::put),
        route(delete("/v1/zones/{zone}/rrsets/{name}/{type}"), ("rrsets.delete", "Asks that an RRset is gone; needs If-Match."), May(ZoneEdit), Event(BasketChanged), rrsets::delete),

        route(get("/v1/secondary-zones"),          ("primaries.list", "Lists the zones whose primary is elsewhere, and how each stands."), May(ServerOperate), Read, primaries::list),
        route(get("/v1/zones/{zone}/primaries"),    ("primaries.get", "Says whom a zone follows, and how that stands."), May(ZoneView), Read, primaries::get),
        route(put("/v1/zones/{zone}/primaries"),    ("primaries.set", "Makes a zone follow primaries elsewhere; creates it if there is none."), May(ServerOperate), Event(PrimariesSet), primaries::set),
        route(delete("/v1/zones/{zone}/primaries"), ("primaries.remove", "Makes a zone a primary, with the records it has."), May(ServerOperate), Event(PrimariesRemoved), primaries::remove),
        route(post("/v1/zones/{zone}/refresh"),     ("primaries.refresh", "Asks the primaries of a zone at once; for the whole zone if wanted."), May(ServerOperate), Event(RefreshAsked), primaries::refresh),
        route(get("/v1/zones/{zone}/groups"),            ("primaries.groups", "Lists the groups of a followed catalog that have a rule, and what their zones get."), May(ServerOperate), Read, primaries::groups),
        route(put("/v1/zones/{zone}/groups/{group}"),    ("primaries.set_group", "Says what the zones in a group of a followed catalog get: a holder, primaries, a DNSSEC policy, who may transfer them."), May(ServerOperate), Event(GroupRuleChanged), primaries::set_group),
        route(delete("/v1/zones/{zone}/groups/{group}"), ("primaries.remove_group", "Forgets the rule of a group: its zones have what their catalog gives again."), May(ServerOperate), Event(GroupRuleChanged), primaries::remove_group),
        route(get("/v1/zones/{zone}/dnssec"),              ("dnssec.get", "Shows the DNSSEC of a zone: its state, keys, what its parent says, what comes next and when."), May(ZoneView), Read, dnssec::get),
        route(put("/v1/zones/{zone}/dnssec"),              ("dnssec.set", "Asks that DNSSEC of a zone is switched on or off, as safely as resolvers need it."), May(ZoneManage), Event(OrderPlaced), dnssec::set),
        route(post("/v1/zones/{zone}/dnssec/rollover"),    ("dnssec.roll", "Begins to replace keys of a zone."), May(ZoneManage), Event(DnssecRolled), dnssec::roll),
        route(post("/v1/zones/{zone}/dnssec/parent"),      ("dnssec.seen", "Takes your word for what every server of the parent serves, where they cannot be asked."), May(ZoneManage), Event(DnssecSeen), dnssec::seen),
        route(put("/v1/zones/{zone}/dnssec/foreign-keys"), ("dnssec.foreign", "Publishes exactly these keys of other providers beside the zone's own."), May(ZoneManage), Event(DnssecChanged), dnssec::foreign),
        route(post("/v1/zones/{zone}/dnssec/keys"),        ("dnssec.import_key", "Takes a signing key in, from the files of BIND or Knot DNS."), May(DnssecKeys), Event(DnssecKeyImported), dnssec::import_key),
        route(post("/v1/zones/{zone}/dnssec/keys/{tag}/export"), ("dnssec.export_key", "Gives a signing key out, with its secret."), May(DnssecKeys), Event(DnssecKeyExported), dnssec::export_key),
        route(get("/v1/dnssec/schedule"),                  ("dnssec.schedule", "Lists what is to come for all zones in your reach, and when."), May(ZoneView), Read, dnssec::schedule),
        route(get("/v1/dnssec/clock"),                     ("dnssec.clock", "Shows the server's clock, and why nothing is signed by it if it is doubted."), May(ServerOperate), Read, dnssec::clock),
        route(post("/v1/dnssec/clock/trust"),              ("dnssec.trust_clock", "Takes your word that the server's clock is right."), May(ServerOperate), Event(ClockTrusted), dnssec::trust_clock),
        route(get("/v1/dnssec/policies"),                  ("dnssec.policies", "Lists the policies that zones may be signed by."), May(ZoneView), Read, dnssec::policies),
        route(put("/v1/dnssec/policies/{policy}"),         ("dnssec.put_policy", "Keeps a policy; zones signed by it follow at once."), May(ZoneManage), Event(DnssecPolicyChanged), dnssec::put_policy),
        route(delete("/v1/dnssec/policies/{policy}"),      ("dnssec.delete_policy", "Forgets a policy that no zone is signed by."), May(ZoneManage), Event(DnssecPolicyChanged), dnssec::delete_policy),

        route(get("/v1/basket"),                 ("basket.get", "Shows your basket, and what stands in the way of placing it."), May(OrderPlace), Read, basket::get),
        route(post("/v1/basket"),                ("basket.add_all", "Puts several things into your basket, all or none."), May(ZoneEdit), Event(BasketChanged), basket::add_all),
        route(delete("/v1/basket"),              ("basket.clear", "Empties your basket."), May(OrderPlace), Event(BasketCleared), basket::clear),
        route(post("/v1/basket/items"),          ("basket.add", "Puts one thing into your basket."), May(ZoneEdit), Event(BasketChanged), basket::add),
        route(delete("/v1/basket/items/{item}"), ("basket.remove", "Takes one item out of your basket."), May(OrderPlace), Event(BasketChanged), basket::remove),
        route(post("/v1/basket/place"),          ("basket.place", "Places your basket as an order; waits until it is served, unless somebody must approve it."), May(OrderPlace), Event(OrderPlaced), orders::place),
        route(post("/v1/basket/preview"),        ("basket.preview", "Says what placing your basket would do. Nothing is kept."), May(OrderPlace), Read, orders::preview_basket),

        route(get("/v1/orders"),                          ("orders.list", "Lists orders, the newest first."), Token, Read, orders::list),
        route(get("/v1/orders/{order}"),                  ("orders.get", "Shows an order: its items, history, approvals, receipt."), Token, Read, orders::get),
        route(post("/v1/orders/{order}/approve"),         ("orders.approve", "Approves an order and applies it; waits until it is served."), May(OrderApprove), Event(OrderApproved), orders::approve),
        route(post("/v1/orders/{order}/reject"),          ("orders.reject", "Rejects an order that waits; the author is owed a reason."), May(OrderApprove), Event(OrderRejected), orders::reject),
        route(post("/v1/orders/{order}/cancel"),          ("orders.cancel", "Takes an order back before it is applied."), Token, Event(OrderCancelled), orders::cancel),
        route(post("/v1/orders/{order}/hold"),            ("orders.hold", "Stops an order that waits, until it is released; the author is owed a reason."), May(OrderHold), Event(OrderHeld), orders::hold),
        route(post("/v1/orders/{order}/release"),         ("orders.release", "Lets an order go on from where it was stopped."), May(OrderHold), Event(OrderReleased), orders::release),
        route(post("/v1/orders/{order}/revert"),          ("orders.revert", "Places an order that undoes an applied one."), May(OrderPlace), Event(OrderPlaced), orders::revert),
        route(post("/v1/orders/{order}/return"),          ("orders.return", "Puts the items of your order that was not applied back into your basket, once."), May(OrderPlace), Event(OrderReturned), orders::return_to_basket),
        route(post("/v1/orders/{order}/preview"),         ("orders.preview", "Says what applying an order now would do. Nothing is kept."), Token, Read, orders::preview),
        route(post("/v1/change-orders"),                  ("orders.push", "Pushes changes that were approved elsewhere: placed and applied at once, all or none; waits until they are served."), May(OrderPush), Event(OrderApplied), orders::push),

        route(get("/v1/zones/{zone}/access"), ("access.zone", "Shows who may transfer a zone, and who may ask for it."), May(ZoneView), Read, access::of_zone),
        route(put("/v1/zones/{zone}/access"), ("access.set_zone", "Says who may transfer a zone, and who may ask for it; takes effect at once."), May(ZoneManage), Event(AccessChanged), access::set_of_zone),
        route(get("/v1/orgs/{org}/access"),   ("access.org", "Shows who may transfer the zones of an organisation."), May(OrgView), Read, access::of_org),
        route(put("/v1/orgs/{org}/access"),   ("access.set_org", "Says who may transfer the zones of an organisation that have no list of their own; takes effect at once."), May(OrgEdit), Event(AccessChanged), access::set_of_org),

        route(get("/v1/tsig-keys"),               ("tsig.list", "Lists the TSIG keys of an organisation."), May(TsigManage), Read, tsig::list),
        route(post("/v1/tsig-keys"),              ("tsig.create", "Creates a TSIG key. Its secret is shown this once."), May(TsigManage), Event(TsigKeyCreated), tsig::create),
        route(get("/v1/tsig-keys/{key}"),         ("tsig.get", "Shows a TSIG key, without its secret."), May(TsigManage), Read, tsig::get),
        route(post("/v1/tsig-keys/{key}/rotate"), ("tsig.rotate", "Gives a TSIG key another secret, shown this once; the one before stays good for a while."), May(TsigManage), Event(TsigKeyRotated), tsig::rotate),
        route(delete("/v1/tsig-keys/{key}"),      ("tsig.delete", "Ends a TSIG key."), May(TsigManage), Event(TsigKeyDeleted), tsig::delete),
        route(get("/v1/tsig-keys/{key}/update-policy"),    ("tsig.policy", "Shows what a TSIG key may change by dynamic updates."), May(TsigManage), Read, update_policy::get),
        route(put("/v1/tsig-keys/{key}/update-policy"),    ("tsig.set_policy", "Says what a TSIG key may change by dynamic updates, and how it is taken."), May(TsigManage), Event(UpdatePolicyChanged), update_policy::put),
        route(delete("/v1/tsig-keys/{key}/update-policy"), ("tsig.delete_policy", "Lets a TSIG key change nothing by dynamic updates."), May(TsigManage), Event(UpdatePolicyChanged), update_policy::delete),

        route(get("/v1/servers"),                      ("servers.list", "Lists zones with their name servers and secondaries: what each was told and seen with."), May(ZoneView), Read, secondaries::matrix),
        route(get("/v1/zones/{zone}/servers"),         ("servers.get", "Shows the name servers and secondaries of a zone: what each was told and seen with."), May(ZoneView), Read, secondaries::of_zone),
        route(post("/v1/zones/{zone}/servers/look"),   ("servers.look", "Has the servers of a zone told of it and asked for it now. Nothing is kept."), May(ZoneEdit), Read, secondaries::look),
        route(get("/v1/zones/{zone}/servers/waivers"),             ("servers.waivers", "Lists the servers of a zone that no order waits for, and why."), May(ZoneView), Read, secondaries::waivers),
        route(put("/v1/zones/{zone}/servers/waivers/{server}"),    ("servers.waive", "Lets no order of a zone wait for a server that is down for good."), May(ZoneManage), Event(ServerWaived), secondaries::waive),
        route(delete("/v1/zones/{zone}/servers/waivers/{server}"), ("servers.await", "Has orders of a zone wait for a server again."), May(ZoneManage), Event(ServerAwaited), secondaries::unwaive),
        route(get("/v1/secondaries"),                  ("secondaries.list", "Lists the servers that follow zones kept here."), May(ServerOperate), Read, secondaries::list),
        route(post("/v1/secondaries"),                 ("secondaries.create", "Has a server follow zones: told of changes, asked what it serves."), May(ServerOperate), Event(SecondaryCreated), secondaries::create),
        route(get("/v1/secondaries/{secondary}"),      ("secondaries.get", "Shows a secondary."), May(ServerOperate), Read, secondaries::get),
        route(delete("/v1/secondaries/{secondary}"),   ("secondaries.delete", "Takes a secondary away: it is told and asked no more."), May(ServerOperate), Event(SecondaryDeleted), secondaries::delete),

        route(get("/v1/catalogs"),                                ("catalogs.list", "Lists the catalogs that secondaries learn from what to serve."), May(ServerOperate), Read, catalogs::list),
        route(post("/v1/catalogs"),                               ("catalogs.create", "Makes a catalog; the zones in its scope that are in none join it, and every new one."), May(ServerOperate), Event(CatalogCreated), catalogs::create),
        route(get("/v1/catalogs/{catalog}"),                      ("catalogs.get", "Shows a catalog."), May(ServerOperate), Read, catalogs::get),
        route(delete("/v1/catalogs/{catalog}"),                   ("catalogs.delete", "Takes a catalog away. Secondaries that learn from it may drop its members."), May(ServerOperate), Event(CatalogDeleted), catalogs::delete),
        route(get("/v1/catalogs/{catalog}/members"),              ("catalogs.members", "Lists the zones in a catalog, the oldest first."), May(ServerOperate), Read, catalogs::members),
        route(put("/v1/catalogs/{catalog}/members/{zone}"),       ("catalogs.join", "Puts a zone into a catalog, out of the one it is in, with a group if it is given one."), May(ServerOperate), Event(CatalogChanged), catalogs::join),
        route(delete("/v1/catalogs/{catalog}/members/{zone}"),    ("catalogs.leave", "Takes a zone out of a catalog and leaves it out."), May(ServerOperate), Event(CatalogChanged), catalogs::leave),

        route(get("/v1/limits"),       ("limits.get", "Says how much an organisation may have, and a request may bring."), May(OrgView), Read, limits::get),
        route(get("/v1/events"),       ("events.list", "Lists what was done by whom, oldest first."), May(EventView), Read, events::list),
        route(get("/v1/events/{seq}"), ("events.get", "Shows one event."), May(EventView), Read, events::get),
        route(get("/v1/traffic"),      ("traffic.get", "Says which zones are asked about most, and by whom; counts for a minute after each call, so the first sees nothing yet."), May(ServerOperate), Read, traffic::get),
    ]
}
