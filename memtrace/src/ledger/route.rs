//! From a request target to the path that is shown and the route that requests are grouped by.
//!
//! Owns route patterns and the guess that replaces variable segments. Must not know what is added up per route.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::str::FromStr;

/// What a variable segment becomes where no pattern says better.
const ID: &str = "{id}";

/// Letters and digits that a run of hexadecimal digits needs before it is taken for an identifier.
const HEX_MIN: usize = 8;

/// A pattern of path segments, such as `/users/{id}` or `/static/*`.
///
/// A segment is what stands between two slashes, and is compared byte by byte: percent-encoding is left alone,
/// and a trailing slash makes another path.
///
/// | segment | matches |
/// |---|---|
/// | text | itself |
/// | `{name}`, or `*` before the end | any one segment that isn't empty |
/// | `*` at the end | whatever is left, be it one empty segment: `/static/*` takes `/static/`, not `/static` |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    segments: Vec<Segment>,
    open_end: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    One,
}

/// Why a pattern is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is empty, or does not begin with a slash.
    #[error("route pattern '{0}': it has to begin with '/', as paths do")]
    NoSlash(String),
    /// It has a query or a fragment.
    #[error("route pattern '{0}': routes have no query; leave out '{1}' and what follows")]
    Query(String, char),
    /// A `{`, `}` or `*` stands beside other text.
    #[error(
        "route pattern '{pattern}': in segment '{segment}', a wildcard has to be a whole segment: '{{name}}' or '*'"
    )]
    PartOfSegment {
        /// The pattern.
        pattern: String,
        /// The segment that is wrong.
        segment: String,
    },
    /// A control character or a blank, which no path has.
    #[error("route pattern '{}': a path has no blank or control character", .0.escape_debug())]
    Blank(String),
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(PatternError::Blank(text.to_owned()));
        }
        let Some(inner) = text.strip_prefix('/') else {
            return Err(PatternError::NoSlash(text.to_owned()));
        };
        if let Some(mark) = text.chars().find(|c| matches!(c, '?' | '#')) {
            return Err(PatternError::Query(text.to_owned(), mark));
        }
        let (inner, open_end) = match inner.strip_suffix('*') {
            Some("") => (None, true),
            Some(before) if before.ends_with('/') => (before.strip_suffix('/'), true),
            _ => (Some(inner), false),
        };
        let segments = inner.map_or(Ok(Vec::new()), |inner| inner.split('/').map(segment).collect());
        match segments {
            Ok(segments) => Ok(Self {
                text: text.to_owned(),
                segments,
                open_end,
            }),
            Err(segment) => Err(PatternError::PartOfSegment {
                pattern: text.to_owned(),
                segment,
            }),
        }
    }
}

