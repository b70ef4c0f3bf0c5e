//! From text to types: JSON bodies, query and path parameters, each fault with its place.

use axum::extract::rejection::QueryRejection;
use serde::de::value::{Error as ValueError, MapDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Visitor};
use serde_path_to_error::{Path, Segment};

use super::problem::{Fault, Kind, Problem};

/// Reads a body. A field that nobody knows is refused by its name: a typing error in an optional
/// field would else be silently ignored.
///
/// # Errors
///
/// [`Kind::Malformed`] when it is not JSON; [`Kind::Invalid`] with a pointer when it is another form.
pub fn from_json<T: DeserializeOwned>(octets: &[u8]) -> Result<T, Problem> {
    if octets.is_empty() {
        return Err(Problem::new(
            Kind::Malformed,
            "the route needs a body of type application/json",
        ));
    }
    let mut json = serde_json::Deserializer::from_slice(octets);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let pointer = pointer_of(error.path());
        json_fault(error.into_inner(), pointer)
    })?;
    json.end().map_err(|error| json_fault(error, String::new()))?;
    Ok(value)
}

fn json_fault(error: serde_json::Error, pointer: String) -> Problem {
    let (line, column) = (Some(error.line()), Some(error.column()));
    let text = error.to_string();
    let detail = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what).to_owned();
    let fault = Fault { pointer: Some(pointer), line, column, detail, ..Fault::default() };
    match error.is_data() {
        true => Problem::invalid("the body is not of the form this route takes", vec![fault]),
        false => Problem::new(Kind::Malformed, "the body is not JSON").with_errors(vec![fault]),
    }
}

/// A path into a document as JSON Pointer.
fn pointer_of(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => {
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

/// What is wrong with a query.
pub fn query_fault(rejection: QueryRejection) -> Problem {
    let text = rejection.body_text();
    let detail = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
    // "limit: invalid digit found in string", "unknown field `x`, expected one of …"
    let name = match detail.split_once(": ") {
        Some((name, _)) if !name.contains(' ') => name,
        _ => detail.split('`').nth(1).unwrap_or_default(),
    };
    Problem::parameter(Kind::Malformed, name, format!("query: {detail}"))
}

/// Reads the parameters of a path. What is not even of the form of a name or id is not there.
///
/// # Errors
///
/// [`Kind::NotFound`].
pub fn path_of<T: DeserializeOwned>(parameters: Vec<(String, String)>) -> Result<T, Problem> {
    let parameters = parameters.into_iter().map(|(name, text)| (name, Parameter(text)));
    let parameters = MapDeserializer::<_, ValueError>::new(parameters);
    T::deserialize(parameters).map_err(|_| Problem::not_found())
}

/// One parameter of a path: text, or the number it says.
struct Parameter(String);

impl IntoDeserializer<'_, ValueError> for Parameter {
    type Deserializer = Parameter;

    fn into_deserializer(self) -> Parameter {
        self
    }
}

impl Parameter {
    fn number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        let is_plain = self.0.bytes().all(|octet| octet.is_ascii_digit());
        let number = self.0.parse().ok().filter(|_| is_plain);
        visitor.visit_u64(number.ok_or_else(|| ValueError::custom("no number"))?)
    }
}

impl<'de> Deserializer<'de> for Parameter {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_string(self.0)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.number(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.number(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.number(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        items: Vec<Item>,
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Item {
        ttl: u32,
    }

    fn fault(body: &str) -> (Kind, Fault) {
        let problem = from_json::<Body>(body.as_bytes()).unwrap_err();
        (problem.kind(), problem.errors()[0].clone())
    }

    #[test]
    fn a_fault_points_at_its_place() {
        let (kind, fault) = fault(r#"{"items":[{"ttl":1},{"ttl":"x"}]}"#);
        assert_eq!((kind, fault.pointer.as_deref()), (Kind::Invalid, Some("/items/1/ttl")));
        assert_eq!((fault.line, fault.column), (Some(1), Some(30)));
    }

    #[test]
    fn an_unknown_field_is_refused_by_name() {
        let (kind, fault) = fault(r#"{"items":[{"ttl":1,"tll":2}]}"#);
        assert_eq!(kind, Kind::Invalid);
        assert!(fault.detail.contains("unknown field `tll`"), "{fault:?}");
        assert_eq!(fault.pointer.as_deref(), Some("/items/0/tll"));
    }

    #[test]
    fn what_is_not_json_or_goes_on_behind_it_is_malformed() {
        for body in ["{", "{]", "{\"items\":[]} x", "nope"] {
            assert_eq!(fault(body).0, Kind::Malformed, "{body}");
        }
        assert_eq!(from_json::<Body>(b"").unwrap_err().kind(), Kind::Malformed);
    }

    #[test]
    fn a_number_in_a_path_is_read_and_what_is_none_is_not_there() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Place {
            zone: String,
            tag: u16,
        }
        let read = |tag: &str| {
            let parameters = [("zone", "a."), ("tag", tag)];
            path_of::<Place>(parameters.map(|(name, text)| (name.into(), text.into())).into())
        };
        assert_eq!(read("4711").unwrap(), Place { zone: "a.".into(), tag: 4711 });
        for odd in ["", "+1", "-1", "65536", "1a"] {
            assert_eq!(read(odd).unwrap_err().kind(), Kind::NotFound, "{odd}");
        }
    }

    #[test]
    fn a_document_too_deep_is_refused() {
        let deep = "[".repeat(100_000);
        assert_eq!(
            from_json::<serde_json::Value>(deep.as_bytes()).unwrap_err().kind(),
            Kind::Malformed
        );
    }
}
