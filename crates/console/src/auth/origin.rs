//! Whether a write comes from a page of ours, by what browsers say of themselves.

use http::{HeaderMap, Method, header};

/// Programs send neither header and pass; they prove themselves by a bearer token.
pub(crate) fn check(method: &Method, headers: &HeaderMap) -> Result<(), &'static str> {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    if let Some(site) = headers.get("sec-fetch-site") {
        return match site.as_bytes() {
            b"same-origin" | b"none" => Ok(()),
            _ => Err("the browser says that another site sent it"),
        };
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin_host = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    match (origin_host, host) {
        (Some(origin), Some(host)) if origin.eq_ignore_ascii_case(host) => Ok(()),
        _ => Err("its Origin is another one"),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn writes_from_other_sites_are_refused() {
        type Headers = &'static [(&'static str, &'static str)];
        let cases: [(&str, Headers, bool); 9] = [
            ("POST", &[], true),
            ("POST", &[("sec-fetch-site", "same-origin")], true),
            ("POST", &[("sec-fetch-site", "none")], true),
            ("POST", &[("sec-fetch-site", "cross-site")], false),
            ("POST", &[("sec-fetch-site", "same-site")], false),
            ("POST", &[("origin", "http://a:7000"), ("host", "a:7000")], true),
            ("POST", &[("origin", "http://evil:7000"), ("host", "a:7000")], false),
            ("POST", &[("origin", "null"), ("host", "a:7000")], false),
            ("GET", &[("sec-fetch-site", "cross-site")], true),
        ];
        for (method, headers, allowed) in cases {
            let map: HeaderMap = headers
                .iter()
                .map(|(name, value)| {
                    (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap())
                })
                .collect();
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(check(&method, &map).is_ok(), allowed, "{method} {headers:?}");
        }
    }
}
