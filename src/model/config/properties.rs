//! The syntax of `server.properties`: Java's .properties files.
//! It must never know what the keys mean.

/// A line that cannot be read, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    pub line: usize,
    pub what: &'static str,
}

/// The pairs in the order of the file. A key that comes again is there twice; the later one counts.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, Malformed> {
    let mut pairs = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, first)) = lines.next() {
        let first = first.trim_start_matches(BLANK);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = first.to_owned();
        while continues(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(BLANK));
        }
        pairs.push(pair(&logical).map_err(|what| Malformed { line: at + 1, what })?);
    }
    Ok(pairs)
}

const BLANK: [char; 3] = [' ', '\t', '\u{c}'];

// An odd number of backslashes at the end: the last one is not itself escaped.
fn continues(line: &str) -> bool {
    line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}

// The key ends at the first unescaped blank, `=` or `:`; blanks around one such sign belong to neither side.
fn pair(line: &str) -> Result<(String, String), &'static str> {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && (c == '=' || c == ':' || BLANK.contains(&c));
        escaped = c == '\\' && !escaped;
        ends
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(BLANK);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    Ok((unescaped(key)?, unescaped(rest.trim_start_matches(BLANK))?))
}

fn unescaped(text: &str) -> Result<String, &'static str> {
    if !text.contains('\\') {
        return Ok(text.to_owned());
    }
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => match chars.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    units.push(unit(&digits).ok_or("\\u is not followed by four hexadecimal digits")?);
                    continue;
                }
                Some(other) => other,
                None => break,
            },
            c => c,
        };
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    }
    // Two \u escapes may together make one character.
    String::from_utf16(&units).map_err(|_| "\\u escapes do not make a character")
}

fn unit(digits: &str) -> Option<u16> {
    let hex = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if hex { u16::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_pairs_as_java_reads_them() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let read = parse(text).unwrap_or_else(|e| panic!("{text:?}: {e:?}"));
            let read: Vec<(&str, &str)> = read.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            assert_eq!(read, expected, "{text:?}");
        };
        check("", &[]);
        check("# comment\n! comment\n   # indented comment\n\n \t \n", &[]);
        check("a=1", &[("a", "1")]);
        check("a = 1", &[("a", "1")]);
        check("a:1\nb : 2", &[("a", "1"), ("b", "2")]);
        check("a 1\nb\t2", &[("a", "1"), ("b", "2")]);
        check("a =: 1", &[("a", ": 1")]);
        check("a==1", &[("a", "=1")]);
        check("a", &[("a", "")]);
        check("a=", &[("a", "")]);
        check("=1", &[("", "1")]);
        check("  a=1  ", &[("a", "1  ")]);
        check("a=1#2", &[("a", "1#2")]);
        check("a=1\r\nb=2\r\n", &[("a", "1"), ("b", "2")]);
        check("a=1\na=2", &[("a", "1"), ("a", "2")]);
        check("a=1,\\\n   2,\\\n\t3\nb=4", &[("a", "1,2,3"), ("b", "4")]);
        check("a=1\\\\\nb=2", &[("a", "1\\"), ("b", "2")]);
        check("a=1\\\n# still a", &[("a", "1# still a")]);
        check("a=1\\", &[("a", "1")]);
        check("a\\ b=1\na\\=b=2\na\\:b:3", &[("a b", "1"), ("a=b", "2"), ("a:b", "3")]);
        check("a=\\t\\n\\r\\f\\q\\\\", &[("a", "\t\n\r\u{c}q\\")]);
        check("a=\\u00e9\\u20AC\\uD83D\\uDE00", &[("a", "é€😀")]);
        check("a=é", &[("a", "é")]);
        check(
            "listeners=PLAINTEXT://:9092,CONTROLLER://:9093",
            &[("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093")],
        );
    }

    #[test]
    fn a_broken_escape_names_its_line() {
        let check =
            |text: &str, line: usize| assert_eq!(parse(text).map_err(|e| e.line), Err(line), "{text:?}");
        check("a=\\u12", 1);
        check("a=1\n\nb=\\uzzzz", 3);
        check("# c\na=1\\\n2\nb=\\u+123", 4);
        check("a=\\ud83d", 1);
    }
}
