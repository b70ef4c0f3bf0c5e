//! The forms that one or two types have for themselves, each in its own file of three functions:
//! where it ends on the wire, from text, to text.

mod address;
mod loc;
mod moment;
mod security;

use std::fmt;

pub(super) use moment::{days_before, write_moment};
pub(super) use security::{GATEWAY_NAME, gateway_type};

use super::error::Bad;
use super::read::Reader;
use super::table::Form;

/// Where an odd field ends on the wire.
pub(super) fn end_of(form: Form, rdata: &[u8], at: usize) -> Result<usize, Bad> {
    match form {
        Form::Loc => loc::end_of(rdata, at),
        Form::Gateway { mask } => security::gateway_end(rdata, at, mask),
        Form::HostIdentity => security::host_identity_end(rdata, at),
        _ => address::end_of(form, rdata, at),
    }
}

/// Reads an odd field from text.
pub(super) fn read(form: Form, reader: &mut Reader<'_, '_>) -> Result<(), Bad> {
    match form {
        Form::Loc => loc::read(reader),
        Form::Gateway { mask } => security::read_gateway(reader, mask),
        Form::RelayType => security::read_relay_type(reader),
        Form::HostIdentity => security::read_host_identity(reader),
        _ => address::read(form, reader),
    }
}

/// Writes an odd field as text.
pub(super) fn write(
    form: Form,
    rdata: &[u8],
    octets: &[u8],
    f: &mut dyn fmt::Write,
) -> fmt::Result {
    match form {
        Form::Loc => loc::write(octets, f),
        Form::Gateway { mask } => security::write_gateway(rdata, octets, mask, f),
        Form::RelayType => security::write_relay_type(octets, f),
        Form::HostIdentity => security::write_host_identity(octets, f),
        _ => address::write(form, rdata, octets, f),
    }
}
