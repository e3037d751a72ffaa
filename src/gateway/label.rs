//! Names and types of files: a name is a label that leads nowhere, a type is what the content shows.

use super::refuse::{Refusal, Why};

/// The longest name, in characters.
const NAME_CHARACTERS_MAX: usize = 200;

/// The name of a file as somebody sends it, if it can be one: no path, nothing that a terminal or a file system takes for more than
/// letters, nothing that was no UTF-8, and nothing that changes the direction of reading, behind which an ending hides.
pub(super) fn checked(name: &str) -> Result<&str, Refusal> {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
    let bad = |c: char| c == '/' || c == '\\' || c.is_control() || c == '\u{fffd}' || turns(c);
    let length = name.chars().count();
    if !(1..=NAME_CHARACTERS_MAX).contains(&length) || name.contains(bad) || name.contains("..") || name == "." {
        return Err(Refusal::of(Why::NameInvalid, "name"));
    }
    Ok(name)
}

/// The media type of a content by its beginning; never by a name.
pub(super) fn media_type(head: &[u8]) -> &'static str {
    if let Some(known) = infer::get(head) {
        return known.mime_type();
    }
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The beginning may end within a character.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or("\0"),
        Err(_) => "\0",
    };
    // Escapes colour the lines of many logs.
    let plain = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\u{c}' | '\u{1b}');
    if text.chars().all(plain) { "text/plain; charset=utf-8" } else { "application/octet-stream" }
}

/// `Content-Disposition` for a name: to be saved and not shown, in ASCII for old clients and in full (RFC 6266, RFC 8187).
pub(super) fn disposition(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ') { c } else { '_' };
    let ascii: String = name.chars().map(plain).collect();
    let mut full = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            full.push(char::from(byte));
        } else {
            full.push_str(&format!("%{byte:02X}"));
        }
    }
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{full}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere() {
        for good in ["a", "map 12.png", "Карта №5.pdf", "地図.jpg", ".bashrc", "a.b.c", &"é".repeat(200)] {
            assert_eq!(checked(good), Ok(good));
        }
        let long = "a".repeat(201);
        for bad in ["", ".", "..", "../x", "a/b", "a\\b", "/etc/passwd", "x..y", "a\0b", "a\nb", "a\u{7f}", "gpj\u{202e}exe", &long] {
            assert_eq!(checked(bad), Err(Refusal::of(Why::NameInvalid, "name")), "{bad:?}");
        }
    }

    #[test]
    fn a_type_is_by_content() {
        let check = |head: &[u8], expected: &str| assert_eq!(media_type(head), expected, "{head:?}");
        check(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png");
        check(b"%PDF-1.7\n", "application/pdf");
        check(b"12:00:01 radio.on\n12:00:02 \x1b[31mbattery low\x1b[0m\n", "text/plain; charset=utf-8");
        check(&"журнал".as_bytes()[..11], "text/plain; charset=utf-8");
        check(b"\xff\xfe\x00\x01", "application/octet-stream");
        check(b"text and \0", "application/octet-stream");
    }

    #[test]
    fn a_disposition_is_one_header_whatever_the_name() {
        let check = |name: &str, expected: &str| assert_eq!(disposition(name), format!("attachment; {expected}"));
        check("map 12.png", "filename=\"map 12.png\"; filename*=UTF-8''map%2012.png");
        check("a\"; x=\"b", "filename=\"a__ x__b\"; filename*=UTF-8''a%22%3B%20x%3D%22b");
        check("№5.pdf", "filename=\"_5.pdf\"; filename*=UTF-8''%E2%84%965.pdf");
    }
}
