//! The instance key of a data directory: found, or made for a store that holds no secret yet.
//!
//! Promises: a key is never made anew in silence over secrets that another one sealed.

use std::path::Path;

use super::Failure;
use crate::maintain::secrets;
use crate::seal::{self, Sealer};
use crate::store::Store;

/// The instance key that `store` is kept with.
///
/// # Errors
///
/// What keeps the server from starting: the file is missing, or is another one, while the store holds
/// secrets; with the way out.
pub(super) fn of(dir: &Path, store: &Store) -> Result<Sealer, Failure> {
    let found = Sealer::find(dir).map_err(|error| format!("instance key: {error}"))?;
    if let Some(sealer) = &found
        && store.read(|rows| secrets::are_all_of(rows, sealer))?
    {
        return Ok(sealer.clone());
    }
    let secrets = secrets::look(store, found.as_ref())?;
    let (path, dir_text) = (dir.join(seal::FILE), dir.display());
    let way_out = format!(
        "put the file back that belongs to this store, or give these secrets up with `nameplane store give-up-secrets --data-dir {dir_text}`"
    );
    let (path, words) = (path.display(), secrets.lost_words());
    match found {
        None if secrets.lost() > 0 => Err(format!(
            "instance key {path} is missing, and the store holds secrets that only it opens ({words}): {way_out}"
        )
        .into()),
        // A new key; of another one nothing is left.
        None => Ok(Sealer::at(dir).map_err(|error| format!("instance key: {error}"))?),
        Some(_) if secrets.lost() > 0 && secrets.own == 0 => Err(format!(
            "instance key {path} is another than the one that sealed the secrets in the store ({words}): {way_out}"
        )
        .into()),
        Some(sealer) => {
            if secrets.lost() > 0 {
                // From here on this key seals too: no key alone has sealed them all.
                secrets::note_all_of(store, None)?;
                tracing::error!(
                    "instance key {path} does not open some of the secrets in the store ({words}): {way_out}"
                );
            }
            Ok(sealer)
        }
    }
}
