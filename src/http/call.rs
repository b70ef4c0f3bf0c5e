//! One call of the API: from octets to the arguments of a plain function, and back.
//!
//! A handler takes an [`Ask`] and returns a [`Reply`]. What it takes and gives are types, and the
//! types describe themselves: the OpenAPI operation of a route is read off its handler's signature.
//!
//! Order of the checks: the token, the permission of the route, then the body, then its form. Who
//! has no right learns nothing about the form.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{Query, RawPathParams, Request};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header, request::Parts};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Duration, Instant, sleep, timeout};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::etag::Condition;
use super::form::{from_json, path_of, query_fault};
use super::in_process::Caller;
use super::problem::{Kind, Problem};
use super::routes::{Need, Route};
use super::{App, Settings, Traffic, guard};
use crate::manage::Manage;
use crate::manage::access::{Context, IdempotencyKey};
use crate::manage::event::sha256;
use crate::manage::page::Page;
use crate::manage::people::token;

/// The media type of a zone file ([RFC 4027](https://www.rfc-editor.org/rfc/rfc4027)).
pub const ZONE_FILE: &str = "text/dns";

/// Octets one permit of the memory for bodies stands for.
pub(super) const BODY_UNIT: usize = 1024;

/// The longest a caller may wait for something to settle; proxies give up after a minute.
const WAIT_S_MAX: u64 = 30;

/// How long to wait before looking again. An order is served within a few of these.
const WAIT_STEP: Duration = Duration::from_millis(20);

/// What a handler is asked: path and query parameters `P` and `Q`, the body `B`, and by whom.
pub struct Ask<P = NoPath, Q = NoQuery, B = NoBody> {
    pub manage: Manage,
    pub settings: Settings,
    pub traffic: Traffic,
    pub context: Context,
    pub path: P,
    pub query: Q,
    pub body: B,
    pub condition: Condition,
}

/// A response of status `STATUS` with a body that describes itself.
pub struct Reply<T, const STATUS: u16 = 200> {
    body: T,
    fields: HeaderMap,
    unsettled: bool,
}

/// Rides on a response that will change by itself.
#[derive(Clone)]
struct Unsettled;

/// 201.
pub type Created<T> = Reply<T, 201>;

/// 204: done, and there is nothing to say.
pub struct Done;

impl<T, const STATUS: u16> Reply<T, STATUS> {
    /// With this body.
    pub fn new(body: T) -> Reply<T, STATUS> {
        Reply { body, fields: HeaderMap::new(), unsettled: false }
    }

    /// With a header field; left out when `value` has octets a field may not have.
    #[must_use]
    pub fn with(mut self, name: header::HeaderName, value: &str) -> Reply<T, STATUS> {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.fields.insert(name, value);
        }
        self
    }

    /// Says that what is shown is on its way to something else: a caller who prefers to wait does.
    #[must_use]
    pub fn unsettled(mut self, unsettled: bool) -> Reply<T, STATUS> {
        self.unsettled = unsettled;
        self
    }

    /// With the version tag of what is shown.
    #[must_use]
    pub fn tagged(self, tag: &str) -> Reply<T, STATUS> {
        self.with(header::ETAG, tag)
    }
}

/// A body of a request.
pub trait Takes: Sized {
    /// The media types it comes in; none when there is no body.
    const MEDIA_TYPES: &'static [&'static str];

    /// Whether the request must have one.
    const REQUIRED: bool = true;

    /// Reads it.
    fn take(octets: Bytes) -> Result<Self, Problem>;

    /// Its schema, and the schemas that one names.
    fn schema(named: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema>;
}

/// The body of a request that has none.
pub struct NoBody;

/// The path of a route without parameters.
#[derive(serde::Deserialize, utoipa::IntoParams)]
pub struct NoPath {}

/// The query of a route without parameters.
#[derive(serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub struct NoQuery {}

impl Takes for NoBody {
    const MEDIA_TYPES: &'static [&'static str] = &[];

    fn take(octets: Bytes) -> Result<NoBody, Problem> {
        match octets.is_empty() {
            true => Ok(NoBody),
            false => Err(Problem::new(Kind::Malformed, "the route takes no body")),
        }
    }

    fn schema(_: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema> {
        Schema::default().into()
    }
}

/// A zone file.
pub struct ZoneFile(pub Bytes);

impl Takes for ZoneFile {
    const MEDIA_TYPES: &'static [&'static str] = &[ZONE_FILE, "text/plain"];

    fn take(octets: Bytes) -> Result<ZoneFile, Problem> {
        match octets.is_empty() {
            true => Err(Problem::new(Kind::Malformed, "the route needs a zone file as its body")),
            false => Ok(ZoneFile(octets)),
        }
    }

    fn schema(_: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema> {
        <String as PartialSchema>::schema()
    }
}

