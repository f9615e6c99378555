//! What a change makes void (RFC 9111, 4.4): the answers that are stored for
//! its URI, and for those that Location and Content-Location name, as long as
//! they are of the same origin. An error changes nothing.

use crate::stages::target::{Target, parse};

/// Whether an answer to an unsafe request says that something has changed:
/// 2xx and 3xx are no errors.
#[must_use]
pub fn is_change(status: u16) -> bool {
    (200..400).contains(&status)
}

/// The URL of a reference (RFC 3986, 5.2), if it is of the target's origin:
/// what another origin holds is not ours to remove.
#[must_use]
pub fn related(target: &Target<'_>, reference: &str) -> Option<String> {
    let reference = reference.split_once('#').map_or(reference, |(before, _)| before).trim();
    if reference.is_empty() || reference.len() > crate::stages::target::TARGET_LIMIT {
        return None;
    }
    let base = format!("{}://{}", target.scheme, target.authority());
    let url = if has_scheme(reference) {
        with_path(reference)
    } else if reference.starts_with("//") {
        with_path(&format!("{}:{reference}", target.scheme))
    } else if reference.starts_with('/') {
        base + reference
    } else if reference.starts_with('?') {
        base + target.path_as_sent() + reference
    } else {
        let folder = target.path_as_sent().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{base}{folder}/{reference}")
    };
    let url = without_dots(&url)?;
    let same = parse(&url, None).is_ok_and(|other| {
        other.scheme == target.scheme && other.host == target.host && other.port == target.port
    });
    same.then_some(url)
}

/// Whether it begins with a scheme (RFC 3986, 3.1).
fn has_scheme(reference: &str) -> bool {
    reference.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

/// An empty path is `/` (RFC 9110, 4.2.3).
fn with_path(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.find(['/', '?']).and_then(|end| rest.split_at_checked(end)) {
        None => format!("{scheme}://{rest}/"),
        Some((authority, query)) if query.starts_with('?') => format!("{scheme}://{authority}/{query}"),
        Some(_) => url.to_owned(),
    }
}

/// Dot segments are taken out of the path (RFC 3986, 5.2.4).
fn without_dots(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, target) = rest.split_at_checked(rest.find('/')?)?;
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.strip_prefix('/')?.split('/') {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    // A dot segment at the end leaves its slash behind.
    if path.ends_with("/.") || path.ends_with("/..") {
        kept.push("");
    }
    let path = kept.join("/");
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    Some(format!("{scheme}://{authority}/{path}{query}"))
}
