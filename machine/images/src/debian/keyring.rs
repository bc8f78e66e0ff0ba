//! OpenPGP (RFC 9580): the keys that may sign an archive, and the check of a clear-signed file against them.
//!
//! A signature counts if it was made with SHA-2 or SHA-3 of at least 256 bits, by a key (or a bound subkey)
//! that has the signing flag and that was neither expired nor revoked when the signature was made. A
//! revocation that gives no reason, or says that the key is compromised, counts for all time. One good
//! signature is enough, as it is for apt. Revocations by designated revokers are not looked at: their keys
//! are in no keyring.

use std::fs;
use std::path::{Path, PathBuf};

use pgp::composed::{CleartextSignedMessage, Deserializable, SignedPublicKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{PublicKey, PublicSubkey, RevocationCode, Signature, SignatureType};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, PublicParams, Tag};

use super::release::CLOCK_TOLERANCE;
use crate::{Error, Result};

/// Where Debian and its derivatives keep the archive's keys.
const HOST_KEYRINGS: &[&str] =
    &["/usr/share/keyrings/debian-archive-keyring.pgp", "/usr/share/keyrings/debian-archive-keyring.gpg"];

/// The keys shipped with ferry; `keys/README.md` says what they are.
const SHIPPED: &[(&str, &[u8])] = &[
    ("debian-archive-bookworm-automatic", include_bytes!("../../keys/debian-archive-bookworm-automatic.pgp")),
    ("debian-archive-bookworm-stable", include_bytes!("../../keys/debian-archive-bookworm-stable.pgp")),
    ("debian-archive-trixie-automatic", include_bytes!("../../keys/debian-archive-trixie-automatic.pgp")),
    ("debian-archive-trixie-stable", include_bytes!("../../keys/debian-archive-trixie-stable.pgp")),
];

/// Largest keyring file in bytes, most keys taken from it, and most signatures looked at on one file.
const KEYRING_LIMIT: u64 = 4 << 20;
const MAX_KEYS: usize = 256;
const MAX_SIGNATURES: usize = 32;

/// Most lines of a signed file: the OpenPGP library's time to read them grows with their square.
const MAX_LINES: usize = 10_000;

/// Smallest RSA modulus that counts, in bytes: 2048 bits.
const MIN_RSA_BYTES: usize = 256;

/// Keys that may sign an archive.
#[derive(Debug)]
pub struct Keyring {
    certificates: Vec<Certificate>,
}

/// A primary key with the keys under it that may sign.
#[derive(Debug)]
struct Certificate {
    fingerprint: String,
    signers: Vec<Signer>,
}

#[derive(Debug)]
struct Signer {
    key: SigningKey,
    validity: Validity,
}

#[derive(Debug)]
enum SigningKey {
    Primary(PublicKey),
    Subkey(PublicSubkey),
}

/// When a key's signatures count, in seconds since 1970.
#[derive(Debug, Clone, Default)]
struct Validity {
    created: u64,
    expires: Option<u64>,
    /// Signatures made at this time or later do not count.
    revoked: Option<u64>,
}

impl Validity {
    fn check(&self, time: u64) -> std::result::Result<(), String> {
        if time < self.created {
            Err("was made before its key existed".into())
        } else if self.revoked.is_some_and(|revoked| time >= revoked) {
            Err("is by a revoked key".into())
        } else if self.expires.is_some_and(|expires| time >= expires) {
            Err("was made after its key expired".into())
        } else {
            Ok(())
        }
    }

    /// When both this key and the one above it are valid.
    fn within(&self, primary: &Validity) -> Validity {
        Validity {
            created: self.created.max(primary.created),
            expires: earlier(self.expires, primary.expires),
            revoked: earlier(self.revoked, primary.revoked),
        }
    }
}

fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.into_iter().chain(b).min()
}

impl Keyring {
    /// The keys in `file`; or, when none is given, the host's Debian keyring with those of the shipped keys
    /// that it lacks. A key that the host's keyring has as revoked is therefore revoked.
    pub fn open(file: Option<&Path>) -> Result<Keyring> {
        if let Some(path) = file {
            return Keyring::read(path);
        }
        let mut keyring = HOST_KEYRINGS
            .iter()
            .find_map(|path| Keyring::read(Path::new(path)).ok())
            .unwrap_or(Keyring { certificates: Vec::new() });
        keyring.add_missing(Keyring::shipped()?);
        Ok(keyring)
    }

    fn shipped() -> Result<Keyring> {
        let mut keyring = Keyring { certificates: Vec::new() };
        for (name, bytes) in SHIPPED {
            keyring.add_missing(Keyring::parse(bytes, &PathBuf::from(name))?);
        }
        Ok(keyring)
    }