impl<T: DeserializeOwned + ToSchema> Takes for T {
    const MEDIA_TYPES: &'static [&'static str] = &["application/json"];

    fn take(octets: Bytes) -> Result<T, Problem> {
        from_json(&octets)
    }

    fn schema(named: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema> {
        schema_of::<T>(named)
    }
}

/// A JSON body that may be left out: then everything in it has its usual value.
pub struct Optional<T>(pub T);

impl<T: DeserializeOwned + ToSchema + Default> Takes for Optional<T> {
    const MEDIA_TYPES: &'static [&'static str] = &["application/json"];
    const REQUIRED: bool = false;

    fn take(octets: Bytes) -> Result<Optional<T>, Problem> {
        match octets.is_empty() {
            true => Ok(Optional(T::default())),
            false => from_json(&octets).map(Optional),
        }
    }

    fn schema(named: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema> {
        schema_of::<T>(named)
    }
}

/// What a handler returns.
pub trait Gives {
    /// The status of success.
    const STATUS: StatusCode;
    /// The media type of its body; none when it has none.
    const MEDIA_TYPE: Option<&'static str>;

    /// The response.
    fn give(self) -> Response;

    /// The schema of its body, and the schemas that one names.
    fn schema(named: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema>;
}

impl Gives for Done {
    const STATUS: StatusCode = StatusCode::NO_CONTENT;
    const MEDIA_TYPE: Option<&'static str> = None;

    fn give(self) -> Response {
        Self::STATUS.into_response()
    }

    fn schema(_: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema> {
        Schema::default().into()
    }
}

/// What a body of a response is made of.
pub trait Content {
    /// Its media type.
    const MEDIA_TYPE: &'static str;

    /// Its octets.
    fn into_octets(self) -> Result<Vec<u8>, serde_json::Error>;

    /// Its schema, and the schemas that one names.
    fn schema(named: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema>;
}

impl<T: Serialize + ToSchema> Content for T {
    const MEDIA_TYPE: &'static str = "application/json";

    fn into_octets(self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&self)
    }

    fn schema(named: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema> {
        schema_of::<T>(named)
    }
}

impl Content for ZoneFile {
    const MEDIA_TYPE: &'static str = "text/dns; charset=utf-8";

    fn into_octets(self) -> Result<Vec<u8>, serde_json::Error> {
        Ok(self.0.into())
    }

    fn schema(_: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema> {
        <String as PartialSchema>::schema()
    }
}

/// A page of a list.
pub struct Listed<T>(pub Page<T>);

impl<T: Serialize + ToSchema> Content for Listed<T> {
    const MEDIA_TYPE: &'static str = "application/json";

    fn into_octets(self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&self.0)
    }

    /// Written out where it is used: all instances of a generic type have one name.
    fn schema(named: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema> {
        let next = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .description(Some("Give it as `after` for the next page; null when this is the last."));
        ObjectBuilder::new()
            .property("items", ArrayBuilder::new().items(schema_of::<T>(named)))
            .property("next", next)
            .required("items")
            .required("next")
            .into()
    }
}

impl<T: Content, const STATUS: u16> Gives for Reply<T, STATUS> {
    const STATUS: StatusCode = match STATUS {
        201 => StatusCode::CREATED,
        202 => StatusCode::ACCEPTED,
        _ => StatusCode::OK,
    };
    const MEDIA_TYPE: Option<&'static str> = Some(T::MEDIA_TYPE);

    fn give(self) -> Response {
        match self.body.into_octets() {
            Ok(octets) => {
                let media_type = [(header::CONTENT_TYPE, T::MEDIA_TYPE)];
                let mut response = (Self::STATUS, self.fields, media_type, octets).into_response();
                if self.unsettled {
                    response.extensions_mut().insert(Unsettled);
                }
                response
            }
            Err(error) => {
                Problem::new(Kind::Unexpected, format!("the answer cannot be written: {error}"))
                    .into_response()
            }
        }
    }

