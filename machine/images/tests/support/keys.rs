//! Keys made for the tests, and what they sign.

#![allow(dead_code, reason = "not every test program uses every helper")]

use pgp::composed::{
    CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedPublicKey, SignedSecretKey,
    SubkeyParamsBuilder,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{
    KeyFlags, RevocationCode, Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData,
};
use pgp::ser::Serialize;
use pgp::types::{Duration, Password, SigningKey, Tag, Timestamp};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// When keys are made, in seconds since 1970.
pub const CREATED: u32 = 1_700_000_000;

/// What a test wants of a key.
pub struct Shape {
    /// How long it is valid, in seconds.
    pub lifetime: Option<u32>,
    /// Why and when it was revoked.
    pub revoked: Option<(RevocationCode, u32)>,
    /// Whether it has the signing flag.
    pub can_sign: bool,
    /// Algorithm of the primary key.
    pub algorithm: KeyType,
    /// The hash of its signature on itself.
    pub hash: HashAlgorithm,
}

impl Default for Shape {
    fn default() -> Self {
        Shape {
            lifetime: None,
            revoked: None,
            can_sign: true,
            algorithm: KeyType::Ed25519Legacy,
            hash: HashAlgorithm::Sha256,
        }
    }
}

/// A key pair with one user and a signing subkey.
pub struct TestKey {
    secret: SignedSecretKey,
    certificate: SignedPublicKey,
}

impl TestKey {
    /// The key of this number.
    pub fn new(number: u64, shape: &Shape) -> TestKey {
        let created_at = Timestamp::from_secs(CREATED);
        let mut subkey = SubkeyParamsBuilder::default();
        subkey.key_type(KeyType::Ed25519Legacy).can_sign(true).created_at(created_at);
        let mut params = SecretKeyParamsBuilder::default();
        params
            .key_type(shape.algorithm.clone())
            .can_certify(true)
            .can_sign(true)
            .created_at(created_at)
            .primary_user_id(format!("Test key {number} <test@example.org>"))
            .subkey(subkey.build().unwrap());
        let secret = params.build().unwrap().generate(StdRng::seed_from_u64(number)).unwrap();
        let mut certificate = secret.to_public_key();

        let key = &secret.primary_key;
        let mut flags = KeyFlags::default();
        flags.set_certify(true);
        flags.set_sign(shape.can_sign);
        let mut subpackets = vec![SubpacketData::KeyFlags(flags)];
        subpackets
            .extend(shape.lifetime.map(|secs| SubpacketData::KeyExpirationTime(Duration::from_secs(secs))));
        let user = &mut certificate.details.users[0];
        user.signatures = vec![
            config(SignatureType::CertPositive, key, shape.hash, CREATED, subpackets)
                .sign_certification(key, key.public_key(), &Password::empty(), Tag::UserId, &user.id)
                .unwrap(),
        ];
        if let Some((code, time)) = shape.revoked {
            let reason = SubpacketData::RevocationReason(code, "test".into());
            certificate.details.revocation_signatures.push(
                config(SignatureType::KeyRevocation, key, HashAlgorithm::Sha256, time, vec![reason])
                    .sign_key(key, &Password::empty(), key.public_key())
                    .unwrap(),
            );
        }
        TestKey { secret, certificate }
    }

    /// The certificate as a binary keyring.
    pub fn certificate(&self) -> Vec<u8> {
        self.certificate.to_bytes().unwrap()
    }

    /// The certificate for changes.
    pub fn certificate_mut(&mut self) -> &mut SignedPublicKey {
        &mut self.certificate
    }

    /// Clear-signs with the primary key.
    pub fn sign(&self, text: &str, time: u32) -> String {
        self.sign_as(text, time, HashAlgorithm::Sha256, SignatureType::Text)
    }

    /// Clear-signs with the primary key, with this hash and type of signature.
    pub fn sign_as(&self, text: &str, time: u32, hash: HashAlgorithm, kind: SignatureType) -> String {
        clear_sign(text, &self.secret.primary_key, hash, kind, time)
    }

    /// Clear-signs with the subkey.
    pub fn sign_with_subkey(&self, text: &str, time: u32) -> String {
        let subkey = &self.secret.secret_subkeys[0].key;
        clear_sign(text, subkey, HashAlgorithm::Sha256, SignatureType::Text, time)
    }

    /// Revokes the subkey.
    pub fn revoke_subkey(&mut self) {
        let key = &self.secret.primary_key;
        let subkey = &mut self.certificate.public_subkeys[0];
        let revocation: Signature =
            config(SignatureType::SubkeyRevocation, key, HashAlgorithm::Sha256, CREATED, vec![])
                .sign_subkey_binding(key, key.public_key(), &Password::empty(), &subkey.key)
                .unwrap();
        subkey.signatures.push(revocation);
    }
}

fn clear_sign(
    text: &str,
    key: &impl SigningKey,
    hash: HashAlgorithm,
    kind: SignatureType,
    time: u32,
) -> String {
    CleartextSignedMessage::new(text, config(kind, key, hash, time, vec![]), key, &Password::empty())
        .unwrap()
        .to_armored_string(Default::default())
        .unwrap()
}

fn config(
    kind: SignatureType,
    key: &impl SigningKey,
    hash: HashAlgorithm,
    time: u32,
    subpackets: Vec<SubpacketData>,
) -> SignatureConfig {
    let mut config = SignatureConfig::v4(kind, key.algorithm(), hash);
    let all = [
        SubpacketData::SignatureCreationTime(Timestamp::from_secs(time)),
        SubpacketData::IssuerFingerprint(key.fingerprint()),
    ];
    config.hashed_subpackets =
        all.into_iter().chain(subpackets).map(|data| Subpacket::regular(data).unwrap()).collect();
    config
}
