//! [`Compression`] of values above a threshold, and bounded decompression.

use std::borrow::Cow;

/// Whether and how encoded values are compressed on their way to the shared tier.
///
/// Default: not at all, so that what stands in Redis stays readable. Values that do not shrink by an eighth are
/// stored as they are. Every build reads what it has the feature for, whatever is configured now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    algorithm: Algorithm,
    above: usize,
}

impl Compression {
    /// Values are stored as they are.
    #[must_use]
    pub const fn none() -> Self {
        Self::with(Algorithm::None)
    }

    /// LZ4: some 12 µs for 10 KB, 4 µs back.
    #[cfg(feature = "lz4")]
    #[must_use]
    pub const fn lz4() -> Self {
        Self::with(Algorithm::Lz4)
    }

    /// Zstandard: some 37 µs for 10 KB at level 1, 16 µs back, and smaller. Levels outside 1 to 19 count as the
    /// nearest of these: beyond, a reader would need more memory than it allows.
    #[cfg(feature = "zstd")]
    #[must_use]
    pub const fn zstd(level: i32) -> Self {
        let level = if level < 1 {
            1
        } else if level > 19 {
            19
        } else {
            level
        };
        Self::with(Algorithm::Zstd { level })
    }

    /// Compresses only values of more than so many encoded bytes.
    ///
    /// Default: 1,024. Below, there is little to win, and the round trip costs the same.
    #[must_use]
    pub const fn above(self, bytes: usize) -> Self {
        Self { above: bytes, ..self }
    }

    const fn with(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            above: 1_024,
        }
    }

    /// The payload as it is to be stored, and the number that says how.
    pub(super) fn compress<'p>(&self, payload: &'p [u8]) -> (u8, Cow<'p, [u8]>) {
        if payload.len() <= self.above {
            return (STORED, Cow::Borrowed(payload));
        }
        let compressed: Option<(u8, Vec<u8>)> = match self.algorithm {
            Algorithm::None => None,
            #[cfg(feature = "lz4")]
            Algorithm::Lz4 => Some((LZ4, lz4_flex::block::compress(payload))),
            // Fails only for want of memory; then the value goes uncompressed.
            #[cfg(feature = "zstd")]
            Algorithm::Zstd { level } => zstd::bulk::compress(payload, level)
                .ok()
                .map(|bytes| (ZSTD, bytes)),
        };
        match compressed {
            Some((id, bytes)) if bytes.len() <= payload.len() - payload.len() / 8 => (id, Cow::Owned(bytes)),
            _ => (STORED, Cow::Borrowed(payload)),
        }
    }
}

impl Default for Compression {
    fn default() -> Self {
        Self::none()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    None,
    #[cfg(feature = "lz4")]
    Lz4,
    #[cfg(feature = "zstd")]
    Zstd {
        level: i32,
    },
}

/// Why a payload could not be decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Compressed in a way that this build does not know.
    Unknown,
    /// Not what the algorithm writes, or not of the declared length.
    Corrupt,
}

/// The payload as it was before it was compressed.
///
/// `length` is what the entry declares, already below the limit. It bounds the output, but memory is taken only
/// as the compressed bytes justify it.
pub(super) fn decompress(id: u8, bytes: &[u8], length: usize) -> Result<Cow<'_, [u8]>, Refused> {
    let payload = match id {
        STORED => Some(Cow::Borrowed(bytes)),
        #[cfg(feature = "lz4")]
        LZ4 => unpack_lz4(bytes, length).map(Cow::Owned),
        #[cfg(feature = "zstd")]
        ZSTD => unpack_zstd(bytes, length).map(Cow::Owned),
        _ => return Err(Refused::Unknown),
    };
    payload
        .filter(|payload| payload.len() == length)
        .ok_or(Refused::Corrupt)
}

/// Whether this build can decompress it.
pub(super) const fn is_known(id: u8) -> bool {
    match id {
        STORED => true,
        #[cfg(feature = "lz4")]
        LZ4 => true,
        #[cfg(feature = "zstd")]
        ZSTD => true,
        _ => false,
    }
}

/// One byte of LZ4 stands for at most 255 bytes of output, so a longer declared length is a lie.
#[cfg(feature = "lz4")]
fn unpack_lz4(bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    if length > bytes.len().saturating_mul(255) {
        return None;
    }
    let mut payload = vec![0; length];
    let written = lz4_flex::block::decompress_into(bytes, &mut payload).ok()?;
    payload.truncate(written);
    Some(payload)
}

/// Zstandard has no such ratio: the output grows as it comes, one byte beyond the declared length at most.
#[cfg(feature = "zstd")]
fn unpack_zstd(bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    use std::io::Read;

    let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)
        .ok()?
        .single_frame();
    decoder.window_log_max(MAX_WINDOW_LOG).ok()?;
    let mut payload = Vec::with_capacity(length.min(bytes.len().saturating_mul(8)));
    let mut limited = decoder.take(length as u64 + 1);
    limited.read_to_end(&mut payload).ok()?;
    Some(payload)
}

/// 8 MiB of history, which every level up to 19 stays within.
#[cfg(feature = "zstd")]
const MAX_WINDOW_LOG: u32 = 23;

/// Numbers in the envelope.
const STORED: u8 = 0;
#[cfg(feature = "lz4")]
const LZ4: u8 = 1;
#[cfg(feature = "zstd")]
const ZSTD: u8 = 2;
