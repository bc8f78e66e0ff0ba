use pgp::composed::KeyType;
use pgp::types::RsaPublicParams;

use super::*;
use crate::test_keys::{CREATED, Shape, TestKey};
use crate::tests::hostile_bytes;

const TEXT: &str = "Suite: test\n- dash\n\nlast";
const SIGNED: u32 = CREATED + 1000;
const NOW: u64 = SIGNED as u64 + 5000;

fn keyring(key: &TestKey) -> Keyring {
    Keyring::parse(&key.certificate(), Path::new("test")).unwrap()
}

fn verify(key: &TestKey, signed: &str) -> Result<String> {
    keyring(key).verify(signed.as_bytes(), NOW, "test")
}

fn reason(key: &TestKey, signed: &str) -> String {
    verify(key, signed).unwrap_err().to_string()
}

#[test]
fn a_good_signature_gives_the_signed_text() {
    let key = TestKey::new(1, &Shape::default());
    assert_eq!(verify(&key, &key.sign(TEXT, SIGNED)).unwrap(), TEXT);
    assert!(verify(&key, &key.sign_with_subkey(TEXT, SIGNED)).is_ok());
}

#[test]
fn changed_and_added_text_is_refused() {
    let key = TestKey::new(1, &Shape::default());
    let signed = key.sign(TEXT, SIGNED);
    assert!(reason(&key, &signed.replace("Suite: test", "Suite: evil")).contains("does not match the text"));
    assert!(verify(&key, &format!("Suite: evil\n\n{signed}")).is_err(), "text before what is signed");
    assert!(verify(&key, &format!("{signed}\nSuite: evil\n")).is_err(), "text after what is signed");
    assert!(verify(&key, &signed.replacen("\n\n", "\nSuite: evil\n\n", 1)).is_err(), "text in the headers");
    assert!(verify(&key, TEXT).is_err(), "not signed at all");
    let cut = signed.find("-----BEGIN PGP SIGNATURE").unwrap();
    assert!(verify(&key, &signed[..cut]).is_err(), "signature cut off");
    assert!(keyring(&key).verify(b"\xff\xfe", NOW, "test").is_err());
}

#[test]
fn other_keys_are_refused() {
    let (key, other) = (TestKey::new(1, &Shape::default()), TestKey::new(2, &Shape::default()));
    let error = reason(&key, &other.sign(TEXT, SIGNED));
    assert!(error.contains("none of the trusted keys"), "{error}");
}

#[test]
fn other_kinds_of_signature_are_refused() {
    let key = TestKey::new(1, &Shape::default());
    let binary = key.sign_as("text", SIGNED, HashAlgorithm::Sha512, SignatureType::Binary);
    assert!(verify(&key, &binary).is_ok());
    let (message, _) = CleartextSignedMessage::from_string(&binary).unwrap();
    let good = &message.signatures()[0];
    let mut config = good.config().unwrap().clone();
    config.typ = SignatureType::Standalone;
    let (hash, bytes) = (good.signed_hash_value().unwrap(), good.signature().unwrap().clone());
    let standalone = Signature::from_config(config, hash, bytes).unwrap();
    let message = CleartextSignedMessage::new_many("text", |_| Ok(vec![standalone])).unwrap();
    let text = message.to_armored_string(Default::default()).unwrap();
    assert!(reason(&key, &text).contains("not one of a document"));
}

#[test]
fn weak_hashes_and_short_keys_are_refused() {
    let rsa = |hash| Shape { algorithm: KeyType::Rsa(2048), hash, ..Shape::default() };
    let key = TestKey::new(1, &rsa(HashAlgorithm::Sha256));
    let sign = |hash| key.sign_as("text", SIGNED, hash, SignatureType::Text);
    assert!(verify(&key, &sign(HashAlgorithm::Sha256)).is_ok());
    assert!(reason(&key, &sign(HashAlgorithm::Sha1)).contains("weak hash"));
    // A key that only a weak hash vouches for is no key.
    let weak = TestKey::new(1, &rsa(HashAlgorithm::Sha1));
    assert!(Keyring::parse(&weak.certificate(), Path::new("test")).is_err());
    for (bits, is_enough) in [(1024_u16, false), (2048, true)] {
        // The modulus and the exponent 65537, each after its length in bits.
        let mut params = bits.to_be_bytes().to_vec();
        params.resize(2 + usize::from(bits / 8), 0xff);
        params.extend([0, 17, 1, 0, 1]);
        let params = RsaPublicParams::try_from_reader(&params[..]).unwrap();
        assert_eq!(is_strong(&PublicParams::RSA(params)), is_enough, "{bits}");
    }
}

#[test]
fn expiry_counts_at_the_time_of_signing() {
    let key = TestKey::new(1, &Shape { lifetime: Some(2000), ..Shape::default() });
    assert!(verify(&key, &key.sign(TEXT, SIGNED)).is_ok(), "expired since, but not then");
    for late in [CREATED + 2000, CREATED + 3000] {
        assert!(reason(&key, &key.sign(TEXT, late)).contains("after its key expired"));
        assert!(reason(&key, &key.sign_with_subkey(TEXT, late)).contains("after its key expired"));
    }
    assert!(reason(&key, &key.sign(TEXT, CREATED - 1)).contains("before its key existed"));
}

