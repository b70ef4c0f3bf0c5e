//! Conditions on versions: `If-Match` and `If-None-Match` ([RFC 9110] §13.1).
//!
//! [RFC 9110]: https://www.rfc-editor.org/rfc/rfc9110

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::Response;

use super::problem::{Kind, Problem};

/// The versions a request names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

/// A list of tags, as sent.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    Any,
    These(Vec<String>),
}

impl Tags {
    fn of(headers: &HeaderMap, name: HeaderName) -> Result<Option<Tags>, Problem> {
        let mut tags = Vec::new();
        for field in headers.get_all(&name) {
            let wrong = || {
                let detail = format!("{name} is a list of tags in double quotes, or *");
                Problem::parameter(Kind::Malformed, name.as_str(), detail)
            };
            let text = field.to_str().map_err(|_| wrong())?.trim();
            if text == "*" {
                return Ok(Some(Tags::Any));
            }
            for tag in text.split(',').map(str::trim) {
                let bare = tag.strip_prefix("W/").unwrap_or(tag);
                let quoted = bare.len() >= 2 && bare.starts_with('"') && bare.ends_with('"');
                if !quoted {
                    return Err(wrong());
                }
                tags.push(tag.to_owned());
            }
        }
        Ok((!tags.is_empty()).then_some(Tags::These(tags)))
    }

    fn names(&self, tag: &str, weakly: bool) -> bool {
        match self {
            Tags::Any => true,
            Tags::These(tags) => tags.iter().any(|ours| {
                ours == tag || (weakly && ours.strip_prefix("W/").is_some_and(|ours| ours == tag))
            }),
        }
    }
}

impl Condition {
    /// The condition of a request; none at all is fine with everything.
    ///
    /// # Errors
    ///
    /// A problem when the fields are not lists of tags.
    pub fn of(headers: &HeaderMap) -> Result<Condition, Problem> {
        Ok(Condition {
            if_match: Tags::of(headers, header::IF_MATCH)?,
            if_none_match: Tags::of(headers, header::IF_NONE_MATCH)?,
        })
    }

    /// Whether the request names a version at all.
    pub fn is_given(&self) -> bool {
        self.if_match.is_some() || self.if_none_match.is_some()
    }

    /// Lets a change pass if what is there, `current`, is what the request names.
    ///
    /// # Errors
    ///
    /// [`Kind::StaleVersion`] when it is not: read it again, then ask again.
    pub fn check(&self, current: Option<&str>) -> Result<(), Problem> {
        let stale = |detail: String| Err(Problem::new(Kind::StaleVersion, detail));
        if let Some(wanted) = &self.if_match {
            match current {
                None => return stale("it is not there any more".into()),
                Some(tag) if !wanted.names(tag, false) => {
                    return stale(format!("its version is {tag} now: read it again"));
                }
                Some(_) => {}
            }
        }
        match (&self.if_none_match, current) {
            (Some(unwanted), Some(tag)) if unwanted.names(tag, true) => {
                stale(format!("it is there already, at version {tag}"))
            }
            _ => Ok(()),
        }
    }

    /// Spares the body of a response whose version the caller has.
    pub(super) fn spare(&self, mut response: Response) -> Response {
        let tag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
        let has = |tag| self.if_none_match.as_ref().is_some_and(|tags| tags.names(tag, true));
        if response.status() == StatusCode::OK && tag.is_some_and(has) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Body::empty();
            response.headers_mut().remove(header::CONTENT_TYPE);
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn condition(fields: &[(HeaderName, &'static str)]) -> Condition {
        let fields =
            fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        Condition::of(&fields.collect()).unwrap()
    }

    #[test]
    fn if_match_passes_only_the_version_it_names() {
        let seen = condition(&[(header::IF_MATCH, "\"7\", \"8\"")]);
        assert!(seen.check(Some("\"8\"")).is_ok());
        assert!(seen.check(Some("\"9\"")).is_err());
        assert!(seen.check(None).is_err());
        assert!(condition(&[(header::IF_MATCH, "*")]).check(Some("\"9\"")).is_ok());
        assert!(condition(&[(header::IF_MATCH, "W/\"7\"")]).check(Some("\"7\"")).is_err());
    }

    #[test]
    fn if_none_match_star_passes_only_what_is_not_there() {
        let new = condition(&[(header::IF_NONE_MATCH, "*")]);
        assert!(new.check(None).is_ok());
        assert!(new.check(Some("\"1\"")).is_err());
    }

    #[test]
    fn what_is_no_tag_is_refused() {
        let fields = [(header::IF_MATCH, HeaderValue::from_static("7"))];
        assert!(Condition::of(&fields.into_iter().collect()).is_err());
    }

    #[test]
    fn a_body_the_caller_has_is_spared() {
        let response = || {
            let mut response = Response::new(Body::from("x"));
            response.headers_mut().insert(header::ETAG, HeaderValue::from_static("\"7\""));
            response
        };
        let has = condition(&[(header::IF_NONE_MATCH, "W/\"7\"")]);
        assert_eq!(has.spare(response()).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(Condition::default().spare(response()).status(), StatusCode::OK);
    }
}
