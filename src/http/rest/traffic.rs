//! Who asks most about which zone.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::call::{Ask, NoPath, Reply};
use crate::http::problem::{Kind, Problem};
use crate::manage::time::Timestamp;
use crate::serve::talkers::{self, Report, ZoneTalk};

/// Zones shown when nobody says how many.
const ZONES: u16 = 20;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Looking {
    /// How many zones at most; 20 if left out.
    #[param(minimum = 1, maximum = 256)]
    zones: Option<u16>,
}

/// Who asks most, since somebody began to look.
#[derive(Serialize, ToSchema)]
pub struct TrafficView {
    /// When counting began.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Queries counted, about any zone or none.
    pub queries: u64,
    /// Queries left out because the counters were in use.
    pub missed: u64,
    /// The busiest first.
    pub zones: Vec<ZoneTraffic>,
}

/// How much one zone is asked about.
#[derive(Serialize, ToSchema)]
pub struct ZoneTraffic {
    #[schema(example = "example.com.")]
    pub zone: String,
    pub queries: u64,
    /// How many of them may have been about other zones: more zones were asked about than are kept.
    pub over: u64,
    /// The busiest first.
    pub clients: Vec<ClientTraffic>,
}

/// How much one client asks.
#[derive(Serialize, ToSchema)]
pub struct ClientTraffic {
    /// An address, or the network of an IPv6 host.
    #[schema(example = "192.0.2.7/32")]
    pub client: String,
    pub queries: u64,
}

pub fn get(ask: Ask<NoPath, Looking>) -> Result<Reply<TrafficView>, Problem> {
    let shown = usize::from(ask.query.zones.unwrap_or(ZONES));
    if !(1..=talkers::ZONES_MAX).contains(&shown) {
        let detail = format!("1 to {} zones can be shown", talkers::ZONES_MAX);
        return Err(Problem::parameter(Kind::Malformed, "zones", detail));
    }
    let Report { since_s, queries, missed, mut zones } = (ask.traffic)();
    zones.truncate(shown);
    let since = Timestamp(u64::from(since_s) * 1_000_000);
    let zones = zones.into_iter().map(view).collect();
    Ok(Reply::new(TrafficView { since, queries, missed, zones }))
}

fn view(zone: ZoneTalk) -> ZoneTraffic {
    let ZoneTalk { apex, queries, over, clients } = zone;
    let clients = clients
        .into_iter()
        .map(|(client, queries)| ClientTraffic { client: client.to_string(), queries })
        .collect();
    ZoneTraffic { zone: apex.to_string(), queries, over, clients }
}