#[test]
fn signatures_from_the_future_are_refused() {
    let key = TestKey::new(1, &Shape::default());
    let tolerance = CLOCK_TOLERANCE as u32;
    assert!(verify(&key, &key.sign(TEXT, NOW as u32 + tolerance)).is_ok());
    assert!(reason(&key, &key.sign(TEXT, NOW as u32 + tolerance + 1)).contains("future"));
}

#[test]
fn revocation_counts_by_its_reason() {
    let revoked = |code| TestKey::new(1, &Shape { revoked: Some((code, SIGNED)), ..Shape::default() });
    for code in [RevocationCode::KeyRetired, RevocationCode::KeySuperseded] {
        let key = revoked(code);
        assert!(verify(&key, &key.sign(TEXT, SIGNED - 1)).is_ok(), "signed before the key was retired");
        assert!(reason(&key, &key.sign(TEXT, SIGNED)).contains("revoked"));
    }
    for code in [RevocationCode::KeyCompromised, RevocationCode::NoReason, RevocationCode::Other(77)] {
        let key = revoked(code);
        let by_primary = key.sign(TEXT, SIGNED - 1);
        let by_subkey = key.sign_with_subkey(TEXT, SIGNED - 1);
        for signed in [by_primary, by_subkey] {
            assert!(verify(&key, &signed).is_err());
        }
    }
    let mut key = TestKey::new(1, &Shape::default());
    key.revoke_subkey();
    assert!(verify(&key, &key.sign(TEXT, SIGNED)).is_ok(), "only the subkey is revoked");
    assert!(reason(&key, &key.sign_with_subkey(TEXT, SIGNED)).contains("revoked"));
}

#[test]
fn keys_that_may_not_sign_are_left_out() {
    let key = TestKey::new(1, &Shape { can_sign: false, ..Shape::default() });
    assert!(reason(&key, &key.sign(TEXT, SIGNED)).contains("none of the trusted keys"));
    assert!(verify(&key, &key.sign_with_subkey(TEXT, SIGNED)).is_ok());
}

#[test]
fn subkeys_need_a_binding_by_their_own_primary_key() {
    let (mut key, mut other) = (TestKey::new(1, &Shape::default()), TestKey::new(2, &Shape::default()));
    let stolen = other.certificate_mut().public_subkeys.clone();
    key.certificate_mut().public_subkeys = stolen;
    assert!(reason(&key, &other.sign_with_subkey(TEXT, SIGNED)).contains("none of the trusted keys"));
}

#[test]
fn the_first_certificate_of_a_fingerprint_counts() {
    let good = TestKey::new(1, &Shape::default());
    let revoked = TestKey::new(
        1,
        &Shape { revoked: Some((RevocationCode::KeyCompromised, CREATED)), ..Shape::default() },
    );
    let mut keys = keyring(&revoked);
    keys.add_missing(keyring(&good));
    assert!(keys.verify(good.sign(TEXT, SIGNED).as_bytes(), NOW, "test").is_err());
}

#[test]
fn shipped_keys_are_the_documented_ones_and_in_their_lifetime() {
    let readme = include_str!("../../keys/README.md").replace(' ', "").to_lowercase();
    let keys = Keyring::shipped().unwrap();
    assert_eq!(keys.certificates.len(), SHIPPED.len());
    for certificate in &keys.certificates {
        assert!(readme.contains(&certificate.fingerprint), "{}", certificate.fingerprint);
        for signer in &certificate.signers {
            let expires = signer.validity.expires.unwrap();
            assert!(expires > signer.validity.created + 7 * 365 * 86_400);
            assert_eq!(signer.validity.revoked, None);
        }
    }
}

#[test]
fn long_messages_are_refused_before_they_cost_time() {
    let key = TestKey::new(1, &Shape::default());
    let lines = key.sign(&"x\n".repeat(MAX_LINES), SIGNED);
    assert!(matches!(verify(&key, &lines), Err(Error::TooLarge { .. })));
}

#[test]
fn files_that_are_no_keyrings_are_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(Keyring::open(Some(file.path())).unwrap_err().to_string().contains("keyring"));
    std::fs::write(file.path(), "just text").unwrap();
    assert!(Keyring::open(Some(file.path())).is_err());
    assert!(matches!(Keyring::open(Some(Path::new("/nonexistent"))), Err(Error::Io { .. })));
}

#[test]
fn hostile_keyrings_and_messages_are_read_without_panic() {
    let key = TestKey::new(1, &Shape::default());
    hostile_bytes(&key.certificate(), |bytes| {
        let _ = Keyring::parse(bytes, Path::new("test"));
    });
    let keys = keyring(&key);
    let signed = key.sign(TEXT, SIGNED);
    let expected = verify(&key, &signed).unwrap();
    hostile_bytes(signed.as_bytes(), |bytes| {
        if let Ok(text) = keys.verify(bytes, NOW, "test") {
            assert_eq!(text, expected, "accepted a text that was not signed");
        }
    });
}
