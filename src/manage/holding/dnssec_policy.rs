//! DNSSEC policies: the named rules by which an organisation's zones, or all zones, are signed.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::dnssec::{DnssecError, is_operator, through};
use crate::maintain::dnssec::policy::{self, DEFAULT, Policy, denial_word};
use crate::maintain::dnssec::{self, Life};
use crate::maintain::rows as zones;
use crate::manage::Manage;
use crate::manage::access::{self, Context, NoAccess, Permission};
use crate::manage::event::{self, Kind as Happened, News, Object, Touched};
use crate::manage::fault::{Problem, Stop};
use crate::manage::id::OrgId;
use crate::manage::people::organisation::ORGS;
use crate::sign::{Algorithm, Denial, Policy as Signing};
use crate::store::{Rows, Tx};

/// Characters of a policy's name.
pub const NAME_CHARS_MAX: usize = 63;

/// Policies of one organisation, or of the server.
pub const POLICIES_MAX: usize = 100;

/// Lives looked at in one transaction when a policy changes.
const LIVES_PER_STEP: usize = 1_000;

/// A policy. What is left out is as in the policy `default` of a new server. Times are in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = DnssecPolicy)]
pub struct PolicyBody {
    /// 8, 10, 13, 14 or 15.
    pub algorithm: u8,
    pub rsa_bits: u16,
    /// A KSK and a ZSK instead of one key for everything.
    pub split: bool,
    /// `nsec`, `nsec3` or `nsec3_opt_out`.
    pub denial: String,
    pub validity_s: u32,
    pub refresh_s: u32,
    pub jitter_s: u32,
    pub inception_s: u32,
    pub dnskey_ttl_s: u32,
    pub zonemd: bool,
    pub csync: bool,
    /// 0: a KSK or CSK is never replaced by itself.
    pub ksk_lifetime_s: u32,
    /// 0: a ZSK is never replaced by itself.
    pub zsk_lifetime_s: u32,
    /// How long the slowest name server may go on serving what was replaced.
    pub propagation_s: u32,
    /// How long the parent may take from reading a CDS to serving the DS.
    pub parent_delay_s: u32,
    /// How often the parent's servers are asked while something is expected of them.
    pub parent_poll_s: u32,
    /// The parent's servers; found by the resolvers of `[net]` if there are none.
    #[schema(value_type = Vec<String>)]
    pub parent_servers: Vec<SocketAddr>,
    /// Digests of DS and CDS: 2, 4 or both.
    pub digests: Vec<u8>,
    /// TTL of the DS that is put into a parent kept here.
    pub ds_ttl_s: u32,
}

impl Default for PolicyBody {
    fn default() -> PolicyBody {
        PolicyBody::from(&Policy::default())
    }
}

impl From<&Policy> for PolicyBody {
    fn from(policy: &Policy) -> PolicyBody {
        let Signing { denial, validity_s, refresh_s, jitter_s, inception_s, .. } = policy.signing;
        PolicyBody {
            algorithm: policy.algorithm.number(),
            rsa_bits: policy.rsa_bits,
            split: policy.split,
            denial: denial_word(denial).to_owned(),
            validity_s,
            refresh_s,
            jitter_s,
            inception_s,
            dnskey_ttl_s: policy.signing.dnskey_ttl_s,
            zonemd: policy.signing.zonemd,
            csync: policy.signing.csync,
            ksk_lifetime_s: policy.ksk_lifetime_s,
            zsk_lifetime_s: policy.zsk_lifetime_s,
            propagation_s: policy.propagation_s,
            parent_delay_s: policy.parent_delay_s,
            parent_poll_s: policy.parent_poll_s,
            parent_servers: policy.parent_servers.clone(),
            digests: policy.digests.clone(),
            ds_ttl_s: policy.ds_ttl_s,
        }
    }
}

