//! What is matched is what the origin receives: the normal form of the URL
//! that `fetch` makes of an accepted target (WHATWG, here the `url` crate) is
//! the normal form that was matched.
#![no_main]

use edgeweir::stages::target::{normalise, parse};
use libfuzzer_sys::fuzz_target;
use url::Url;

fuzz_target!(|sent: &str| {
    let Ok((form, encoded)) = normalise(sent) else { return };
    let url = Url::parse(&format!("http://origin.example{sent}")).expect("an accepted target makes a URL");
    assert_eq!((url.host_str(), url.fragment()), (Some("origin.example"), None));
    assert_eq!(normalise(url.path()).ok(), Some((form.clone(), encoded)), "{}", url.path());
    let path = sent.split('?').next().unwrap_or_default();
    assert_eq!(url.path().split('/').count(), path.split('/').count());
    // A normal form is normal.
    assert_eq!(normalise(&form).ok(), Some((form, encoded)));
    let target = parse(&format!("http://origin.example{sent}"), Some("origin.example"))
        .map(|target| target.as_sent.to_owned());
    assert_eq!(target.ok().as_deref(), Some(sent));
});
