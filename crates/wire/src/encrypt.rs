//! The encryption envelope: AES-GCM under one of several keys. Where the envelope stands in a packet or stream, and
//! what is authenticated along with it, is up to the caller; so are nonces and the management of keys.
//!
//! Format: gossip.md §1.4. An envelope is `version | nonce(12) | ciphertext | tag(16)`.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use aes_gcm::aead::KeyInit;
use aes_gcm::aead::consts::U12;
use aes_gcm::aes::Aes192;
use aes_gcm::{AeadInOut, Aes128Gcm, Aes256Gcm, AesGcm, Nonce, Tag};
use zeroize::Zeroize;

use crate::error::Malformed;

const VERSION_BYTES: usize = 1;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const HEADER_BYTES: usize = VERSION_BYTES + NONCE_BYTES;
const BLOCK_BYTES: usize = 16;

/// A gossip key: 16, 24 or 32 bytes, which select AES-128, AES-192 or AES-256.
///
/// The key schedule is computed once; clones share it. The bytes are wiped when the last clone goes away, and
/// `Debug` does not show them.
#[derive(Clone)]
pub struct Key(Arc<Schedule>);

struct Schedule {
    bytes: [u8; 32],
    length: usize,
    cipher: Cipher,
}

enum Cipher {
    Aes128(Aes128Gcm),
    Aes192(AesGcm<Aes192, U12>),
    Aes256(Aes256Gcm),
}

/// The number of bytes offered as a key is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("key size must be 16, 24 or 32 bytes")]
pub struct KeySize;

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Key {
    /// Takes a key as it is configured.
    ///
    /// # Errors
    /// [`KeySize`] unless there are 16, 24 or 32 bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, KeySize> {
        let cipher = match bytes.len() {
            16 => Cipher::Aes128(Aes128Gcm::new_from_slice(bytes).map_err(|_| KeySize)?),
            24 => Cipher::Aes192(AesGcm::new_from_slice(bytes).map_err(|_| KeySize)?),
            32 => Cipher::Aes256(Aes256Gcm::new_from_slice(bytes).map_err(|_| KeySize)?),
            _ => return Err(KeySize),
        };
        let mut kept = [0; 32];
        kept[..bytes.len()].copy_from_slice(bytes);
        let key = Self(Arc::new(Schedule { bytes: kept, length: bytes.len(), cipher }));
        kept.zeroize();
        Ok(key)
    }

    /// The bytes it was made of.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.bytes[..self.0.length]
    }

    fn encrypt(&self, nonce: &[u8; NONCE_BYTES], aad: &[u8], text: &mut [u8]) -> Tag {
        let nonce = Nonce::from(*nonce);
        match &self.0.cipher {
            Cipher::Aes128(cipher) => cipher.encrypt_inout_detached(&nonce, aad, text.into()),
            Cipher::Aes192(cipher) => cipher.encrypt_inout_detached(&nonce, aad, text.into()),
            Cipher::Aes256(cipher) => cipher.encrypt_inout_detached(&nonce, aad, text.into()),
        }
        .expect("AES-GCM takes 64 GiB")
    }

    /// Whether the tag fits; if not, `text` stays as it is.
    fn decrypt(&self, nonce: &[u8; NONCE_BYTES], aad: &[u8], text: &mut [u8], tag: &Tag) -> bool {
        let nonce = Nonce::from(*nonce);
        match &self.0.cipher {
            Cipher::Aes128(cipher) => cipher.decrypt_inout_detached(&nonce, aad, text.into(), tag),
            Cipher::Aes192(cipher) => cipher.decrypt_inout_detached(&nonce, aad, text.into(), tag),
            Cipher::Aes256(cipher) => cipher.decrypt_inout_detached(&nonce, aad, text.into(), tag),
        }
        .is_ok()
    }
}

impl PartialEq for Key {
    /// Takes the same time wherever the keys differ.
    fn eq(&self, other: &Self) -> bool {
        let difference = self.0.bytes.iter().zip(&other.0.bytes).fold(0, |sum, (a, b)| sum | (a ^ b));
        self.0.length == other.0.length && difference == 0
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} bytes)", self.0.length)
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        // The cipher wipes itself.
        self.bytes.zeroize();
    }
}

/// The version of an envelope. Receivers take both; Serf sends [`V1`](Self::V1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Version {
    /// The plaintext is padded to a multiple of 16 bytes, with 1 to 16 bytes that each hold their number.
    V0 = 0,
    /// The plaintext is encrypted as it is.
    V1 = 1,
}

/// How many bytes an envelope adds at most: 45 for version 0, 29 for version 1.
pub fn overhead(version: Version) -> usize {
    HEADER_BYTES + TAG_BYTES + if version == Version::V0 { BLOCK_BYTES } else { 0 }
}

