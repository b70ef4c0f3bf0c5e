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
use super::rest::{events, orgs, tokens, users};
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

        route(get("/v1/events"),       ("events.list", "Lists what was done by whom, oldest first."), May(EventView), Read, events::list),
        route(get("/v1/events/{seq}"), ("events.get", "Shows one event."), May(EventView), Read, events::get),
    ]
}