    fn schema(named: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema> {
        T::schema(named)
    }
}

fn schema_of<T: ToSchema>(named: &mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema> {
    T::schemas(named);
    let name = T::name().into_owned();
    named.push((name.clone(), T::schema()));
    RefOr::Ref(utoipa::openapi::Ref::from_schema_name(name))
}

/// A request as the frame hands it to the erased handler of a route.
pub struct Received {
    manage: Manage,
    settings: Settings,
    traffic: Traffic,
    context: Context,
    path: Vec<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

/// A handler without its types.
pub type Handler = Box<dyn Fn(Received) -> Result<Response, Problem> + Send + Sync>;

/// Takes the types off a handler.
pub fn erase<P, Q, B, R>(handler: fn(Ask<P, Q, B>) -> Result<R, Problem>) -> Handler
where
    P: DeserializeOwned + 'static,
    Q: DeserializeOwned + 'static,
    B: Takes + 'static,
    R: Gives + 'static,
{
    Box::new(move |received| {
        let Query(query) = Query::<Q>::try_from_uri(&received.uri).map_err(query_fault)?;
        let condition = Condition::of(&received.headers)?;
        let ask = Ask {
            manage: received.manage,
            settings: received.settings,
            traffic: received.traffic,
            context: received.context,
            path: path_of(received.path)?,
            query,
            body: B::take(received.body)?,
            condition: condition.clone(),
        };
        let response = handler(ask)?.give();
        Ok(condition.spare(response))
    })
}

/// Serves one request by one route. This is where, and nowhere else, a blocking thread is asked for.
pub(super) async fn call(
    app: Arc<App>,
    route: &'static Route,
    path: RawPathParams,
    request: Request,
    id: &str,
) -> Result<Response, Problem> {
    let path: Vec<(String, String)> =
        path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let (parts, body) = request.into_parts();
    let mut context = {
        let headers = parts.headers.clone();
        let caller = parts.extensions.get::<Caller>().cloned();
        let authentic = move |app: &App| authenticate(app, route, &headers, caller);
        blocking(&app, id, authentic).await?
    };
    let now_ms = u64::try_from(app.began.elapsed().as_millis()).unwrap_or(u64::MAX);
    app.rates.take(&context, now_ms)?;
    let (body, _budget) = receive(&app, route, &parts, body).await?;
    context.idempotency = idempotency(&parts, &body)?;
    let until = Instant::now() + waits(route, &parts.headers);
    loop {
        let (context, path, body) = (context.clone(), path.clone(), body.clone());
        let (uri, headers) = (parts.uri.clone(), parts.headers.clone());
        let response = blocking(&app, id, move |app| {
            let (manage, settings) = (app.manage.clone(), app.settings.clone());
            let traffic = Arc::clone(&app.traffic);
            let received =
                Received { manage, settings, traffic, context, path, uri, headers, body };
            (route.handler)(received)
        });
        let response = response.await?;
        let settled = response.extensions().get::<Unsettled>().is_none();
        if settled || Instant::now() >= until {
            return Ok(response);
        }
        sleep(WAIT_STEP).await;
    }
}

/// How long a caller prefers to wait until what is shown has settled ([RFC 7240](https://www.rfc-editor.org/rfc/rfc7240) §4.3).
fn waits(route: &Route, headers: &HeaderMap) -> Duration {
    let fields = headers.get_all("prefer").iter().filter_map(|field| field.to_str().ok());
    let mut preferences = fields.flat_map(|field| field.split([',', ';']));
    let seconds = preferences.find_map(|preference| preference.trim().strip_prefix("wait="));
    match seconds.and_then(|seconds| seconds.parse().ok()) {
        Some(seconds) if route.method == Method::GET => {
            Duration::from_secs(seconds).min(Duration::from_secs(WAIT_S_MAX))
        }
        _ => Duration::ZERO,
    }
}

/// Runs `work` where it may wait, if there is a place, and makes a problem of its panic.
async fn blocking<T: Send + 'static>(
    app: &Arc<App>,
    id: &str,
    work: impl FnOnce(&App) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let _place = app.places.try_acquire().map_err(|_| {
        Problem::new(Kind::Unavailable, "the server works on as many requests as it may")
            .with_limit("requests_max", app.settings.requests_max as u64)
            .retry_after(1)
    })?;
    let app = Arc::clone(app);
    let fenced = move || catch_unwind(AssertUnwindSafe(|| work(&app)));
    let panic: Box<dyn Any + Send> = match tokio::task::spawn_blocking(fenced).await {
        Ok(Ok(result)) => return result,
        Ok(Err(panic)) => panic,
        Err(error) => Box::new(error.to_string()),
    };
    Err(guard::panicked(&*panic, id))
}

/// Who calls, if the token is good and the route is open to them.
fn authenticate(
    app: &App,
    route: &Route,
    headers: &HeaderMap,
    caller: Option<Caller>,
) -> Result<Context, Problem> {
    let context = match caller {
        Some(Caller(context)) => context,
        None => bearer(app, headers)?,
    };
    if let Need::Permission(permission) = route.need {
        context.may(permission).map_err(Problem::from)?;
    }
    Ok(context)
}

/// The owner of the token in the request.
fn bearer(app: &App, headers: &HeaderMap) -> Result<Context, Problem> {
    let unknown = || Problem::new(Kind::Unauthenticated, "send `Authorization: Bearer <token>`");
    let field = headers.get(header::AUTHORIZATION).ok_or_else(unknown)?;
    let secret = field.to_str().ok().and_then(|field| {
        let (scheme, token) = field.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let secret = secret.ok_or_else(unknown)?;
    token::authenticate(&app.manage, secret)
        .map_err(Problem::from)?
        .map_err(|why| Problem::new(Kind::Unauthenticated, why.to_string()))
}

/// Reads the body within its limits. The permit is its share of what all bodies may take together.
async fn receive<'a>(
    app: &'a App,
    route: &Route,
    parts: &Parts,
    body: Body,
) -> Result<(Bytes, SemaphorePermit<'a>), Problem> {
    let settings = &app.settings;
    let (limit_name, limit) = match route.media_types {
        [ZONE_FILE, ..] => ("zone_text_octets_max", settings.zone_text_octets_max),
        _ => ("body_octets_max", settings.body_octets_max),
    };
    let too_large = || {
        Problem::new(Kind::TooLarge, format!("the body has more than {limit} octets"))
            .with_limit(limit_name, limit as u64)
    };
    let announced = announced(&parts.headers);
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let budget = share(app, announced.unwrap_or(if body.is_end_stream() { 0 } else { limit }))?;
    let octets = timeout(settings.body_time, to_bytes(body, limit))
        .await
        .map_err(|_| Problem::new(Kind::Slow, "the body did not arrive in time"))?
        .map_err(|error| match is_length_limit(&error) {
            true => too_large(),
            false => Problem::new(Kind::Malformed, "the body ended early"),
        })?;
    if !octets.is_empty() && !route.media_types.is_empty() {
        check_media_type(route.media_types, &parts.headers)?;
    }
    Ok((octets, budget))
}

/// How long a body says that it will be.
pub(super) fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A share of the memory for bodies.
fn share(app: &App, octets: usize) -> Result<SemaphorePermit<'_>, Problem> {
    share_of(&app.bodies, octets, ("bodies_octets_max", app.settings.bodies_octets_max))
}

/// A share of the memory that is bounded so.
pub(super) fn share_of<'a>(
    memory: &'a Semaphore,
    octets: usize,
    (name, limit): (&str, usize),
) -> Result<SemaphorePermit<'a>, Problem> {
    let units = u32::try_from(octets.div_ceil(BODY_UNIT)).unwrap_or(u32::MAX);
    memory.try_acquire_many(units).map_err(|_| {
        let what = "bodies of other requests take all the memory there is for them";
        Problem::new(Kind::Unavailable, what).with_limit(name, limit as u64).retry_after(5)
    })
}

/// Whether a body was cut off for its length.
pub(super) fn is_length_limit(error: &axum::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn check_media_type(wanted: &[&str], headers: &HeaderMap) -> Result<(), Problem> {
    let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let sent = sent.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    match wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(sent)) {
        true => Ok(()),
        false => {
            let wanted = wanted.join(" or ");
            Err(Problem::new(
                Kind::MediaType,
                format!("send a body of type {wanted}, not {sent:?}"),
            ))
        }
    }
}

/// The key under which a repeated request is the same request; what was asked is part of it.
fn idempotency(parts: &Parts, body: &Bytes) -> Result<Option<IdempotencyKey>, Problem> {
    const NAME: &str = "idempotency-key";
    const OCTETS_MAX: usize = 255;
    let Some(field) = parts.headers.get(NAME) else { return Ok(None) };
    let key = field.to_str().ok().map(|key| key.trim_matches('"'));
    let plain = |key: &&str| {
        (1..=OCTETS_MAX).contains(&key.len()) && key.bytes().all(|octet| octet.is_ascii_graphic())
    };
    let key = key.filter(plain).ok_or_else(|| {
        let detail = "Idempotency-Key has 1 to 255 visible ASCII characters";
        Problem::parameter(Kind::Malformed, NAME, detail)
    })?;
    let mut asked = format!("{} {}\n", parts.method, parts.uri).into_bytes();
    asked.extend_from_slice(body);
    Ok(Some(IdempotencyKey { key: key.to_owned(), asked: sha256(&asked) }))
}
