//! `$GENERATE`: one line that stands for many, as BIND understands it.

use super::read::Wrong;
use crate::wire::rdata::scan::{Scanner, Token};

/// The widest a generated number may be padded: longer is no label.
const WIDTH_MAX: usize = 63;

/// The greatest number of a range.
const NUMBER_MAX: u64 = i32::MAX as u64;

/// A range and the line it is put into.
pub(super) struct Generate<'a> {
    from: u64,
    to: u64,
    step: u64,
    template: &'a [u8],
}

/// How a number is put into a line.
#[derive(Clone, Copy)]
struct Modifier {
    offset: i64,
    width: usize,
    base: u8,
}

impl<'a> Generate<'a> {
    /// Reads what stands behind `$GENERATE`.
    pub(super) fn read(name: Token<'_>, scanner: &mut Scanner<'a>) -> Result<Generate<'a>, Wrong> {
        let missing = || Wrong::new(name.at, "$GENERATE needs a range, an owner, a type and data");
        let range = scanner.token()?.ok_or_else(missing)?;
        let (from, to, step) = read_range(range.text).ok_or_else(|| {
            let what =
                "range of $GENERATE is not `first-last` or `first-last/step`, first at most last";
            Wrong::new(range.at, what)
        })?;
        let first = scanner.token()?.ok_or_else(missing)?;
        let mut end = first.at + first.text.len();
        while scanner.token()?.is_some() {
            end = scanner.at();
        }
        let template = scanner.taken(first.at, end);
        Ok(Generate { from, to, step, template })
    }

    /// How many lines it makes.
    pub(super) fn count(&self) -> u64 {
        (self.to - self.from) / self.step + 1
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> + use<> {
        let (from, step) = (self.from, self.step);
        (0..self.count()).map(move |position| from + position * step)
    }

    /// Appends the line that `number` makes.
    pub(super) fn line(&self, number: u64, line: &mut Vec<u8>) -> Result<(), Wrong> {
        let mut rest = self.template;
        while let Some((&octet, after)) = rest.split_first() {
            rest = after;
            match (octet, after.first()) {
                // Whatever is escaped stays so, a dollar too.
                (b'\\', Some(&next)) => {
                    line.extend_from_slice(&[b'\\', next]);
                    rest = after.get(1..).unwrap_or_default();
                }
                (b'$', Some(b'$')) => {
                    line.extend_from_slice(b"\\$");
                    rest = after.get(1..).unwrap_or_default();
                }
                (b'$', Some(b'{')) => {
                    let wrong = || {
                        Wrong::new(
                            0,
                            "modifier of $GENERATE is not ${offset}, ${offset,width} or ${offset,width,base}, base one of d o x X n N",
                        )
                    };
                    let close = after.iter().position(|&octet| octet == b'}').ok_or_else(wrong)?;
                    let modifier = after.get(1..close).and_then(read_modifier).ok_or_else(wrong)?;
                    push_number(number, modifier, line)?;
                    rest = after.get(close + 1..).unwrap_or_default();
                }
                (b'$', _) => {
                    push_number(number, Modifier { offset: 0, width: 0, base: b'd' }, line)?
                }
                (plain, _) => line.push(plain),
            }
        }
        Ok(())
    }
}

fn read_range(text: &[u8]) -> Option<(u64, u64, u64)> {
    let text = std::str::from_utf8(text).ok()?;
    let (range, step) = match text.split_once('/') {
        Some((range, step)) => (range, step.parse().ok()?),
        None => (text, 1),
    };
    let (from, to) = range.split_once('-')?;
    let (from, to): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
    (from <= to && to <= NUMBER_MAX && (1..=NUMBER_MAX).contains(&step)).then_some((from, to, step))
}

fn read_modifier(text: &[u8]) -> Option<Modifier> {
    let mut parts = std::str::from_utf8(text).ok()?.split(',').map(str::trim);
    let offset: i64 = parts.next()?.parse().ok()?;
    let width = parts.next().map_or(Some(0), |width| width.parse().ok())?;
    let base = match parts.next().unwrap_or("d").as_bytes() {
        &[base] if b"doxXnN".contains(&base) => base,
        _ => return None,
    };
    let fits = parts.next().is_none() && width <= WIDTH_MAX && offset.unsigned_abs() <= NUMBER_MAX;
    fits.then_some(Modifier { offset, width, base })
}

fn push_number(number: u64, modifier: Modifier, line: &mut Vec<u8>) -> Result<(), Wrong> {
    let value = number as i64 + modifier.offset;
    let Ok(value) = u64::try_from(value) else {
        return Err(Wrong::new(
            0,
            format!("offset of $GENERATE makes {value} of {number}: it must not be negative"),
        ));
    };
    let width = modifier.width;
    let text = match modifier.base {
        b'o' => format!("{value:0width$o}"),
        b'x' => format!("{value:0width$x}"),
        b'X' => format!("{value:0width$X}"),
        b'n' => nibbles(value, width, false),
        b'N' => nibbles(value, width, true),
        _ => format!("{value:0width$}"),
    };
    line.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Hexadecimal digits, last first, each a label; `width` counts the dots between them.
fn nibbles(value: u64, width: usize, upper: bool) -> String {
    let (mut value, mut text) = (value, String::new());
    loop {
        let digit = char::from_digit((value & 0xF) as u32, 16).unwrap_or('0');
        text.push(if upper { digit.to_ascii_uppercase() } else { digit });
        value >>= 4;
        if value == 0 && text.len() + 1 >= width {
            return text;
        }
        text.push('.');
    }
}
