//! A moment: microseconds since 1970 in UTC, the resolution in which orders are timed.
//!
//! As text it is [RFC 3339] with six digits behind the second and `Z`. Reading takes any number of
//! digits up to six. Leap seconds do not exist here: the system clock smears or repeats them.
//!
//! [RFC 3339]: https://www.rfc-editor.org/rfc/rfc3339

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const DAY_S: u64 = 86_400;

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

/// The text is not a moment as RFC 3339 writes it, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadTimestamp;

impl fmt::Display for BadTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("time is not written as 2026-01-31T23:59:59Z (RFC 3339, UTC)")
    }
}

impl std::error::Error for BadTimestamp {}

impl Timestamp {
    /// What the system clock says.
    pub fn now() -> Timestamp {
        Timestamp::from(SystemTime::now())
    }

    /// This moment `seconds` later.
    #[must_use]
    pub fn plus_s(self, seconds: u64) -> Timestamp {
        Timestamp(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The year of the common era.
    pub fn year(self) -> u64 {
        civil(self.0 / 1_000_000 / DAY_S).0
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Timestamp {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

/// Year, month and day of the `days`-th day since 1970, by the proleptic Gregorian calendar.
///
/// Years are counted from March, so that the leap day is the last one; 719 468 days lie between
/// the 1st of March of year 0 and 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The inverse of [`civil`].
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = year.checked_sub(u64::from(month <= 2))?;
    let (era, year_of_era) = (year / 400, year % 400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.0 / 1_000_000, self.0 % 1_000_000);
        let (year, month, day) = civil(seconds / DAY_S);
        let (hour, minute) = (seconds / 3_600 % 24, seconds / 60 % 60);
        let second = seconds % 60;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = BadTimestamp;

    fn from_str(text: &str) -> Result<Timestamp, BadTimestamp> {
        parse(text).ok_or(BadTimestamp)
    }
}

fn parse(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix(['Z', 'z']).or_else(|| text.strip_suffix("+00:00"))?;
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let (mut date, mut time) = (date.splitn(3, '-'), time.splitn(3, ':'));
    let (year, month, day) = (digits(date.next()?, 4)?, digits(date.next()?, 2)?, date.next()?);
    let day = digits(day, 2)?;
    let (hour, minute) = (digits(time.next()?, 2)?, digits(time.next()?, 2)?);
    let second = digits(time.next()?, 2)?;
    if hour > 23 || minute > 59 || second > 59 || !(1..=12).contains(&month) {
        return None;
    }
    let days = days_since_1970(year, month, day.max(1))?;
    if day == 0 || civil(days) != (year, month, day) || fraction.len() > 6 {
        return None;
    }
    let micros = match fraction {
        "" => 0,
        some => digits(some, some.len())? * 10u64.pow(6 - some.len() as u32),
    };
    Some(Timestamp((days * DAY_S + hour * 3_600 + minute * 60 + second) * 1_000_000 + micros))
}

fn digits(text: &str, count: usize) -> Option<u64> {
    let plain = text.len() == count && text.bytes().all(|octet| octet.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// Text for people, the number for the store.
impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.collect_str(self),
            false => serializer.serialize_u64(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        match deserializer.is_human_readable() {
            true => String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom),
            false => u64::deserialize(deserializer).map(Timestamp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_survive_the_round_trip_through_text() {
        for micros in [0, 1, 951_782_400_000_000, 1_795_291_200_123_456, 4_102_444_799_999_999] {
            let moment = Timestamp(micros);
            assert_eq!(moment.to_string().parse(), Ok(moment));
        }
        assert_eq!(Timestamp(951_782_400_000_000).to_string(), "2000-02-29T00:00:00.000000Z");
    }

    #[test]
    fn what_is_no_day_or_not_utc_is_refused() {
        for text in [
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00+01:00",
            "2026-01-01T00:00:00.1234567Z",
            "2026-01-01",
            "",
            "+026-01-01T00:00:00Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(BadTimestamp), "{text}");
        }
        assert_eq!("2026-01-01T00:00:00.5Z".parse::<Timestamp>().map(|t| t.year()), Ok(2026));
    }
}