impl PolicyBody {
    fn read(self) -> Result<Policy, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut fault = |field: &str, text: String| {
            problems.push(Problem::at(field, "dnssec_policy", text));
        };
        let algorithm = Algorithm::from_number(self.algorithm).unwrap_or_else(|error| {
            fault("algorithm", error.to_string());
            Algorithm::EcdsaP256
        });
        let all = [Denial::Nsec, Denial::Nsec3 { opt_out: false }, Denial::Nsec3 { opt_out: true }];
        let denial = all.into_iter().find(|denial| denial_word(*denial) == self.denial);
        let denial = denial.unwrap_or_else(|| {
            fault("denial", "denial is nsec, nsec3 or nsec3_opt_out".to_owned());
            Denial::Nsec
        });
        let policy = Policy {
            algorithm,
            rsa_bits: self.rsa_bits,
            split: self.split,
            signing: Signing {
                denial,
                validity_s: self.validity_s,
                refresh_s: self.refresh_s,
                jitter_s: self.jitter_s,
                inception_s: self.inception_s,
                dnskey_ttl_s: self.dnskey_ttl_s,
                zonemd: self.zonemd,
                csync: self.csync,
            },
            ksk_lifetime_s: self.ksk_lifetime_s,
            zsk_lifetime_s: self.zsk_lifetime_s,
            propagation_s: self.propagation_s,
            parent_delay_s: self.parent_delay_s,
            parent_poll_s: self.parent_poll_s,
            parent_servers: self.parent_servers,
            digests: self.digests,
            ds_ttl_s: self.ds_ttl_s,
        };
        for (field, text) in policy.faults() {
            fault(field, text);
        }
        if problems.is_empty() { Ok(policy) } else { Err(problems) }
    }
}

/// A policy with its name and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = DnssecPolicyView)]
pub struct PolicyView {
    pub name: String,
    /// The organisation that has it; none for the server's, which all may use.
    pub org: Option<OrgId>,
    pub policy: PolicyBody,
}

/// The policies that zones of an organisation may use; the server's alone for none.
///
/// # Errors
///
/// [`Stop::Access`] for an organisation out of reach.
pub fn list(
    manage: &Manage,
    context: &Context,
    org: Option<OrgId>,
) -> Result<Vec<PolicyView>, Stop> {
    context.may(Permission::ZoneView)?;
    manage.store.read(|rows| {
        let mut found = Vec::new();
        if let Some(org) = org {
            if !access::reaches(rows, context, org)? {
                return Err(NoAccess::NotFound.into());
            }
            for (name, policy) in policy::all_of(rows, &org.to_string())? {
                found.push(PolicyView { name, org: Some(org), policy: (&policy).into() });
            }
        }
        let mut common = policy::all_of(rows, "")?;
        if !common.iter().any(|(name, _)| name == DEFAULT) {
            common.push((DEFAULT.to_owned(), Policy::default()));
        }
        found.extend(common.into_iter().map(|(name, policy)| PolicyView {
            name,
            org: None,
            policy: (&policy).into(),
        }));
        Ok(found)
    })
}

/// Keeps a policy: of an organisation, or for none of the server. Zones signed by it follow at once.
///
/// # Errors
///
/// [`DnssecError::Invalid`] with all that is wrong with it.
pub fn put(
    manage: &Manage,
    context: &Context,
    org: Option<OrgId>,
    name: &str,
    body: PolicyBody,
) -> Result<PolicyView, DnssecError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    let mut problems = Vec::new();
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(fits) {
        let text = "a policy's name has up to 63 of a-z, 0-9, - and _";
        problems.push(Problem::at("policy", "text", text));
    }
    let policy = body.read().map_err(|found| {
        problems.extend(found);
        DnssecError::Invalid(std::mem::take(&mut problems))
    })?;
    if !problems.is_empty() {
        return Err(DnssecError::Invalid(problems));
    }
    let holder = org.map_or(String::new(), |org| org.to_string());
    let view = PolicyView { name: name.to_owned(), org, policy: (&policy).into() };
    through(manage, |door| {
        let tx = door.tx();
        may_change(tx, context, org)?;
        let there = policy::all_of(tx, &holder)?;
        if there.len() >= POLICIES_MAX && !there.iter().any(|(other, _)| other == name) {
            let text = format!("at most {POLICIES_MAX} policies are kept");
            return Err(DnssecError::Invalid(vec![Problem::at("policy", "limit", text)]));
        }
        policy::put(tx, &holder, name, &policy).map_err(Stop::from)?;
        record(tx, context, org, name)
    })?;
    follow(manage, &holder, name)?;
    Ok(view)
}

