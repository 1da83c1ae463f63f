//! What is wrong with certificates is said before a node starts with them.

use serf::transport::{Credentials, CredentialsError, Distrust};

use super::certificates::{Authority, Certificate, self_signed};

fn load(certificate: &Certificate, authority: &Authority) -> Result<Credentials, CredentialsError> {
    Credentials::from_pem(&certificate.chain, &certificate.key, &authority.pem)
}

#[track_caller]
fn refused(result: Result<Credentials, CredentialsError>) -> Distrust {
    match result {
        Err(CredentialsError::Refused { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_certificate_that_everybody_would_refuse_is_refused_at_home() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    load(&ours.sign("a", |_| {}), &ours).unwrap();
    assert_eq!(refused(load(&theirs.sign("a", |_| {}), &ours)), Distrust::UnknownAuthority);
    assert_eq!(refused(load(&self_signed("a"), &ours)), Distrust::UnknownAuthority);
    assert_eq!(refused(load(&ours.expired("a"), &ours)), Distrust::Expired);
    let tomorrow = ours.sign("a", |params| params.not_before = rcgen::date_time_ymd(4000, 1, 1));
    assert_eq!(refused(load(&tomorrow, &ours)), Distrust::NotYetValid);
    // Both ends of connections show the same certificate, so it must be good for both.
    for missing in [0, 1] {
        let half = ours.sign("a", |params| drop(params.extended_key_usages.remove(missing)));
        assert_eq!(refused(load(&half, &ours)), Distrust::Purpose);
    }
    load(&ours.sign("a", |params| params.extended_key_usages.clear()), &ours).unwrap();
}

#[test]
fn what_cannot_be_read_is_named_with_its_file() {
    let authority = Authority::new();
    let good = authority.sign("a", |_| {});
    let directory = std::env::temp_dir().join(format!("serf-credentials-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = |name: &str| directory.join(name);
    for (name, text) in [
        ("a.pem", &good.chain),
        ("a.key", &good.key),
        ("ca.pem", &authority.pem),
        ("other.key", &authority.sign("b", |_| {}).key),
        ("empty", &String::new()),
        ("cut.pem", &good.chain[..100].to_owned()),
        ("locked.key", &good.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")),
    ] {
        std::fs::write(path(name), text).unwrap();
    }
    let load = |certificate: &str, key: &str, authority: &str| {
        Credentials::from_files(path(certificate), path(key), path(authority))
    };
    load("a.pem", "a.key", "ca.pem").unwrap();

    for ((certificate, key, authority), culprit, words) in [
        (("none", "a.key", "ca.pem"), "none", "No such file"),
        (("empty", "a.key", "ca.pem"), "empty", "has no certificate"),
        (("cut.pem", "a.key", "ca.pem"), "cut.pem", "is not PEM"),
        (("a.pem", "empty", "ca.pem"), "empty", "has no private key"),
        (("a.pem", "locked.key", "ca.pem"), "locked.key", "without a passphrase"),
        (("a.pem", "a.pem", "ca.pem"), "a.pem", "has no private key"),
        (("a.pem", "other.key", "ca.pem"), "other.key", "does not belong to the certificate"),
        (("a.pem", "a.key", "empty"), "empty", "has no certificate"),
        (("a.pem", "a.key", "a.pem"), "a.pem", "not signed by the certificate authority"),
    ] {
        let error = load(certificate, key, authority).unwrap_err().to_string();
        assert!(error.contains(&path(culprit).display().to_string()) && error.contains(words), "{error}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_node_can_find_out_whether_others_will_know_it_by_its_certificate() {
    let authority = Authority::new();
    let web = authority.node("web-1.example.com");
    assert!(web.carries("web-1.example.com") && web.carries("WEB-1.example.com"));
    assert!(!web.carries("web-1") && !web.carries("web-2.example.com"));
    assert!(authority.node("*.example.com").carries("web-1.example.com"));
    assert!(authority.node("10.0.0.7").carries("10.0.0.7"));
    // No certificate can say these.
    for name in ["web 1", "web/1", "1", "web-", "ü", ""] {
        assert!(!web.carries(name), "{name}");
    }
}

#[test]
fn certificates_made_as_the_documentation_says_are_good() {
    if !std::process::Command::new("openssl").arg("version").output().is_ok_and(|o| o.status.success()) {
        return eprintln!("no openssl on this machine: not tried");
    }
    let page = include_str!("../../../../../docs/transports.md");
    let script = page.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let directory = std::env::temp_dir().join(format!("serf-openssl-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let shell =
        std::process::Command::new("sh").args(["-ec", script]).current_dir(&directory).output().unwrap();
    assert!(shell.status.success(), "{}", String::from_utf8_lossy(&shell.stderr));
    let path = |name: &str| directory.join(name);
    let credentials = Credentials::from_files(path("web-1.pem"), path("web-1.key"), path("ca.pem")).unwrap();
    assert!(credentials.carries("web-1") && !credentials.carries("web-2"));
    std::fs::remove_dir_all(&directory).unwrap();
}
