//! The data directory as a whole: export, import, verify; and its secrets, when their key is lost.

use std::process::ExitCode;

use super::args::Store;
use super::{Failure, api, print};
use crate::run;

pub(super) fn run(command: Store) -> Result<ExitCode, Failure> {
    match command {
        Store::Export { file, data_dir } => {
            api::is_there(&data_dir)?;
            let manage = run::open_directory(&data_dir)?;
            let summary = manage.store.export(&file).map_err(|error| run::chain(&error))?;
            print::line(&format!(
                "{}: {} rows, {} octets",
                file.display(),
                summary.rows,
                summary.bytes
            ));
        }
        Store::Import { file, data_dir } => {
            let summary =
                crate::store::import(&data_dir, &file).map_err(|error| run::chain(&error))?;
            print::line(&format!("{}: {} rows", data_dir.display(), summary.rows));
        }
        Store::GiveUpSecrets { data_dir } => {
            api::is_there(&data_dir)?;
            let lost = run::give_up_secrets(&data_dir)?;
            for key in &lost.signing {
                print::line(&format!("{} signing key {} given up", key.apex, key.tag));
            }
            for name in &lost.tsig {
                print::line(&format!("TSIG key {name} given up"));
            }
            print::line(&format!("{} given up", lost.lost_words()));
        }
        Store::Verify { cut, data_dir } => {
            if cut
                && let Some((last, aside)) =
                    crate::store::cut(&data_dir).map_err(|error| run::chain(&error))?
            {
                print::line(&format!(
                    "the log ends with record {} now; what stood behind it is in {}",
                    last.0,
                    aside.display()
                ));
            }
            let report = crate::store::verify(&data_dir).map_err(|error| run::chain(&error))?;
            print::line(&report.to_string());
            if !report.is_sound() {
                return Ok(ExitCode::from(1));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
