//! Reading and writing the fields: every read is bounded by what is there.

use super::reject::Reject;

/// What is left to read. A field beyond the end is [`Reject::Malformed`]: the checksum has vouched for the length.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Reject> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Reject::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Reject> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Reject::Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Reject> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Reject> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Reject> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn varint(&mut self) -> Result<u64, Reject> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Reject::Malformed)
    }

    /// A varint that counts bytes.
    pub(super) fn length(&mut self) -> Result<usize, Reject> {
        usize::try_from(self.varint()?).map_err(|_| Reject::Malformed)
    }
}

pub(super) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(value: u64, shift in 0..64_u32) {
            let value = value >> shift;
            let mut bytes = Vec::new();
            put_varint(value, &mut bytes);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert!(reader.rest().is_empty());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..24), length: usize) {
            let mut reader = Reader::new(&bytes);
            let _ = reader.varint();
            let _ = reader.take(length);
            prop_assert!(reader.rest().len() <= bytes.len());
        }
    }

    #[test]
    fn a_varint_beyond_64_bits_is_refused() {
        assert_eq!(Reader::new(&[0xFF; 11]).varint(), Err(Reject::Malformed));
        let mut most = [0xFF; 10];
        most[9] = 0x02;
        assert_eq!(Reader::new(&most).varint(), Err(Reject::Malformed));
        most[9] = 0x01;
        assert_eq!(Reader::new(&most).varint(), Ok(u64::MAX));
    }
}
