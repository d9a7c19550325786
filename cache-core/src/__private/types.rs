//! A type as a part of a key.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;

use crate::key::{KeyPart, PartWriter};

/// Writes the path of `T` with `.` between its segments: `shop.model.Order`, `alloc.vec.Vec<u8>`.
#[derive(Debug)]
pub struct TypePart<T: ?Sized>(PhantomData<fn(&T)>);

impl<T: ?Sized> TypePart<T> {
    /// The part that stands for `T`.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: ?Sized> Default for TypePart<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: ?Sized> KeyPart for TypePart<T> {
    fn write(&self, out: PartWriter<'_>) {
        out.display(&Dotted(type_name::<T>()));
    }
}

/// A path with `.` in place of `::`, which would have to be escaped. Paths hold no single dots, so nothing meets.
struct Dotted(&'static str);

impl fmt::Display for Dotted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut segments = self.0.split("::");
        f.write_str(segments.next().unwrap_or_default())?;
        segments.try_for_each(|segment| write!(f, ".{segment}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Prefix;

    #[test]
    fn a_type_stands_in_a_key_as_its_path() {
        const ANY: Prefix = Prefix::literal("any");
        let key = ANY.key((TypePart::<Option<Vec<u8>>>::new(),));
        assert_eq!(key.text(), "any:core.option.Option<alloc.vec.Vec<u8>>");
    }
}
