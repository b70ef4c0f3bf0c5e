//! Tokens of presentation format ([RFC 1035] §5.1): what zone files and single records are made of.
//!
//! A token is a slice of the input as written, escapes undecoded: whoever takes it knows whether it
//! is a name, a string or a number. Parentheses join lines; comments vanish.
//!
//! [RFC 1035]: https://www.rfc-editor.org/rfc/rfc1035

use std::fmt;

/// One token, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// Without its quotes, if it had any.
    pub text: &'a [u8],
    /// Whether it stood in quotes.
    pub quoted: bool,
    /// Whether it holds a backslash.
    pub escaped: bool,
    /// Octets from the start of the input.
    pub at: usize,
}

/// Why the input cannot be cut into tokens. The writer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanFault {
    /// A line ends inside a quoted string.
    UnclosedQuote,
    /// The input ends inside parentheses.
    UnclosedParenthesis,
    /// A closing parenthesis without an opening one.
    StrayParenthesis,
}

impl fmt::Display for ScanFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ScanFault::UnclosedQuote => {
                "quoted string is not closed in its line: add the missing \""
            }
            ScanFault::UnclosedParenthesis => {
                "parenthesis is never closed, so everything behind it was not read: add the missing )"
            }
            ScanFault::StrayParenthesis => "closing parenthesis has no opening one: remove it",
        })
    }
}

/// A [`ScanFault`] and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanError {
    /// Octets from the start of the input.
    pub at: usize,
    pub fault: ScanFault,
}

/// Cuts input into tokens, one entry at a time.
#[derive(Debug, Clone)]
pub struct Scanner<'a> {
    input: &'a [u8],
    at: usize,
    /// Where the parentheses that are open were opened; the first decides what is reported.
    opened_at: usize,
    depth: u32,
}

/// What an octet means to the scanner.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Octet {
    Plain,
    Blank,
    Newline,
    Comment,
    Open,
    Close,
    Quote,
    Escape,
}

static OCTETS: [Octet; 256] = {
    let mut octets = [Octet::Plain; 256];
    octets[b' ' as usize] = Octet::Blank;
    octets[b'\t' as usize] = Octet::Blank;
    octets[b'\r' as usize] = Octet::Blank;
    octets[b'\n' as usize] = Octet::Newline;
    octets[b';' as usize] = Octet::Comment;
    octets[b'(' as usize] = Octet::Open;
    octets[b')' as usize] = Octet::Close;
    octets[b'"' as usize] = Octet::Quote;
    octets[b'\\' as usize] = Octet::Escape;
    octets
};

impl<'a> Scanner<'a> {
    /// Starts at the first octet of `input`.
    pub fn new(input: &'a [u8]) -> Scanner<'a> {
        Scanner { input, at: 0, opened_at: 0, depth: 0 }
    }

    /// Octets taken so far.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Whether the next token may be `\\#`: false is sure, true is not.
    #[inline]
    pub fn may_be_generic(&mut self) -> bool {
        while self.at_blank() {
            self.at += 1;
        }
        let next = self.input.get(self.at).map(|&octet| OCTETS[usize::from(octet)]);
        !matches!(next, Some(Octet::Plain | Octet::Quote))
    }

    /// Passes over so many octets unseen.
    pub fn skip(&mut self, octets: usize) {
        self.at = (self.at + octets).min(self.input.len());
    }

    /// The input from one place to another, as written.
    pub fn taken(&self, from: usize, to: usize) -> &'a [u8] {
        self.input.get(from..to).unwrap_or_default()
    }

    /// Whether the next octet is a blank: at the start of an entry, that its owner is left out.
    pub fn at_blank(&self) -> bool {
        matches!(self.input.get(self.at), Some(b' ' | b'\t'))
    }

    /// Whether nothing is left.
    pub fn at_end(&self) -> bool {
        self.at >= self.input.len()
    }