/// Forgets a policy that no zone uses.
///
/// # Errors
///
/// [`DnssecError::State`] while a zone is signed by it.
pub fn delete(
    manage: &Manage,
    context: &Context,
    org: Option<OrgId>,
    name: &str,
) -> Result<(), DnssecError> {
    let holder = org.map_or(String::new(), |org| org.to_string());
    through(manage, |door| {
        let tx = door.tx();
        may_change(tx, context, org)?;
        if !policy::all_of(tx, &holder)?.iter().any(|(other, _)| other == name) {
            return Err(NoAccess::NotFound.into());
        }
        for (id, life) in dnssec::lives(tx, None, usize::MAX)? {
            if uses(tx, id, &life, &holder, name)? {
                let text = format!("a zone is signed by policy {name}: give it another first");
                return Err(DnssecError::State(text));
            }
        }
        policy::delete(tx, &holder, name).map_err(Stop::from)?;
        record(tx, context, org, name)
    })
}

fn uses(
    rows: &impl Rows,
    id: u32,
    life: &Life,
    holder: &str,
    name: &str,
) -> Result<bool, DnssecError> {
    if life.is_over() || life.policy != name {
        return Ok(false);
    }
    let zone = zones::by_id(rows, id)?;
    Ok(zone.is_some_and(|zone| holder.is_empty() || zone.org == holder))
}

/// Zones signed by a policy are looked at once it has changed.
fn follow(manage: &Manage, holder: &str, name: &str) -> Result<(), DnssecError> {
    let mut after = None;
    loop {
        let from = after;
        let last = through(manage, |door| {
            let lives = dnssec::lives(door.tx(), from, LIVES_PER_STEP)?;
            for (id, life) in &lives {
                if uses(door.tx(), *id, life, holder, name)? {
                    dnssec::hurry(door.tx(), *id).map_err(Stop::from)?;
                }
            }
            Ok(lives.last().map(|(id, _)| *id).filter(|_| lives.len() == LIVES_PER_STEP))
        })?;
        match last {
            Some(last) => after = Some(last),
            None => return Ok(()),
        }
    }
}

fn may_change(tx: &Tx<'_>, context: &Context, org: Option<OrgId>) -> Result<(), Stop> {
    let Some(org) = org else {
        return Ok(context.may(Permission::ServerOperate)?);
    };
    if !access::reaches(tx, context, org)? || tx.get(&ORGS, &org)?.is_none() {
        return Err(NoAccess::NotFound.into());
    }
    Ok(context.may(Permission::ZoneManage)?)
}

fn record(
    tx: &mut Tx<'_>,
    context: &Context,
    org: Option<OrgId>,
    name: &str,
) -> Result<(), DnssecError> {
    let kind = Happened::DnssecPolicyChanged;
    let object = Object::DnssecPolicy(name.to_owned());
    let touched = vec![Touched { object, before: None, after: None }];
    let orgs = org.into_iter().collect();
    event::record(tx, context, News { kind, order: None, orgs, touched }).map_err(Stop::from)?;
    Ok(())
}

/// The organisation a policy is asked for: the server itself for an operator who names none.
pub fn whose(context: &Context, org: Option<OrgId>) -> Option<OrgId> {
    match org {
        None if !is_operator(context) => Some(context.org),
        org => org,
    }
}
