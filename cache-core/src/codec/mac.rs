//! [`MacKeys`]: signed entries, for those who do not trust everyone who can write to their Redis.

use std::fmt;

use super::envelope::SIGNATURE_BYTES;
use crate::error::Error;

/// Secrets that entries in the shared tier are signed with (BLAKE3, keyed).
///
/// Without them, whoever can write to Redis can make the cache answer anything: Redis is inside the trust boundary.
/// With them an entry is read only if one of the keys signed it for exactly the key under which it stands. What a
/// signature does not prevent: an entry can be deleted, and an older entry of the same key can be put back.
///
/// Keys rotate without a miss in three deployments: first all nodes [accept](Self::accept) the new secret, then all
/// sign with it and accept the old one, and when the longest TTL has passed the old one is dropped.
///
/// ```
/// use cache_core::codec::MacKeys;
///
/// # let (new_secret, old_secret) = ([1; 32], [2; 32]);
/// let keys = MacKeys::new(new_secret)?.accept(old_secret)?;
/// # Ok::<(), cache_core::Error>(())
/// ```
#[derive(Clone)]
pub struct MacKeys {
    signing: MacKey,
    accepted: Vec<MacKey>,
}

#[derive(Clone)]
struct MacKey {
    /// Tells which key signed; derived from the secret, but says nothing about it.
    id: [u8; 4],
    key: [u8; 32],
}

impl MacKeys {
    /// Signs with this secret, and accepts what it signed.
    ///
    /// # Errors
    ///
    /// If the secret has fewer than 16 bytes. It should be random; 32 bytes are a good length.
    pub fn new(secret: impl AsRef<[u8]>) -> Result<Self, Error> {
        Ok(Self {
            signing: MacKey::derive(secret.as_ref())?,
            accepted: Vec::new(),
        })
    }

    /// Accepts what this secret signed, too.
    ///
    /// # Errors
    ///
    /// If the secret has fewer than 16 bytes.
    pub fn accept(mut self, secret: impl AsRef<[u8]>) -> Result<Self, Error> {
        self.accepted.push(MacKey::derive(secret.as_ref())?);
        Ok(self)
    }

    /// The signature of an envelope's body under `key`.
    pub(super) fn sign(&self, key: &[u8], body: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let mut signature = [0; SIGNATURE_BYTES];
        let (id, mac) = signature.split_at_mut(4);
        id.copy_from_slice(&self.signing.id);
        mac.copy_from_slice(self.signing.mac(key, body).as_bytes());
        signature
    }

    /// Whether one of the accepted keys made this signature; in time that does not depend on how wrong it is.
    pub(super) fn verify(
        &self,
        key: &[u8],
        body: &[u8],
        signature: &[u8; SIGNATURE_BYTES],
    ) -> Result<(), Forged> {
        let [i0, i1, i2, i3, mac @ ..] = signature;
        let id = [*i0, *i1, *i2, *i3];
        let mut known = false;
        for candidate in std::iter::once(&self.signing).chain(&self.accepted) {
            if candidate.id != id {
                continue;
            }
            known = true;
            // The comparison of `blake3::Hash` with an array takes the same time wherever they differ.
            if candidate.mac(key, body) == *mac {
                return Ok(());
            }
        }
        Err(if known {
            Forged::Signature
        } else {
            Forged::UnknownKey
        })
    }
}

/// Why a signature is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forged {
    /// No accepted secret has this id.
    UnknownKey,
    /// The secret is known, but it did not sign this.
    Signature,
}

/// Shows that there are keys, not which.
impl fmt::Debug for MacKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MacKeys")
            .field("accepted", &(1 + self.accepted.len()))
            .finish_non_exhaustive()
    }
}

impl MacKey {
    fn derive(secret: &[u8]) -> Result<Self, Error> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(Error::invalid(format!(
                "a secret for signing entries has at least {MIN_SECRET_BYTES} bytes, this one has {}",
                secret.len()
            )));
        }
        let [i0, i1, i2, i3, ..] = blake3::derive_key(ID_CONTEXT, secret);
        Ok(Self {
            id: [i0, i1, i2, i3],
            key: blake3::derive_key(KEY_CONTEXT, secret),
        })
    }

    /// Over the whole key, not its check: that one is short enough to be collided with on purpose.
    fn mac(&self, key: &[u8], body: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&(key.len() as u64).to_le_bytes());
        hasher.update(key);
        hasher.update(body);
        hasher.finalize()
    }
}

const MIN_SECRET_BYTES: usize = 16;

/// Frozen, like the format: another context would make every signed entry unreadable.
const KEY_CONTEXT: &str = "cache-core 2025 entry envelope: signing key";
const ID_CONTEXT: &str = "cache-core 2025 entry envelope: key id";
