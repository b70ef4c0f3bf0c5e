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

/// Octets that are looked at together.
const WORD_OCTETS: usize = size_of::<u64>();

/// This octet, in each place of a word.
const fn each(octet: u8) -> u64 {
    u64::from_ne_bytes([octet; WORD_OCTETS])
}

/// How many of these octets stand in front of the first that may be other than plain.
///
/// What is not plain is below `#`, or one of four; below `#` are few others.
#[inline]
fn plain_before(octets: [u8; WORD_OCTETS]) -> usize {
    let word = u64::from_le_bytes(octets);
    // The high bit of each octet that is below another; of those behind the first such one perhaps more.
    let below = |word: u64, octet: u8| word.wrapping_sub(each(octet)) & !word;
    let is = |octet: u8| below(word ^ each(octet), 1);
    let parenthesis = below(word & each(!1) ^ each(b'('), 1);
    let found = below(word, b'#') | parenthesis | is(b';') | is(b'\\');
    ((found & each(0x80)).trailing_zeros() / u8::BITS) as usize
}

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
    // Inlined whatever its size: to hand a token on through memory costs as much as to find it.
    #[inline(always)]
    pub fn token(&mut self) -> Result<Option<Token<'a>>, ScanError> {
        // Most stand behind one blank, or are the last of their line.
        self.at += usize::from(self.input.get(self.at) == Some(&b' '));
        match self.class_at(self.at) {
            Some(Octet::Plain) => self.bare().map(Some),
            Some(Octet::Newline) if self.depth == 0 => Ok(None),
            // Taken apart: as one it would make those above be put into memory too.
            _ => match self.odd_token()? {
                Some(Token { text, quoted, escaped, at }) => {
                    Ok(Some(Token { text, quoted, escaped, at }))
                }
                None => Ok(None),
            },
        }
    }

    /// What the octet at a place means; none behind the end.
    #[inline]
    fn class_at(&self, at: usize) -> Option<Octet> {
        self.input.get(at).map(|&octet| OCTETS[usize::from(octet)])
    }

    #[inline(never)]
    fn odd_token(&mut self) -> Result<Option<Token<'a>>, ScanError> {
        loop {
            let Some(octet) = self.class_at(self.at) else {
                if self.depth > 0 {
                    self.depth = 0;
                    return Err(self.fault(self.opened_at, ScanFault::UnclosedParenthesis));
                }
                return Ok(None);
            };
            match octet {
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
    #[inline]
    pub fn next_entry(&mut self) -> Result<(), ScanError> {
        // Whoever took all tokens left the scanner here.
        if self.depth == 0 && self.class_at(self.at) == Some(Octet::Newline) {
            self.at += 1;
            return Ok(());
        }
        self.skip_entry()
    }

    fn skip_entry(&mut self) -> Result<(), ScanError> {
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

    #[inline(always)]
    fn bare(&mut self) -> Result<Token<'a>, ScanError> {
        let from = self.at;
        self.at = self.plain_end(from);
        match self.class_at(self.at) {
            Some(Octet::Escape | Octet::Quote) => {
                let Token { text, quoted, escaped, at } = self.odd_bare(from)?;
                Ok(Token { text, quoted, escaped, at })
            }
            _ => Ok(self.bare_from(from, false)),
        }
    }

    /// The token from `from` to here.
    #[inline]
    fn bare_from(&self, from: usize, escaped: bool) -> Token<'a> {
        let text = self.input.get(from..self.at).unwrap_or_default();
        Token { text, quoted: false, escaped, at: from }
    }

    /// Reads on where a token that begins at `from` has a backslash, or a quote, which may end it.
    #[inline(never)]
    fn odd_bare(&mut self, from: usize) -> Result<Token<'a>, ScanError> {
        let mut escaped = false;
        loop {
            match self.class_at(self.at) {
                Some(Octet::Escape) => {
                    escaped = true;
                    // A line end is never escaped: it would hide the next record.
                    let newline = matches!(self.input.get(self.at + 1), None | Some(b'\n' | b'\r'));
                    self.at += if newline { 1 } else { 2 };
                }
                // key="a value": the quotes stay in the token, as SvcParams have them.
                Some(Octet::Quote)
                    if self.at > from && self.input.get(self.at - 1) == Some(&b'=') =>
                {
                    escaped |= self.quoted()?.escaped;
                }
                _ => return Ok(self.bare_from(from, escaped)),
            }
            self.at = self.plain_end(self.at);
        }
    }

    /// Where the plain octets end that stand from `at` on.
    #[inline]
    fn plain_end(&self, mut at: usize) -> usize {
        while let Some(octets) = self.input.get(at..).and_then(|rest| rest.first_chunk()) {
            let plain = plain_before(*octets);
            at += plain;
            if plain < WORD_OCTETS {
                if self.class_at(at) != Some(Octet::Plain) {
                    return at;
                }
                at += 1;
            }
        }
        let rest = self.input.get(at..).unwrap_or_default();
        let plain = |octet: &u8| OCTETS[usize::from(*octet)] == Octet::Plain;
        at + rest.iter().position(|octet| !plain(octet)).unwrap_or(rest.len())
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
    fn a_token_ends_at_the_same_octets_wherever_they_stand() {
        for octet in 0..=u8::MAX {
            for (before, behind) in (1..20).flat_map(|before| [0, 3, 20].map(|n| (before, n))) {
                let text = [vec![b'a'; before], vec![octet], vec![b'b'; behind]].concat();
                let token = Scanner::new(&text).token().unwrap().unwrap();
                let goes_on = matches!(OCTETS[usize::from(octet)], Octet::Plain | Octet::Escape);
                let wanted = if goes_on { text.len() } else { before };
                assert_eq!(token.text.len(), wanted, "{octet:#x} behind {before}");
            }
        }
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