    /// The next token of this entry; none at its end, which is the end of a line outside parentheses.
    ///
    /// # Errors
    ///
    /// [`ScanError`]; [`next_entry`](Scanner::next_entry) goes on behind it.
    #[inline]
    pub fn token(&mut self) -> Result<Option<Token<'a>>, ScanError> {
        loop {
            let Some(&octet) = self.input.get(self.at) else {
                if self.depth > 0 {
                    self.depth = 0;
                    return Err(self.fault(self.opened_at, ScanFault::UnclosedParenthesis));
                }
                return Ok(None);
            };
            match OCTETS[usize::from(octet)] {
                Octet::Blank => self.at += 1,
                Octet::Plain | Octet::Escape => return self.bare().map(Some),
                Octet::Newline if self.depth == 0 => return Ok(None),
                Octet::Newline => self.at += 1,
                Octet::Comment => self.skip_line(),
                Octet::Open => {
                    if self.depth == 0 {
                        self.opened_at = self.at;
                    }
                    self.depth += 1;
                    self.at += 1;
                }
                Octet::Close => {
                    let at = self.at;
                    self.at += 1;
                    self.depth = self
                        .depth
                        .checked_sub(1)
                        .ok_or(self.fault(at, ScanFault::StrayParenthesis))?;
                }
                Octet::Quote => return self.quoted().map(Some),
            }
        }
    }

    /// Goes behind the end of this entry, whatever is left of it.
    ///
    /// # Errors
    ///
    /// [`ScanError`] when there is no end.
    pub fn next_entry(&mut self) -> Result<(), ScanError> {
        let mut first = None;
        loop {
            match self.token() {
                Ok(Some(_)) => {}
                Ok(None) => {
                    self.at += usize::from(!self.at_end());
                    return first.map_or(Ok(()), Err);
                }
                Err(error) => first = first.or(Some(error)),
            }
        }
    }

    fn bare(&mut self) -> Result<Token<'a>, ScanError> {
        let from = self.at;
        let mut escaped = false;
        loop {
            let rest = self.input.get(self.at..).unwrap_or_default();
            let plain = |octet: &u8| OCTETS[usize::from(*octet)] == Octet::Plain;
            self.at += rest.iter().position(|octet| !plain(octet)).unwrap_or(rest.len());
            let Some(&octet) = self.input.get(self.at) else { break };
            match OCTETS[usize::from(octet)] {
                Octet::Escape => {
                    escaped = true;
                    // A line end is never escaped: it would hide the next record.
                    let newline = matches!(self.input.get(self.at + 1), None | Some(b'\n' | b'\r'));
                    self.at += if newline { 1 } else { 2 };
                }
                // key="a value": the quotes stay in the token, as SvcParams have them.
                Octet::Quote if self.at > from && self.input.get(self.at - 1) == Some(&b'=') => {
                    escaped |= self.quoted()?.escaped;
                }
                _ => break,
            }
        }
        let text = self.input.get(from..self.at).unwrap_or_default();
        Ok(Token { text, quoted: false, escaped, at: from })
    }

    fn quoted(&mut self) -> Result<Token<'a>, ScanError> {
        let at = self.at;
        self.at += 1;
        let mut escaped = false;
        while let Some(&octet) = self.input.get(self.at) {
            match octet {
                b'"' => {
                    let text = self.input.get(at + 1..self.at).unwrap_or_default();
                    self.at += 1;
                    return Ok(Token { text, quoted: true, escaped, at });
                }
                b'\n' => break,
                b'\\' => {
                    escaped = true;
                    let newline = matches!(self.input.get(self.at + 1), None | Some(b'\n'));
                    self.at += if newline { 1 } else { 2 };
                }
                _ => self.at += 1,
            }
        }
        Err(self.fault(at, ScanFault::UnclosedQuote))
    }

    fn skip_line(&mut self) {
        let rest = self.input.get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(|&octet| octet == b'\n').unwrap_or(rest.len());
    }

    fn fault(&self, at: usize, fault: ScanFault) -> ScanError {
        ScanError { at, fault }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<String> {
        let mut scanner = Scanner::new(text.as_bytes());
        let mut found = Vec::new();
        while let Some(token) = scanner.token().unwrap() {
            found.push(String::from_utf8_lossy(token.text).into_owned());
        }
        found
    }

    #[test]
    fn parentheses_join_lines_and_comments_vanish() {
        assert_eq!(tokens("a ( b ; no\n c\r\n) d ; e\nf"), ["a", "b", "c", "d"]);
        assert_eq!(tokens("a(b)c"), ["a", "b", "c"]);
    }

    #[test]
    fn quotes_and_escapes_hide_what_would_end_a_token() {
        assert_eq!(tokens(r#""a ;( b" c\ d\;"#), ["a ;( b", r"c\ d\;"]);
        assert_eq!(tokens(r#"alpn="h2, h3" x"#), [r#"alpn="h2, h3""#, "x"]);
        assert_eq!(tokens(r#""a""b" """#), ["a", "b", ""]);
    }

    #[test]
    fn what_is_not_closed_is_reported_where_it_opened() {
        let mut scanner = Scanner::new(b"a \"b\nc");
        scanner.token().unwrap();
        let error = scanner.token().unwrap_err();
        assert_eq!(error, ScanError { at: 2, fault: ScanFault::UnclosedQuote });

        let mut scanner = Scanner::new(b"a ( b\nc");
        let error = scanner.next_entry().unwrap_err();
        assert_eq!(error, ScanError { at: 2, fault: ScanFault::UnclosedParenthesis });

        let mut scanner = Scanner::new(b"a ) b\nc");
        let error = scanner.next_entry().unwrap_err();
        assert_eq!(error, ScanError { at: 2, fault: ScanFault::StrayParenthesis });
        assert_eq!(scanner.token().unwrap().unwrap().text, b"c");
    }

    #[test]
    fn a_backslash_at_the_end_of_a_line_joins_nothing() {
        let mut scanner = Scanner::new(b"a\\\nb");
        assert_eq!(scanner.token().unwrap().unwrap().text, b"a\\");
        assert_eq!(scanner.token().unwrap(), None);
    }
}