/// A segment's meaning, or the segment itself where it has none.
fn segment(text: &str) -> Result<Segment, String> {
    let name = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    match name {
        _ if text == "*" => Ok(Segment::One),
        Some(name) if !name.is_empty() && !name.contains(['{', '}', '*']) => Ok(Segment::One),
        _ if text.contains(['{', '}', '*']) => Err(text.to_owned()),
        _ => Ok(Segment::Literal(text.to_owned())),
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Pattern {
    /// Whether `path`, which has no query, fits.
    pub fn matches(&self, path: &str) -> bool {
        let Some(inner) = path.strip_prefix('/') else {
            return false;
        };
        let mut segments = inner.split('/');
        let fits = self
            .segments
            .iter()
            .all(|expected| match (expected, segments.next()) {
                (_, None) => false,
                (Segment::Literal(text), Some(found)) => text == found,
                (Segment::One, Some(found)) => !found.is_empty(),
            });
        fits && segments.next().is_some() == self.open_end
    }
}

/// How request targets become paths and routes, as the user asked.
#[derive(Clone, Debug, Default)]
pub struct Routing {
    patterns: Vec<Pattern>,
    keep_query: bool,
}

impl Routing {
    /// Groups by the first of `patterns` that fits, and by the built-in guess where none does; paths keep their
    /// query only if `keep_query`.
    pub fn new(patterns: Vec<Pattern>, keep_query: bool) -> Self {
        Self { patterns, keep_query }
    }

    /// Paths keep their query.
    pub fn keeps_query(&self) -> bool {
        self.keep_query
    }

    /// The path of a request target (RFC 9112 section 3.2) as it came over the wire.
    ///
    /// Of the absolute form, `http://host/path`, this is the part after the authority. The asterisk and
    /// authority forms (`OPTIONS *`, `CONNECT host:port`) stay as they are. The query goes unless it was asked
    /// for. Bytes that are not UTF-8 are percent-encoded, so none is lost and none is mistaken for another.
    pub fn path(&self, target: &[u8]) -> String {
        let target = utf8(target);
        let path = origin(&target);
        if self.keep_query {
            path.into_owned()
        } else {
            without_query(&path).to_owned()
        }
    }

    /// The route of a path, or of a request target: never with a query.
    ///
    /// Where no pattern fits, a segment becomes `{id}` if it is
    /// - numeric: ASCII digits alone,
    /// - a UUID: hexadecimal digits in groups of 8-4-4-4-12,
    /// - long hex: at least 8 hexadecimal digits and nothing else, at least one of them 0 to 9, so that words
    ///   such as `deadbeef` or `effaced` stay.
    ///
    /// A route's own route is itself.
    pub fn route(&self, path: &str) -> String {
        let path = origin(path);
        let path = without_query(&path);
        if !path.starts_with('/') {
            return path.to_owned();
        }
        // The text itself first: of two patterns that overlap, the later one's text may fit the earlier.
        let own = self.patterns.iter().find(|pattern| pattern.text == path);
        if let Some(pattern) = own.or_else(|| self.patterns.iter().find(|pattern| pattern.matches(path))) {
            return pattern.text.clone();
        }
        let mut route = String::with_capacity(path.len());
        for (index, segment) in path.split('/').enumerate() {
            if index > 0 {
                route.push('/');
            }
            route.push_str(if is_variable(segment) { ID } else { segment });
        }
        route
    }
}

/// The path without its query.
pub fn without_query(path: &str) -> &str {
    path.split_once('?').map_or(path, |(before, _)| before)
}

/// The target from its path on: `http://host/a` gives `/a`, `http://host?q` gives `/?q`.
fn origin(target: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = target.split_once("://") else {
        return Cow::Borrowed(target);
    };
    // RFC 3986 section 3.1; in origin form a "://" can only come after a slash, which no scheme has.
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    if !is_scheme {
        return Cow::Borrowed(target);
    }
    // RFC 9112 section 3.2.1: an empty path is sent as "/".
    match rest.find(['/', '?']).map(|at| &rest[at..]) {
        Some(path) if path.starts_with('/') => Cow::Borrowed(path),
        Some(query) => Cow::Owned(format!("/{query}")),
        None => Cow::Borrowed("/"),
    }
}

/// `bytes` as text, those that are not UTF-8 as `%XX`.
fn utf8(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn is_variable(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    let numeric = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    let hex = || bytes.iter().all(u8::is_ascii_hexdigit) && bytes.iter().any(u8::is_ascii_digit);
    numeric || (bytes.len() >= HEX_MIN && hex()) || is_uuid(bytes)
}

/// RFC 9562 section 4: 32 hexadecimal digits in five groups, in either case.
fn is_uuid(bytes: &[u8]) -> bool {
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn routing(patterns: &[&str]) -> Routing {
        Routing::new(patterns.iter().map(|text| text.parse().unwrap()).collect(), false)
    }

    #[test]
    fn variable_segments_become_id() {
        let plain = routing(&[]);
        for (path, route) in [
            ("/", "/"),
            ("", ""),
            ("*", "*"),
            ("example.com:443", "example.com:443"),
            ("/users/17", "/users/{id}"),
            ("/users/17/", "/users/{id}/"),
            ("/users/17/posts/0042?page=2", "/users/{id}/posts/{id}"),
            ("/v1/items", "/v1/items"),
            ("/o/123e4567-E89B-12d3-a456-426614174000", "/o/{id}"),
            (
                "/o/123e4567-e89b-12d3-a456-42661417400",
                "/o/123e4567-e89b-12d3-a456-42661417400",
            ),
            (
                "/o/123e4567-e89b-12d3-a456_426614174000",
                "/o/123e4567-e89b-12d3-a456_426614174000",
            ),
            ("/c/deadbeef", "/c/deadbeef"),
            ("/c/deadbee1", "/c/{id}"),
            ("/c/dead123", "/c/dead123"),
            ("/c/9f86d081884c7d659a2feaa0c55ad015", "/c/{id}"),
            ("/c/9f86d081884c7g", "/c/9f86d081884c7g"),
            ("/%31%32", "/%31%32"),
            ("//17//", "//{id}//"),
            ("/사주/12", "/사주/{id}"),
            ("/٣", "/٣"),
            ("http://host:80/users/3?q", "/users/{id}"),
            ("http://host", "/"),
            ("http://host?q=/7", "/"),
            ("/r/http://host/7", "/r/http://host/{id}"),
            ("?q", ""),
        ] {
            assert_eq!(plain.route(path), route, "of {path:?}");
        }
    }

    #[test]
    fn the_first_pattern_that_fits_wins() {
        let asked = routing(&["/users/me", "/users/{name}", "/static/*", "/a/*/c", "/"]);
        for (path, route) in [
            ("/users/me", "/users/me"),
            ("/users/you?x", "/users/{name}"),
            ("http://h/users/you", "/users/{name}"),
            ("/users/", "/users/"),
            ("/users/you/7", "/users/you/{id}"),
            ("/static/", "/static/*"),
            ("/static/js/17/x.js", "/static/*"),
            ("/static", "/static"),
            ("/a/b/c", "/a/*/c"),
            ("/a//c", "/a//c"),
            ("/a/b/c/d", "/a/b/c/d"),
            ("/", "/"),
            ("/17", "/{id}"),
        ] {
            assert_eq!(asked.route(path), route, "of {path:?}");
        }
        // A later pattern's own text fits an earlier one, and is its own route all the same.
        let overlapping = routing(&["/s/{x}", "/s/*"]);
        let routes = ["/s/a", "/s/a/b", "/s/*"].map(|path| overlapping.route(path));
        assert_eq!(routes, ["/s/{x}", "/s/*", "/s/*"]);
        assert_eq!(routing(&["/*"]).route("/any/thing"), "/*");
        assert_eq!(routing(&["/*"]).route("*"), "*");
    }

    #[test]
    fn a_wrong_pattern_says_what_and_why() {
        let says = |text: &str| text.parse::<Pattern>().unwrap_err().to_string();
        insta::assert_snapshot!(
            ["", "users/{id}", "/a?b=1", "/a#b", "/file-{id}.json", "/a/{}/b", "/a/{b", "/a/b*", "/**", "/a b", "/\u{1b}[2J"]
                .map(says)
                .join("\n"),
            @r#"
            route pattern '': it has to begin with '/', as paths do
            route pattern 'users/{id}': it has to begin with '/', as paths do
            route pattern '/a?b=1': routes have no query; leave out '?' and what follows
            route pattern '/a#b': routes have no query; leave out '#' and what follows
            route pattern '/file-{id}.json': in segment 'file-{id}.json', a wildcard has to be a whole segment: '{name}' or '*'
            route pattern '/a/{}/b': in segment '{}', a wildcard has to be a whole segment: '{name}' or '*'
            route pattern '/a/{b': in segment '{b', a wildcard has to be a whole segment: '{name}' or '*'
            route pattern '/a/b*': in segment 'b*', a wildcard has to be a whole segment: '{name}' or '*'
            route pattern '/**': in segment '**', a wildcard has to be a whole segment: '{name}' or '*'
            route pattern '/a b': a path has no blank or control character
            route pattern '/\u{1b}[2J': a path has no blank or control character
            "#
        );
    }

    #[test]
    fn paths_keep_what_was_asked_for() {
        let plain = Routing::default();
        let query = Routing::new(Vec::new(), true);
        for (target, without, with) in [
            (&b"/a?b=1"[..], "/a", "/a?b=1"),
            (b"http://h/a?b", "/a", "/a?b"),
            (b"http://h?b", "/", "/?b"),
            (b"http://h", "/", "/"),
            (b"*", "*", "*"),
            (b"/\xff\xc3\xa9\xc3", "/%FF\u{e9}%C3", "/%FF\u{e9}%C3"),
            (b"/%ff", "/%ff", "/%ff"),
            (b"", "", ""),
        ] {
            assert_eq!(plain.path(target), without);
            assert_eq!(query.path(target), with);
        }
    }

    fn pattern() -> impl Strategy<Value = String> {
        (
            prop::collection::vec("a|b|[{]x[}]|[*]|17|", 0..4),
            prop::bool::ANY,
        )
            .prop_map(|(segments, open)| {
                let path = format!("/{}", segments.join("/"));
                if open && !path.ends_with(['*', '}']) {
                    format!("{path}/*")
                } else {
                    path
                }
            })
    }

    proptest! {
        #[test]
        fn a_route_is_its_own_route(
            patterns in prop::collection::vec(pattern(), 0..4),
            path in "(/(a|b|17|x|[{]x[}]|[*]|0123456789abcdef|)){0,5}([?].{0,3})?|(https?://)?\\PC{0,12}|.{0,20}",
        ) {
            let routing = Routing::new(patterns.iter().map(|text| text.parse().unwrap()).collect(), false);
            let route = routing.route(&path);
            prop_assert!(!route.contains('?'));
            prop_assert_eq!(routing.route(&route), route.clone());
            // The path that is kept has the same route as the target.
            prop_assert_eq!(routing.route(&routing.path(path.as_bytes())), route);
        }

        #[test]
        fn any_bytes_have_a_path_without_a_query(target in prop::collection::vec(any::<u8>(), 0..40)) {
            let path = Routing::default().path(&target);
            prop_assert!(!path.contains('?'));
            prop_assert!(path.len() <= target.len() * 3 + 1);
        }
    }
}
