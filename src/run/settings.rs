//! What the settings file comes to for the rooms that answer and follow.
//!
//! Promises: what is wrong only with the whole of it is said, with the setting's name.
//!
//! Does not: read the file ([`Config`] does), nor touch the directory.

use std::net::{SocketAddr, UdpSocket};

use ring::rand::{SecureRandom, SystemRandom};
use tracing_subscriber::EnvFilter;

use super::Failure;
use crate::config::Config;
use crate::maintain;
use crate::serve::{self, Prefixes};
use crate::transport::{self, client::Dialer};
use crate::wire::Name;

/// What is logged.
///
/// # Errors
///
/// The level is no filter.
pub fn log(config: &Config) -> Result<EnvFilter, Failure> {
    let level = &config.log.level;
    let filter = EnvFilter::try_new(level);
    filter.map_err(|error| format!("[log] level {level:?} is no filter: {error}").into())
}

/// # Errors
///
/// The first setting that cannot be.
pub fn serve(config: &Config) -> Result<serve::Settings, Failure> {
    let limit = &config.rate_limit;
    let mut cookie_secrets: Vec<[u8; 16]> =
        config.dns.cookie_secret.iter().map(|secret| secret.0).collect();
    if cookie_secrets.is_empty() {
        let mut secret = [0; 16];
        SystemRandom::new().fill(&mut secret).map_err(|_| "the system gives no random numbers")?;
        cookie_secrets.push(secret);
    }
    Ok(serve::Settings {
        udp_octets_max: config.dns.udp_octets_max.into(),
        server_id: config.dns.server_id.clone(),
        version: config.dns.version.clone(),
        cookie_secrets,
        rate_limit: serve::rrl::Settings {
            enabled: limit.enabled,
            responses_per_second: limit.responses_per_second,
            slip: limit.slip,
            exempt: Prefixes::new(limit.exempt.iter().copied()),
            dry_run: limit.dry_run,
        },
        cookies_above: config.dns.cookies_required_above,
        report_agent: report_agent(config)?,
        update_allow: Prefixes::new(config.update.allow_unsigned.iter().copied()),
        idle_timeout_s: config.tcp.idle_timeout_s,
        ..serve::Settings::default()
    })
}

/// Where DNS is answered. Of the addresses that nobody chose, those are left out that this machine does not have:
/// many containers have no IPv6.
pub fn listen(config: &Config) -> Vec<SocketAddr> {
    let mut listen = config.dns.listen.clone();
    if listen == Config::default().dns.listen {
        listen.retain(|address| {
            let had = UdpSocket::bind((address.ip(), 0));
            if let Err(error) = &had {
                tracing::warn!(%address, %error, "{address} is not listened on: {error}");
            }
            had.is_ok()
        });
    }
    listen
}

/// # Errors
///
/// The first setting that cannot be.
pub fn refresh(config: &Config) -> Result<maintain::refresh::Settings, Failure> {
    let own = &config.primaries;
    let identity = match (own.certificate.clone(), own.key.clone()) {
        (Some(certificate), Some(key)) => Some(transport::xot::Identity { certificate, key }),
        (None, None) => None,
        _ => return Err("[primaries] needs both certificate and key, or neither".into()),
    };
    Ok(maintain::refresh::Settings {
        threads: own.zones_at_once as usize,
        transfer_octets_max: usize::try_from(own.transfer_octets_max).unwrap_or(usize::MAX),
        transfer_s_max: own.transfer_s_max.into(),
        transfer_octets_per_s_min: own.transfer_octets_per_s_min.into(),
        catalog_zones_max: own.catalog_zones_max as usize,
        authorities: own.authorities.clone(),
        identity,
        ..maintain::refresh::Settings::default()
    })
}

/// # Errors
///
/// The first resolver that the gate holds back: it would never be asked.
pub fn resolvers(config: &Config) -> Result<Vec<SocketAddr>, Failure> {
    let resolvers = &config.net.resolvers;
    for resolver in resolvers {
        let permitted = dialer(config).permit(*resolver);
        permitted.map_err(|error| format!("[net] resolvers: it would never be asked: {error}"))?;
    }
    Ok(resolvers.clone())
}

/// What may be dialled, by `[net] dial`.
pub fn dialer(config: &Config) -> Dialer {
    Dialer::new(Prefixes::new(config.net.dial.iter().copied()))
}

fn report_agent(config: &Config) -> Result<Option<Name>, Failure> {
    let Some(text) = &config.dns.report_agent else { return Ok(None) };
    let agent = Name::parse(text);
    let agent =
        agent.map_err(|error| format!("[dns] report_agent {text:?} is no name: {error}"))?;
    if agent.is_root() {
        return Err("[dns] report_agent is the root, which RFC 9567 forbids".into());
    }
    Ok(Some(agent))
}
