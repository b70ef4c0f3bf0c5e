//! The handbook.

#[doc = include_str!("architecture.md")]
pub mod architecture {}
#[doc = include_str!("decisions.md")]
pub mod decisions {}
#[doc = include_str!("operating.md")]
pub mod operating {}
#[doc = include_str!("rfc.md")]
pub mod rfc {}
#[doc = include_str!("settings.md")]
pub mod settings {}
#[doc = include_str!("zone_files.md")]
pub mod zone_files {}

#[cfg(test)]
mod tests {
    /// `NAMEPLANE_WRITE=1 cargo test manual` writes the page.
    #[test]
    fn the_reference_of_settings_is_what_the_code_says() {
        let page = format!(
            "# Settings\n\nEvery key of the settings file, all optional; an unknown key is refused. Flags win over the file.\n{}",
            crate::config::reference()
        );
        let path = "src/manual/settings.md";
        if std::env::var_os("NAMEPLANE_WRITE").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), page);
    }
}
