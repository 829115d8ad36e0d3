//! The syntax of `server.properties`: Java's .properties files, as `java.util.Properties` reads a stream of bytes.
//! It must never know what the keys mean.

/// A line that cannot be parsed, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    pub line: usize,
    pub what: &'static str,
}

/// The pairs in the order of the file. A repeated key is listed each time; the last one counts.
///
/// A byte is a character of ISO-8859-1. A file in another encoding is read all the same; `\u` escapes stand for other
/// characters. Half of a surrogate pair becomes `?`, as when Java prints such a text.
pub fn parse(bytes: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
    let mut lines = Lines { bytes, at: 0, line: 1 };
    let mut pairs = Vec::new();
    while let Some(logical) = lines.next() {
        let malformed = |what| Malformed { line: logical.line, what };
        let (key, value) = split(&logical.text);
        pairs.push((unescaped(key).map_err(malformed)?, unescaped(value).map_err(malformed)?));
    }
    Ok(pairs)
}

/// Iterates over the logical lines: comments and empty lines are skipped, continued lines are joined.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The number of the line with the byte at `at`, from 1.
    line: usize,
}

struct Logical {
    text: Vec<u8>,
    /// The line where it begins.
    line: usize,
}

impl Lines<'_> {
    fn next(&mut self) -> Option<Logical> {
        let mut logical = Logical { text: Vec::new(), line: self.line };
        loop {
            self.skip_blanks();
            if logical.text.is_empty() {
                logical.line = self.line;
                if matches!(self.bytes.get(self.at), Some(b'#' | b'!')) {
                    self.take_line();
                    self.take_terminator();
                    continue;
                }
            }
            let line = self.take_line();
            logical.text.extend_from_slice(line);
            let continues = ends_with_escape(line);
            if continues {
                logical.text.pop();
            }
            let terminator = self.take_terminator();
            let ended = self.at == self.bytes.len();
            // A lone backslash that only a CR or LF follows is a pair: the empty key with the empty value.
            if continues && !(ended && terminator < 2) {
                continue;
            }
            if continues || !logical.text.is_empty() {
                return Some(logical);
            }
            if ended {
                return None;
            }
        }
    }

    fn skip_blanks(&mut self) {
        self.at += self.bytes[self.at..].iter().take_while(|byte| is_blank(**byte)).count();
    }

    // The rest of the line, without its terminator.
    fn take_line(&mut self) -> &[u8] {
        let rest = &self.bytes[self.at..];
        let line = &rest[..rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len())];
        self.at += line.len();
        line
    }

    // Skips the line's terminator and returns its number of bytes: 0 at the end of the file.
    fn take_terminator(&mut self) -> usize {
        let bytes = match self.bytes[self.at..] {
            [b'\r', b'\n', ..] => 2,
            [b'\r' | b'\n', ..] => 1,
            _ => 0,
        };
        self.at += bytes;
        self.line += usize::from(bytes > 0);
        bytes
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\x0c')
}

// With an odd number of backslashes at the end, the last one is not escaped itself.
fn ends_with_escape(line: &[u8]) -> bool {
    line.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

// The key ends at the first unescaped blank, `=` or `:`. Blanks around one such sign belong to neither key nor value.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let mut escaped = false;
    let end = line.iter().position(|byte| {
        let ends = !escaped && (matches!(byte, b'=' | b':') || is_blank(*byte));
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = without_blanks(rest);
    let rest = rest.strip_prefix(b"=").or_else(|| rest.strip_prefix(b":")).unwrap_or(rest);
    (key, without_blanks(rest))
}

fn without_blanks(text: &[u8]) -> &[u8] {
    &text[text.iter().take_while(|byte| is_blank(**byte)).count()..]
}

fn unescaped(text: &[u8]) -> Result<String, &'static str> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'\\' {
            units.push(u16::from(*byte));
            continue;
        }
        let Some((escape, after)) = after.split_first() else { break };
        rest = after;
        units.push(match escape {
            b't' => u16::from(b'\t'),
            b'n' => u16::from(b'\n'),
            b'r' => u16::from(b'\r'),
            b'f' => 0xc,
            b'u' => {
                let (digits, after) = after.split_at(after.len().min(4));
                rest = after;
                unit(digits).ok_or("\\u is not followed by four hexadecimal digits")?
            }
            other => u16::from(*other),
        });
    }
    // Two \u escapes may form one character.
    Ok(char::decode_utf16(units).map(|decoded| decoded.unwrap_or('?')).collect())
}

fn unit(digits: &[u8]) -> Option<u16> {
    let hex = digits.len() == 4 && digits.iter().all(u8::is_ascii_hexdigit);
    if hex { u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok() } else { None }
}
