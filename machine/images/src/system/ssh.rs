//! Keys to log into an installed system with.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;

use crate::{Error, Result};

const KIND: &str = "ssh-ed25519";
const COMMENT: &str = "ferry-disk";
/// Largest file of a public key that is read, in bytes.
const FILE_LIMIT: u64 = 64 << 10;
/// What a line with a public key begins with (sshd(8), "AUTHORIZED_KEYS FILE FORMAT").
const KINDS: &[&str] = &["ssh-ed25519 ", "ssh-rsa ", "ecdsa-sha2-", "sk-ssh-ed25519@", "sk-ecdsa-sha2-"];

/// An Ed25519 key as OpenSSH keeps it in files.
#[derive(Clone)]
pub struct KeyPair {
    /// The private key without a passphrase, what `id_ed25519` has.
    pub private: String,
    /// The public key, a line without its end.
    pub public: String,
}

impl KeyPair {
    /// Makes a new one.
    ///
    /// # Errors
    /// Fails if the host has no random numbers.
    pub fn generate() -> Result<KeyPair> {
        let mut seed = [0; 36];
        let mut rest = &mut seed[..];
        while !rest.is_empty() {
            let read = rustix::rand::getrandom(&mut *rest, rustix::rand::GetRandomFlags::empty());
            let read = read.map_err(|e| Error::Io { path: "random numbers".into(), source: e.into() })?;
            rest = rest.get_mut(read..).unwrap_or_default();
        }
        let (secret, check) = seed.split_first_chunk::<32>().unwrap_or((&[0; 32], &[]));
        Ok(Self::from_seed(secret, check))
    }

    /// The key of this seed. `check` is four bytes, any.
    fn from_seed(seed: &[u8; 32], check: &[u8]) -> KeyPair {
        let key = SigningKey::from_bytes(seed);
        let public = key.verifying_key().to_bytes();
        let mut blob = Vec::new();
        put(&mut blob, KIND.as_bytes());
        put(&mut blob, &public);

        // OpenSSH, PROTOCOL.key: two equal numbers show that it was decrypted, if it was encrypted.
        let mut secret = [check, check].concat();
        put(&mut secret, KIND.as_bytes());
        put(&mut secret, &public);
        put(&mut secret, &key.to_keypair_bytes());
        put(&mut secret, COMMENT.as_bytes());
        let padding = secret.len().wrapping_neg() % 8;
        secret.extend((1..).take(padding));

        let mut file = b"openssh-key-v1\0".to_vec();
        for part in [b"none".as_slice(), b"none", b""] {
            put(&mut file, part);
        }
        file.extend(1_u32.to_be_bytes());
        put(&mut file, &blob);
        put(&mut file, &secret);
        let text = STANDARD.encode(file);
        let lines: Vec<&str> =
            text.as_bytes().chunks(70).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        let (name, lines) = ("OPENSSH PRIVATE KEY", lines.join("\n"));
        KeyPair {
            private: format!("-----BEGIN {name}-----\n{lines}\n-----END {name}-----\n"),
            public: format!("{KIND} {} {COMMENT}", STANDARD.encode(blob)),
        }
    }
}

/// Appends a string as the SSH protocol has it (RFC 4251, section 5).
fn put(out: &mut Vec<u8>, text: &[u8]) {
    out.extend((text.len() as u32).to_be_bytes());
    out.extend(text);
}

/// The public keys in a user's `.ssh` directory, as lines for `authorized_keys`; none if there is no such
/// directory. Files that cannot be read, and what is no key, are passed over.
pub fn public_keys(directory: &Path) -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "pub"))
        .collect();
    files.sort();
    let read = |path: &Path| {
        let small = fs::metadata(path).ok()?.len() <= FILE_LIMIT;
        small.then(|| fs::read_to_string(path).ok())?
    };
    let is_key = |line: &str| KINDS.iter().any(|kind| line.starts_with(kind)) && !line.contains('\0');
    let mut keys = Vec::new();
    for text in files.iter().filter_map(|path| read(path)) {
        let lines = text.lines().map(str::trim).filter(|line| is_key(line)).map(str::to_owned);
        keys.extend(lines);
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_as_openssh_writes_it() {
        let key = KeyPair::from_seed(&[7; 32], &[1, 2, 3, 4]);
        let text: String = key.private.lines().filter(|line| !line.starts_with('-')).collect();
        let file = STANDARD.decode(text).unwrap();
        let mut rest = file.strip_prefix(b"openssh-key-v1\0").unwrap();
        let mut take = |length: Option<usize>| {
            let length = length.unwrap_or_else(|| {
                let (length, after) = rest.split_first_chunk::<4>().unwrap();
                rest = after;
                u32::from_be_bytes(*length) as usize
            });
            let (part, after) = rest.split_at(length);
            rest = after;
            part
        };
        assert_eq!((take(None), take(None), take(None)), (&b"none"[..], &b"none"[..], &b""[..]));
        assert_eq!(take(Some(4)), [0, 0, 0, 1]);
        let public = take(None).to_vec();
        assert_eq!(key.public, format!("ssh-ed25519 {} ferry-disk", STANDARD.encode(&public)));
        let secret = take(None).to_vec();
        assert!(rest.is_empty());
        assert_eq!(secret.len() % 8, 0);
        assert_eq!(secret[..8], [1, 2, 3, 4, 1, 2, 3, 4]);
        assert_eq!(secret[8..8 + public.len()], public);
        // The seed, the public key again, the comment, the padding.
        let at = 8 + public.len() + 4;
        assert_eq!(secret[at..at + 32], [7; 32]);
        assert_eq!(secret[at + 32..at + 64], public[public.len() - 32..]);
        assert_eq!(secret[at + 64..], *b"\0\0\0\x0aferry-disk\x01\x02\x03");
        assert!(key.private.lines().all(|line| line.len() <= 70));
        assert_ne!(KeyPair::generate().unwrap().private, KeyPair::generate().unwrap().private);
    }

    #[test]
    fn public_keys_are_found() {
        let dir = tempfile::tempdir().unwrap();
        assert!(public_keys(&dir.path().join("none")).is_empty());
        let write = |name: &str, content: &[u8]| fs::write(dir.path().join(name), content).unwrap();
        write("id_rsa", b"ssh-rsa not public");
        write("b.pub", b"ssh-rsa AAAA b\n# comment\n\n");
        write("a.pub", b"  ssh-ed25519 AAAA a\r\necdsa-sha2-nistp256 AAAA c");
        write("evil.pub", b"command=\"x\" ssh-rsa AAAA\n\xff\n");
        write("large.pub", &vec![b'\n'; 100_000]);
        let keys = public_keys(dir.path());
        assert_eq!(keys, ["ssh-ed25519 AAAA a", "ecdsa-sha2-nistp256 AAAA c", "ssh-rsa AAAA b"]);
    }
}