    fn read(path: &Path) -> Result<Keyring> {
        let size = fs::metadata(path).map_err(Error::io(path))?.len();
        if size > KEYRING_LIMIT {
            return Err(Error::too_large(format!("keyring {}", path.display()), KEYRING_LIMIT));
        }
        Keyring::parse(&fs::read(path).map_err(Error::io(path))?, path)
    }

    /// Reads binary or ASCII-armoured keys; those that cannot be used are passed over, but not all may be.
    pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<Keyring> {
        let refuse = |reason: String| Error::Keyring { path: path.to_owned(), reason };
        let (keys, _) = SignedPublicKey::from_reader_many(bytes).map_err(|e| refuse(e.to_string()))?;
        let certificates: Vec<_> =
            keys.take(MAX_KEYS).flatten().filter_map(|key| Certificate::new(&key)).collect();
        if certificates.is_empty() {
            return Err(refuse("it has no OpenPGP key that can sign".into()));
        }
        Ok(Keyring { certificates })
    }

    fn add_missing(&mut self, other: Keyring) {
        for certificate in other.certificates {
            if !self.certificates.iter().any(|own| own.fingerprint == certificate.fingerprint) {
                self.certificates.push(certificate);
            }
        }
    }

    /// Checks a clear-signed file, and returns the text that is signed, with lines that end in `\n`. `what`
    /// names the file in errors; `now` is in seconds since 1970.
    pub fn verify(&self, signed: &[u8], now: u64, what: &str) -> Result<String> {
        let text = std::str::from_utf8(signed).map_err(|_| Error::malformed(what, "it is not UTF-8 text"))?;
        if text.lines().count() > MAX_LINES {
            return Err(Error::TooLarge { what: what.to_owned(), limit: MAX_LINES as u64, unit: "lines" });
        }
        let (message, _) = CleartextSignedMessage::from_string(text)
            .map_err(|e| Error::malformed(what, format!("it is not a clear-signed message: {e}")))?;
        let signed_text = message.signed_text();
        let mut reasons = Vec::new();
        for signature in message.signatures().iter().take(MAX_SIGNATURES) {
            match self.check(signature, signed_text.as_bytes(), now) {
                Ok(()) => return Ok(signed_text.replace("\r\n", "\n")),
                Err(reason) => reasons.push(format!("the signature by {} {reason}", issuer(signature))),
            }
        }
        let reason = if reasons.is_empty() { "it has no signature".to_owned() } else { reasons.join("; ") };
        Err(Error::Signature { what: what.to_owned(), reason })
    }

    fn check(&self, signature: &Signature, text: &[u8], now: u64) -> std::result::Result<(), String> {
        if !matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary)) {
            return Err("is not one of a document".into());
        }
        if !has_strong_hash(signature) {
            return Err("uses a weak hash".into());
        }
        let made = signature.created().map(|t| u64::from(t.as_secs())).ok_or("has no date")?;
        if made > now.saturating_add(CLOCK_TOLERANCE) {
            return Err("is from the future: is this machine's clock right?".into());
        }
        if signature.signature_expiration_time().is_some_and(|d| made + u64::from(d.as_secs()) < now) {
            return Err("has expired".into());
        }
        let mut reason = "is by none of the trusted keys".to_owned();
        for signer in self.certificates.iter().flat_map(|certificate| &certificate.signers) {
            if !signer.may_have_issued(signature) {
                continue;
            }
            match signer.verify(signature, text).and_then(|()| signer.validity.check(made)) {
                Ok(()) => return Ok(()),
                Err(why) => reason = why,
            }
        }
        Err(reason)
    }
}

impl Certificate {
    fn new(certificate: &SignedPublicKey) -> Option<Certificate> {
        let primary = &certificate.primary_key;
        let (validity, may_sign) = primary_validity(certificate)?;
        let mut signers = Vec::new();
        if may_sign && is_strong(primary.public_params()) {
            signers.push(Signer { key: SigningKey::Primary(primary.clone()), validity: validity.clone() });
        }
        for subkey in &certificate.public_subkeys {
            if !is_strong(subkey.key.public_params()) {
                continue;
            }
            let newest = newest(subkey.signatures.iter().filter(|s| {
                s.typ() == Some(SignatureType::SubkeyBinding)
                    && has_strong_hash(s)
                    && s.verify_subkey_binding(primary, &subkey.key).is_ok()
            }));
            let Some(binding) = newest else { continue };
            let signed_back = binding.embedded_signature().is_some_and(|s| {
                has_strong_hash(s) && s.verify_primary_key_binding(&subkey.key, primary).is_ok()
            });
            if !binding.key_flags().sign() || !signed_back {
                continue;
            }
            let revocations = subkey.signatures.iter().filter(|s| {
                s.typ() == Some(SignatureType::SubkeyRevocation)
                    && s.verify_subkey_binding(primary, &subkey.key).is_ok()
            });
            let own = Validity {
                created: created(&subkey.key),
                expires: expiry(&subkey.key, binding),
                revoked: revocations.map(revoked_from).min(),
            };
            signers.push(Signer {
                key: SigningKey::Subkey(subkey.key.clone()),
                validity: own.within(&validity),
            });
        }
        Some(Certificate { fingerprint: primary.fingerprint().to_string(), signers })
            .filter(|certificate| !certificate.signers.is_empty())
    }
}

