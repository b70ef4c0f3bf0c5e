//! Moments as `YYYYMMDDHHmmSS` in UTC ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §3.2).

use std::fmt;

const DAY: u64 = 86_400;

/// Days from 1970-01-01 to the first of `month` of `year`, which is 1970 or later.
pub(in super::super) fn days_before(year: u64, month: u64) -> u64 {
    // Years counted from March, so that the leap day is the last of its year.
    let years = if month > 2 { year } else { year - 1 };
    let months = (month + 9) % 12;
    let days = years * 365 + years / 4 - years / 100 + years / 400 + (months * 153 + 2) / 5;
    days - 719_468
}

/// Writes a moment given in seconds since 1970.
pub(in super::super) fn write_moment(seconds: u64, f: &mut dyn fmt::Write) -> fmt::Result {
    let (days, second) = (seconds / DAY, seconds % DAY);
    let mut year = 1970 + days / 366;
    while days_before(year + 1, 1) <= days {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days_before(year, month + 1) <= days {
        month += 1;
    }
    let day = days - days_before(year, month) + 1;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    write!(f, "{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "19700101000000"),
            (951_782_400, "20000229000000"),
            (1_048_354_263, "20030322173103"),
            (1_767_225_599, "20251231235959"),
            (u64::from(u32::MAX), "21060207062815"),
        ] {
            let mut text = String::new();
            write_moment(seconds, &mut text).unwrap();
            assert_eq!(text, expected);
        }
    }
}
