//! Parts that stand in a key as a digest: secret ones and long ones.

use sha2::{Digest, Sha256};

/// Length of a SHA-256 digest in base64url without padding.
pub(crate) const DIGEST_BYTES: usize = 43;

/// The SHA-256 of `bytes` in base64url without padding.
pub(crate) fn digest(bytes: &[u8]) -> [u8; DIGEST_BYTES] {
    encode(&Sha256::digest(bytes))
}

/// Base64url (RFC 4648 §5) without padding; every output byte is one that keys never escape.
pub(crate) fn encode(digest: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut text = [b'A'; DIGEST_BYTES];
    for (group, out) in digest.chunks(3).zip(text.chunks_mut(4)) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (at, symbol) in out.iter_mut().enumerate() {
            *symbol = ALPHABET[(bits >> (18 - 6 * at) & 63) as usize];
        }
    }
    text
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_of_the_standard_example_in_base64url() {
        // FIPS 180-2, appendix B.1: SHA-256("abc") = ba7816bf 8f01cfea … f20015ad
        assert_eq!(&digest(b"abc"), b"ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0");
    }

    #[test]
    fn every_bit_of_a_digest_shows_in_its_text() {
        let zero = encode(&[0; 32]);
        for bit in 0..256 {
            let mut digest = [0u8; 32];
            digest[bit / 8] |= 1 << (bit % 8);
            assert_ne!(encode(&digest), zero, "bit {bit}");
        }
    }
}