/// When the primary key is valid, and whether it may sign; `None` if it does not certify itself at all.
fn primary_validity(certificate: &SignedPublicKey) -> Option<(Validity, bool)> {
    let key = &certificate.primary_key;
    let details = &certificate.details;
    let user_signature = newest(details.users.iter().flat_map(|user| {
        let is_own =
            |s: &&Signature| has_strong_hash(s) && s.verify_certification(key, Tag::UserId, &user.id).is_ok();
        user.signatures.iter().filter(is_own)
    }));
    let direct_signature =
        newest(details.direct_signatures.iter().filter(|s| {
            s.typ() == Some(SignatureType::Key) && has_strong_hash(s) && s.verify_key(key).is_ok()
        }));
    let self_signature = user_signature.or(direct_signature)?;
    let revocations = details
        .revocation_signatures
        .iter()
        .filter(|s| s.typ() == Some(SignatureType::KeyRevocation) && s.verify_key(key).is_ok());
    let validity = Validity {
        created: created(key),
        expires: earlier(expiry(key, self_signature), direct_signature.and_then(|s| expiry(key, s))),
        revoked: revocations.map(revoked_from).min(),
    };
    Some((validity, self_signature.key_flags().sign()))
}

impl Signer {
    fn may_have_issued(&self, signature: &Signature) -> bool {
        let (fingerprint, id) = match &self.key {
            SigningKey::Primary(key) => (key.fingerprint(), key.legacy_key_id()),
            SigningKey::Subkey(key) => (key.fingerprint(), key.legacy_key_id()),
        };
        signature.issuer_fingerprint().contains(&&fingerprint) || signature.issuer_key_id().contains(&&id)
    }

    fn verify(&self, signature: &Signature, text: &[u8]) -> std::result::Result<(), String> {
        let result = match &self.key {
            SigningKey::Primary(key) => signature.verify(key, text),
            SigningKey::Subkey(key) => signature.verify(key, text),
        };
        result.map_err(|_| "does not match the text".to_owned())
    }
}

fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Option<&'a Signature> {
    signatures.max_by_key(|signature| signature.created().map(|t| t.as_secs()))
}

fn created(key: &impl KeyDetails) -> u64 {
    u64::from(key.created_at().as_secs())
}

/// When a key expires by this signature on it: by the key's own lifetime, or with the signature.
fn expiry(key: &impl KeyDetails, signature: &Signature) -> Option<u64> {
    let key_lifetime = signature.key_expiration_time().map(|d| u64::from(d.as_secs())).filter(|d| *d != 0);
    let signature_lifetime =
        signature.signature_expiration_time().map(|d| u64::from(d.as_secs())).filter(|d| *d != 0);
    let made = signature.created().map_or(0, |t| u64::from(t.as_secs()));
    earlier(key_lifetime.map(|d| created(key) + d), signature_lifetime.map(|d| made + d))
}

/// From when on a revocation counts: at once for a key that was replaced or retired, for all time otherwise.
fn revoked_from(revocation: &Signature) -> u64 {
    match revocation.revocation_reason_code() {
        Some(RevocationCode::KeySuperseded | RevocationCode::KeyRetired) => {
            revocation.created().map_or(0, |t| u64::from(t.as_secs()))
        }
        _ => 0,
    }
}

fn has_strong_hash(signature: &Signature) -> bool {
    matches!(
        signature.hash_alg(),
        Some(
            HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
                | HashAlgorithm::Sha3_256
                | HashAlgorithm::Sha3_512
        )
    )
}

fn is_strong(params: &PublicParams) -> bool {
    match params {
        PublicParams::RSA(rsa) => rsa.write_len() >= MIN_RSA_BYTES,
        PublicParams::ECDSA(_) | PublicParams::EdDSALegacy(_) => true,
        PublicParams::Ed25519(_) | PublicParams::Ed448(_) => true,
        _ => false,
    }
}

fn issuer(signature: &Signature) -> String {
    let fingerprints = signature.issuer_fingerprint().into_iter().map(|f| f.to_string());
    let ids = signature.issuer_key_id().into_iter().map(|id| id.to_string());
    fingerprints.chain(ids).next().map_or("an unnamed key".to_owned(), |name| format!("key {name}"))
}

#[cfg(test)]
#[path = "keyring_tests.rs"]
mod tests;
