//! Downloads that can be resumed: one `Range`, `If-Range` and `If-None-Match`, over content that never changes.
//!
//! The ETag is the SHA-256 of the content. Of several ranges none is taken, nor one that is no range: the answer is the whole, as RFC 9110
//! (14.2) allows. What is asked beyond the end is refused with 416 and the length.

use std::ops::Range;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::refuse::Refusal;
use crate::model::Digest;
use crate::objects::Objects;

/// A content to be sent.
#[derive(Clone, Debug)]
pub(super) struct Content<'a> {
    pub(super) object: &'a str,
    pub(super) bytes: u64,
    pub(super) sha256: Digest,
    pub(super) media_type: &'a str,
    /// What stands beside it.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

/// What of a content is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    Part(Range<u64>),
    /// It is there already.
    Known,
    Beyond,
}

/// The answer to a request for a content.
pub(super) async fn answer(objects: &Objects, content: Content<'_>, method: &Method, asked: &HeaderMap) -> Result<Response, Refusal> {
    let etag = format!("\"{}\"", content.sha256);
    let wanted = wanted(asked, &etag, content.bytes);
    let (status, range) = match &wanted {
        Wanted::Whole => (StatusCode::OK, 0..content.bytes),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range.clone()),
        Wanted::Known => (StatusCode::NOT_MODIFIED, 0..0),
        Wanted::Beyond => (StatusCode::RANGE_NOT_SATISFIABLE, 0..0),
    };
    let body = if range.is_empty() || method == Method::HEAD {
        Body::empty()
    } else {
        Body::from_stream(objects.get(content.object, range.clone()).await?)
    };
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: String| {
        if let Ok(value) = value.parse() {
            headers.insert(name, value);
        }
    };
    set(header::ETAG, etag);
    set(header::ACCEPT_RANGES, "bytes".to_owned());
    match wanted {
        Wanted::Whole | Wanted::Part(_) => {
            set(header::CONTENT_LENGTH, (range.end - range.start).to_string());
            set(header::CONTENT_TYPE, content.media_type.to_owned());
        }
        Wanted::Beyond => set(header::CONTENT_RANGE, format!("bytes */{}", content.bytes)),
        Wanted::Known => {}
    }
    if let Wanted::Part(range) = wanted {
        set(header::CONTENT_RANGE, format!("bytes {}-{}/{}", range.start, range.end - 1, content.bytes));
    }
    headers.extend(content.headers);
    Ok(response)
}

fn wanted(asked: &HeaderMap, etag: &str, bytes: u64) -> Wanted {
    let text = |name: HeaderName| asked.get(name).and_then(|value| value.to_str().ok());
    // Weak or strong: the same content is the same.
    let names = |list: &str| list.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag || tag.trim() == "*");
    if text(header::IF_NONE_MATCH).is_some_and(names) {
        return Wanted::Known;
    }
    // A date, or a weak tag, is no proof that it is the same.
    if asked.contains_key(header::IF_RANGE) && text(header::IF_RANGE) != Some(etag) {
        return Wanted::Whole;
    }
    let Some(Ok(ranges)) = text(header::RANGE).map(http_range_header::parse_range_header) else { return Wanted::Whole };
    if ranges.ranges.len() != 1 {
        return Wanted::Whole;
    }
    match ranges.validate(bytes) {
        Ok(valid) => valid.first().map_or(Wanted::Beyond, |range| Wanted::Part(*range.start()..range.end() + 1)),
        Err(_) => Wanted::Beyond,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_taken_one_at_a_time_and_only_of_the_same_content() {
        let check = |headers: &[(&'static str, &str)], expected: Wanted| {
            let asked = headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect();
            assert_eq!(wanted(&asked, "\"abc\"", 100), expected, "{headers:?}");
        };
        check(&[], Wanted::Whole);
        check(&[("range", "bytes=0-0")], Wanted::Part(0..1));
        check(&[("range", "bytes=10-")], Wanted::Part(10..100));
        check(&[("range", "bytes=90-1000")], Wanted::Part(90..100));
        check(&[("range", "bytes=-7")], Wanted::Part(93..100));
        check(&[("range", "bytes=100-")], Wanted::Beyond);
        for nonsense in ["bytes=0-1,5-6", "pages=1-2", "bytes=a-b", "bytes=", "bytes=--1", "bytes=-0"] {
            check(&[("range", nonsense)], Wanted::Whole);
        }
        check(&[("range", "bytes=5-"), ("if-range", "\"abc\"")], Wanted::Part(5..100));
        for other in ["\"def\"", "W/\"abc\"", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            check(&[("range", "bytes=5-"), ("if-range", other)], Wanted::Whole);
        }
        check(&[("if-none-match", "\"def\", W/\"abc\""), ("range", "bytes=5-")], Wanted::Known);
        check(&[("if-none-match", "\"def\"")], Wanted::Whole);
    }
}