/// Encrypts `plain[from..]` in place: version and nonce are inserted before, padding and tag appended.
///
/// `aad` is authenticated but not part of the result. A nonce must never serve twice under one key.
///
/// # Panics
/// If `from` lies beyond the end.
pub fn seal(
    key: &Key,
    version: Version,
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    plain: &mut Vec<u8>,
    from: usize,
) {
    let end = plain.len();
    plain.resize(end + HEADER_BYTES, 0);
    plain.copy_within(from..end, from + HEADER_BYTES);
    plain[from] = version as u8;
    plain[from + VERSION_BYTES..][..NONCE_BYTES].copy_from_slice(nonce);
    finish(key, version, nonce, aad, plain, from + HEADER_BYTES);
}

/// Appends version and nonce. What is appended after them will be encrypted by [`finish`].
pub(crate) fn begin(version: Version, nonce: &[u8; NONCE_BYTES], out: &mut Vec<u8>) {
    out.push(version as u8);
    out.extend_from_slice(nonce);
}

/// How long the envelope of `plain` bytes is.
pub(crate) fn sealed_length(version: Version, plain: usize) -> usize {
    HEADER_BYTES + plain + padding(version, plain) + TAG_BYTES
}

/// Encrypts `out[from..]`, which stands behind version and nonce, and appends what belongs at its end.
pub(crate) fn finish(
    key: &Key,
    version: Version,
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    out: &mut Vec<u8>,
    from: usize,
) {
    let padding = padding(version, out.len() - from);
    out.resize(out.len() + padding, padding as u8);
    let tag = key.encrypt(nonce, aad, &mut out[from..]);
    out.extend_from_slice(&tag);
}

fn padding(version: Version, plain: usize) -> usize {
    match version {
        Version::V0 => BLOCK_BYTES - plain % BLOCK_BYTES,
        Version::V1 => 0,
    }
}

/// Decrypts an envelope in place with the first of `keys` that fits and returns the plaintext, without padding.
///
/// On failure the buffer is as it was.
///
/// # Errors
/// In this order: [`Malformed::EncryptedEmpty`], [`Malformed::EncryptionVersion`],
/// [`Malformed::EncryptionVersion0`] if `accept_v0` is off, [`Malformed::EncryptedTooShort`],
/// [`Malformed::NoKeyFits`], [`Malformed::BadPadding`].
pub fn open<'b, 'k>(
    keys: impl IntoIterator<Item = &'k Key>,
    accept_v0: bool,
    aad: &[u8],
    sealed: &'b mut [u8],
) -> Result<&'b mut [u8], Malformed> {
    let plain = open_range(keys, accept_v0, aad, sealed)?;
    Ok(&mut sealed[plain])
}

/// [`open`], for callers that need the buffer back on failure.
pub(crate) fn open_range<'k>(
    keys: impl IntoIterator<Item = &'k Key>,
    accept_v0: bool,
    aad: &[u8],
    sealed: &mut [u8],
) -> Result<Range<usize>, Malformed> {
    let length = sealed.len();
    let version = match sealed.first() {
        None => return Err(Malformed::EncryptedEmpty),
        Some(0) if accept_v0 => Version::V0,
        Some(0) => return Err(Malformed::EncryptionVersion0),
        Some(1) => Version::V1,
        Some(other) => return Err(Malformed::EncryptionVersion(*other)),
    };
    if length < overhead(version) {
        return Err(Malformed::EncryptedTooShort(length));
    }
    let too_short = Malformed::EncryptedTooShort(length);
    let (head, rest) = sealed.split_at_mut(HEADER_BYTES);
    let nonce = head[VERSION_BYTES..].first_chunk::<NONCE_BYTES>().ok_or(too_short)?;
    let (text, tag) = rest.split_last_chunk_mut::<TAG_BYTES>().ok_or(too_short)?;
    let tag = Tag::from(*tag);
    let key = keys.into_iter().find(|key| key.decrypt(nonce, aad, text, &tag)).ok_or(Malformed::NoKeyFits)?;
    let plain = match version {
        Version::V1 => Some(text.len()),
        Version::V0 => unpadded(text),
    };
    let Some(plain) = plain else {
        key.encrypt(nonce, aad, text);
        return Err(Malformed::BadPadding);
    };
    Ok(HEADER_BYTES..HEADER_BYTES + plain)
}

/// The length of `text` without its padding, if the padding is what it should be (gossip.md §1.4, H5).
fn unpadded(text: &[u8]) -> Option<usize> {
    let padding = usize::from(*text.last()?);
    let plain = text.len().checked_sub(padding)?;
    let good =
        (1..=BLOCK_BYTES).contains(&padding) && text[plain..].iter().all(|&pad| usize::from(pad) == padding);
    good.then_some(plain)
}
