//! `KeyPart` for the types of the standard library.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, LinkedList, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::num::NonZero;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::key::{KeyPart, PartWriter};

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl KeyPart for $integer {
            #[inline]
            fn write(&self, out: PartWriter<'_>) {
                out.word(itoa::Buffer::new().format(*self));
            }
        }

        impl KeyPart for NonZero<$integer> {
            #[inline]
            fn write(&self, out: PartWriter<'_>) {
                self.get().write(out);
            }
        }
    )*};
}

integers! { i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize }

impl KeyPart for bool {
    #[inline]
    fn write(&self, out: PartWriter<'_>) {
        out.word(if *self { "true" } else { "false" });
    }
}

impl KeyPart for char {
    fn write(&self, out: PartWriter<'_>) {
        out.text(self.encode_utf8(&mut [0; 4]));
    }
}

impl KeyPart for str {
    #[inline]
    fn write(&self, out: PartWriter<'_>) {
        out.text(self);
    }
}

impl KeyPart for String {
    #[inline]
    fn write(&self, out: PartWriter<'_>) {
        out.text(self);
    }
}

macro_rules! pointers {
    ($($pointer:ty)*) => {$(
        impl<T: KeyPart + ?Sized> KeyPart for $pointer {
            #[inline]
            fn write(&self, out: PartWriter<'_>) {
                (**self).write(out);
            }
        }
    )*};
}

pointers! { &T &mut T Box<T> Rc<T> Arc<T> }

impl<T: KeyPart + ToOwned + ?Sized> KeyPart for Cow<'_, T> {
    #[inline]
    fn write(&self, out: PartWriter<'_>) {
        (**self).write(out);
    }
}

impl<T: KeyPart> KeyPart for Option<T> {
    #[inline]
    fn write(&self, out: PartWriter<'_>) {
        match self {
            None => out.none(),
            Some(value) => out.some(value),
        }
    }
}

impl<T: KeyPart> KeyPart for [T] {
    fn write(&self, out: PartWriter<'_>) {
        write_all(self, out);
    }
}

impl<T: KeyPart, const N: usize> KeyPart for [T; N] {
    fn write(&self, out: PartWriter<'_>) {
        write_all(self, out);
    }
}

macro_rules! sequences {
    ($($sequence:ident)*) => {$(
        impl<T: KeyPart> KeyPart for $sequence<T> {
            fn write(&self, out: PartWriter<'_>) {
                write_all(self, out);
            }
        }
    )*};
}

sequences! { Vec VecDeque LinkedList BTreeSet }

impl<K: KeyPart, V: KeyPart> KeyPart for BTreeMap<K, V> {
    fn write(&self, out: PartWriter<'_>) {
        write_all(self, out);
    }
}

/// Sorted by the text of the elements, since the order of iteration differs between processes.
impl<T: KeyPart, S> KeyPart for HashSet<T, S> {
    fn write(&self, out: PartWriter<'_>) {
        out.sorted_group(self);
    }
}

/// Sorted by the text of the entries, since the order of iteration differs between processes.
impl<K: KeyPart, V: KeyPart, S> KeyPart for HashMap<K, V, S> {
    fn write(&self, out: PartWriter<'_>) {
        out.sorted_group(self);
    }
}

fn write_all<T: KeyPart>(items: impl IntoIterator<Item = T>, out: PartWriter<'_>) {
    out.group(|group| {
        for item in items {
            group.item(&item);
        }
    });
}

impl KeyPart for () {
    fn write(&self, out: PartWriter<'_>) {
        out.group(|_| {});
    }
}

macro_rules! tuples {
    ($(($($name:ident)+))*) => {$(
        impl<$($name: KeyPart),+> KeyPart for ($($name,)+) {
            #[inline]
            fn write(&self, out: PartWriter<'_>) {
                #[allow(non_snake_case, reason = "the variables carry the names of the types")]
                let ($($name,)+) = self;
                out.group(|group| {
                    $(group.item($name);)+
                });
            }
        }
    )*};
}

tuples! {
    (A)
    (A B)
    (A B C)
    (A B C D)
    (A B C D E)
    (A B C D E F)
    (A B C D E F G)
    (A B C D E F G H)
    (A B C D E F G H I)
    (A B C D E F G H I J)
    (A B C D E F G H I J K)
    (A B C D E F G H I J K L)
}

/// Seconds with the fraction that is needed: `90s`, `1.5s`, `0.000000001s`.
impl KeyPart for Duration {
    fn write(&self, out: PartWriter<'_>) {
        let seconds = self.as_secs();
        match self.subsec_nanos() {
            0 => out.display(&format_args!("{seconds}s")),
            nanos => {
                let fraction = format!("{nanos:09}");
                out.display(&format_args!("{seconds}.{}s", fraction.trim_end_matches('0')));
            }
        }
    }
}

impl KeyPart for Ipv4Addr {
    fn write(&self, out: PartWriter<'_>) {
        let [a, b, c, d] = self.octets();
        out.display(&format_args!("{a}.{b}.{c}.{d}"));
    }
}

/// All eight groups, joined by `-`, because a colon would have to be escaped: `2001-db8-0-0-0-0-0-1`.
impl KeyPart for Ipv6Addr {
    fn write(&self, out: PartWriter<'_>) {
        let [a, b, c, d, e, f, g, h] = self.segments();
        out.display(&format_args!("{a:x}-{b:x}-{c:x}-{d:x}-{e:x}-{f:x}-{g:x}-{h:x}"));
    }
}

impl KeyPart for IpAddr {
    fn write(&self, out: PartWriter<'_>) {
        match self {
            IpAddr::V4(address) => address.write(out),
            IpAddr::V6(address) => address.write(out),
        }
    }
}

impl KeyPart for SocketAddrV4 {
    fn write(&self, out: PartWriter<'_>) {
        (self.ip(), self.port()).write(out);
    }
}

impl KeyPart for SocketAddrV6 {
    fn write(&self, out: PartWriter<'_>) {
        (self.ip(), self.port(), self.flowinfo(), self.scope_id()).write(out);
    }
}

impl KeyPart for SocketAddr {
    fn write(&self, out: PartWriter<'_>) {
        match self {
            SocketAddr::V4(address) => address.write(out),
            SocketAddr::V6(address) => address.write(out),
        }
    }
}
