//! An accepted authority names the same host and port to `fetch` (WHATWG, here
//! the `url` crate), and nothing else.
#![no_main]

use edgeweir::stages::target::{parse, parse_authority};
use libfuzzer_sys::fuzz_target;
use url::Url;

fuzz_target!(|text: &str| {
    // As the runtime shows it, with the field bounding the authority or not.
    let shown = format!("http://{text}/p");
    let _ = parse(&shown, None);
    let accepted = parse_authority(text);
    assert_eq!(parse(&shown, Some(text)).is_ok(), accepted.is_some());
    let Some((host, port)) = accepted else { return };
    let again = port.map_or(host.clone(), |port| format!("{host}:{port}"));
    assert_eq!(parse_authority(&again), Some((host.clone(), port)));
    // Punycode that decodes to nothing is refused by `fetch` itself.
    if host.contains("xn--") {
        return;
    }
    let url = Url::parse(&format!("http://{text}/p")).expect("an accepted authority makes a URL");
    let read = url.host_str().unwrap_or_default();
    let read = read.strip_suffix('.').unwrap_or(read);
    // IPv6 addresses are shown in two ways; the address is one.
    let address = |text: &str| text.trim_matches(['[', ']']).parse::<std::net::Ipv6Addr>().ok();
    assert!(read == host || (address(read).is_some() && address(read) == address(&host)), "{read} {host}");
    assert_eq!(url.port_or_known_default(), Some(port.unwrap_or(80)));
    assert_eq!((url.path(), url.username(), url.password()), ("/p", "", None));
});
