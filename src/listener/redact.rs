//! Leaves out of a printed line what must not go over the air: secrets, tokens, telephone numbers. Rather too much than too little.

use std::sync::LazyLock;

use regex::Regex;

/// What is left out, and what stands there instead.
static RULES: LazyLock<[(Regex, &str); 5]> = LazyLock::new(|| {
    let rule = |pattern: &str| Regex::new(pattern).expect("a pattern of our own");
    [
        // The password of a URL, up to the last @ before its path.
        (rule(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s:/@]*):[^\s/]*@"), "$1:***@"),
        (rule(r"(?i)\b(bearer|basic|digest)\s+[A-Za-z0-9+/_=.~-]{6,}"), "$1 ***"),
        // A word that says what follows, with what follows, quoted or not.
        (
            rule(
                r#"(?i)([A-Za-z0-9_-]*(?:passw(?:or)?d|passwd|pwd|secret|token|api[_-]?key|credential|authorization|cookie|session)[A-Za-z0-9_-]*["']?\s*[=:]\s*)("[^"]*"?|'[^']*'?|[^\s,;&]+)"#,
            ),
            "$1***",
        ),
        // PASETO, JWT, and what is long and has letters and digits, as keys do.
        (rule(r"\b(?:v[1-4]\.(?:public|local)\.|eyJ)[A-Za-z0-9._=-]{10,}"), "***"),
        // Telephone numbers: + and digits, or many digits with single separators; not times and not addresses.
        (rule(r"\+\d[\d ()/-]{5,17}\d|\b00\d{8,15}\b|\b\d{10,15}\b|\b\d{3,4}[ /-]\d{2,4}[ -]\d{2,4}(?:[ -]\d{2,4})?\b"), "***"),
    ]
});

/// What is long and has digits and letters of both cases.
static KEYS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[A-Za-z0-9+/_=-]{24,}").expect("a pattern of our own"));

/// A line as it may be told, with control characters as spaces.
pub(super) fn redact(line: &str) -> String {
    let mut text: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    for (pattern, instead) in RULES.iter() {
        text = pattern.replace_all(&text, *instead).into_owned();
    }
    let is_key = |part: &str| {
        let has = |is: fn(&char) -> bool| part.chars().any(|c| is(&c));
        // Paths have separators, and words of ordinary length between them.
        has(char::is_ascii_digit) && has(char::is_ascii_alphabetic) && part.split('/').any(|word| word.len() >= 24)
    };
    KEYS.replace_all(&text, |found: &regex::Captures<'_>| if is_key(&found[0]) { "***".to_owned() } else { found[0].to_owned() })
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_not_go_over_the_air_is_left_out_and_the_rest_stays() {
        let check = |line: &str, expected: &str| assert_eq!(redact(line), expected);
        check(
            "cannot bind 127.0.0.1:7701: Address already in use (os error 98)",
            "cannot bind 127.0.0.1:7701: Address already in use (os error 98)",
        );
        check("2026-11-29T01:40:42.123456Z ERROR edge: gone", "2026-11-29T01:40:42.123456Z ERROR edge: gone");
        check("mysql://roger:p@ss:word@db:3306/roger is away", "mysql://roger:***@db:3306/roger is away");
        check("Authorization: Bearer abc.def-ghi", "Authorization: *** ***");
        check("bearer abcdefgh1", "bearer ***");
        check("password=hunter2, user=kari", "password=***, user=kari");
        check(r#"{"api_key": "a b c", "n": 1}"#, r#"{"api_key": ***, "n": 1}"#);
        check("ROGER_SQL_PASSWORD='x y'", "ROGER_SQL_PASSWORD=***");
        check("got v4.public.eyJzdWIiOiIxIn0abc", "got ***");
        check("text to +47 123 45 678 refused", "text to *** refused");
        check("text to +4712345678 refused", "text to *** refused");
        check("text to 13800138000 refused", "text to *** refused");
        check("key 0123456789abcdef0123456789abcdef", "key ***");
        check("/usr/lib/x86_64-linux-gnu/libopus.so.0 is missing", "/usr/lib/x86_64-linux-gnu/libopus.so.0 is missing");
        check("a\tb\u{1b}[31mc", "a b [31mc");
    }
}
