//! A value of a query decodes as the WHATWG URL standard says, or is no UTF-8.
#![no_main]

use edgeweir::admin::body::percent_decoded;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if text.contains(['&', '#', '=']) {
        return;
    }
    let form = format!("a={text}");
    let standard = url::form_urlencoded::parse(form.as_bytes()).next().map(|(_, value)| value.into_owned());
    match percent_decoded(text) {
        Some(decoded) => assert_eq!(Some(decoded.into_owned()), standard),
        // The standard puts a replacement where a byte is no UTF-8.
        None => assert!(standard.is_some_and(|value| value.contains('\u{fffd}'))),
    }
});
