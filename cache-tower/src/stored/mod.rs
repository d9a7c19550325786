//! [`StoredResponse`]: a response as the cache holds it, and its encoding.
//!
//! In memory the head is parsed and the body is one [`Bytes`]: a hit decodes nothing and copies no body. Encoded, it
//! is plain data, which is checked again when it is read: a shared store is a place where others may write.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

use bytes::Bytes;
use cache_core::tag::TagSet;
use cache_core::time::Timestamp;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::body::CacheBody;
use crate::outcome::CacheOutcome;
use crate::policy::status::CACHE_STATUS;
use crate::policy::{HttpCachePolicy, Serve, StoredHead, StoredHeadRecord, fields};

/// A stored response: head, body and tags.
pub(crate) struct StoredResponse {
    /// Read at the first use, under the policy of the layer that uses it; `None` if no cache would have stored it.
    head: OnceLock<Option<StoredHead>>,
    record: Option<StoredHeadRecord>,
    body: Bytes,
    tags: TagSet,
    /// The fields of a hit, with a place for those that change from hit to hit.
    template: OnceLock<HeaderMap>,
    /// What the last hit was copied from.
    moment: Mutex<Option<Arc<HitTemplate>>>,
    /// No variants are known for its URI: then a lookup need not ask for them.
    alone: AtomicBool,
    /// When it last answered a request of this process.
    used: AtomicU64,
}

/// A hit's parts beside its body, all of them: they change from second to second, and popular responses are asked for
/// more often than that.
pub(crate) struct HitTemplate {
    age: u64,
    outcome: CacheOutcome,
    status: StatusCode,
    headers: HeaderMap,
    extensions: Extensions,
}

/// A whole stored response for one client.
pub(crate) struct Hit {
    pub(crate) template: Arc<HitTemplate>,
    pub(crate) body: Bytes,
}

impl Hit {
    pub(crate) fn into_response<B>(self) -> Response<CacheBody<B>> {
        let mut response = Response::new(CacheBody::stored(self.body));
        *response.status_mut() = self.template.status;
        *response.headers_mut() = self.template.headers.clone();
        *response.extensions_mut() = self.template.extensions.clone();
        response
    }
}

impl StoredResponse {
    pub(crate) fn new(head: StoredHead, body: Bytes, tags: TagSet) -> Self {
        Self {
            head: OnceLock::from(Some(head)),
            record: None,
            body,
            tags,
            template: OnceLock::new(),
            moment: Mutex::new(None),
            alone: AtomicBool::new(true),
            used: AtomicU64::new(0),
        }
    }

    /// The same, for storing it once more.
    pub(crate) fn again(&self, policy: &HttpCachePolicy) -> Option<Self> {
        let head = self.head(policy)?.clone();
        let again = Self::new(head, self.body.clone(), self.tags.clone());
        again.set_alone(self.is_alone());
        Some(again)
    }

    /// The head; `None` if what was read from a store is not a response that this policy could have stored.
    pub(crate) fn head(&self, policy: &HttpCachePolicy) -> Option<&StoredHead> {
        let read = || {
            let record = self.record.clone()?;
            match record.read(self.body.len() as u64, policy) {
                Ok(head) => Some(head),
                Err(problem) => {
                    tracing::warn!(?problem, "a stored response is not valid and is not used");
                    None
                }
            }
        };
        self.head.get_or_init(read).as_ref()
    }

    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }

    pub(crate) fn tags(&self) -> &TagSet {
        &self.tags
    }

    /// It answers a request now.
    pub(crate) fn touch(&self, now: Timestamp) {
        self.used.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// When it last did, for comparison.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.alone.load(Ordering::SeqCst)
    }

    pub(crate) fn set_alone(&self, alone: bool) {
        self.alone.store(alone, Ordering::SeqCst);
    }

    /// The fields for a client at `now`. `Age` is current; `Cache-Status` has a placeholder to be replaced or removed.
    pub(crate) fn served_headers(&self, head: &StoredHead, now: SystemTime) -> HeaderMap {
        let mut headers = self.template(head).clone();
        replace(
            &mut headers,
            &header::AGE,
            fields::age_value(head.freshness().age(now)),
        );
        headers
    }

    fn template(&self, head: &StoredHead) -> &HeaderMap {
        self.template.get_or_init(|| template(head, self.body.len()))
    }
}

impl StoredResponse {
    /// What a hit is copied from; `status` is asked if the last hit said something else.
    pub(crate) fn hit_template(
        &self,
        head: &StoredHead,
        serve: &Serve,
        outcome: CacheOutcome,
        status: impl FnOnce() -> Option<HeaderValue>,
    ) -> Arc<HitTemplate> {
        let age = serve.age.as_secs();
        let mut moment = self.moment.try_lock().ok();
        if let Some(known) = moment.as_deref().and_then(Option::as_ref)
            && known.age == age
            && known.outcome == outcome
        {
            return known.clone();
        }
        let mut headers = self.template(head).clone();
        replace(&mut headers, &header::AGE, fields::age_value(serve.age));
        set_status(&mut headers, status());
        let mut extensions = Extensions::new();
        extensions.insert(outcome);
        let made = Arc::new(HitTemplate {
            age,
            outcome,
            status: head.status(),
            headers,
            extensions,
        });
        if let Some(moment) = moment.as_deref_mut() {
            *moment = Some(made.clone());
        }
        made
    }
}

/// A map is cloned with its exact size: fields that are there already are replaced without growing it.
///
/// The length is known here, whether the origin has told it or not. A router that counts for itself would find nothing
/// in the answer to a HEAD.
fn template(head: &StoredHead, length: usize) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(head.headers().keys_len() + ROOM);
    headers.extend(head.headers().clone());
    headers.insert(header::AGE, HeaderValue::from_static("0"));
    if !headers.contains_key(CACHE_STATUS) {
        headers.insert(CACHE_STATUS, STATUS_PLACEHOLDER);
    }
    // "MUST NOT" with 204 (RFC 9110 §8.6).
    if head.status() != StatusCode::NO_CONTENT && !headers.contains_key(header::CONTENT_LENGTH) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    headers
}

/// In the table of a map: `Age`, `Cache-Status`, `Content-Length`, and one that others may add.
const ROOM: usize = 4;

/// Sets a field that is there. `insert` would grow a full map first, although it adds nothing.
fn replace(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    match headers.get_mut(name) {
        Some(place) => *place = value,
        None => {
            headers.insert(name, value);
        }
    }
}

/// Puts this cache's own member in the place that the template holds, or behind those of other caches.
pub(crate) fn set_status(headers: &mut HeaderMap, status: Option<HeaderValue>) {
    let place = headers
        .get_mut(CACHE_STATUS)
        .filter(|place| **place == STATUS_PLACEHOLDER);
    match (place, status) {
        (Some(place), Some(status)) => *place = status,
        (Some(_), None) => {
            headers.remove(CACHE_STATUS);
        }
        (None, Some(status)) => {
            headers.append(CACHE_STATUS, status);
        }
        (None, None) => {}
    }
}

/// Not a valid member of any list, so no origin's field is mistaken for it.
const STATUS_PLACEHOLDER: HeaderValue = HeaderValue::from_static(";");

impl fmt::Debug for StoredResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredResponse")
            .field("head", &self.head.get())
            .field("body", &self.body.len())
            .field("tags", &self.tags)
            .finish_non_exhaustive()
    }
}

/// The encoded form.
#[derive(Serialize, Deserialize)]
struct Encoded<'a> {
    head: Cow<'a, StoredHeadRecord>,
    body: Content,
    tags: Vec<Cow<'a, str>>,
}

/// Bytes that are encoded as bytes. In a format for people, text is text, and anything else a text of hexadecimal
/// digits: a sequence of numbers would take four times the room.
struct Content(Bytes);

const TEXT: char = 't';
const OCTETS: char = 'x';

impl Serialize for StoredResponse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let head = match (self.head.get(), &self.record) {
            (Some(Some(head)), _) => Cow::Owned(StoredHeadRecord::from(head)),
            (_, Some(record)) => Cow::Borrowed(record),
            _ => return Err(serde::ser::Error::custom("a stored response without a head")),
        };
        let encoded = Encoded {
            head,
            body: Content(self.body.clone()),
            tags: self.tags.iter().map(|tag| Cow::Borrowed(tag.as_str())).collect(),
        };
        encoded.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for StoredResponse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let encoded = Encoded::deserialize(deserializer)?;
        let tags = TagSet::new(encoded.tags.iter().map(|tag| &**tag)).map_err(de::Error::custom)?;
        Ok(Self {
            head: OnceLock::new(),
            record: Some(encoded.head.into_owned()),
            body: encoded.body.0,
            tags,
            template: OnceLock::new(),
            moment: Mutex::new(None),
            alone: AtomicBool::new(false),
            used: AtomicU64::new(0),
        })
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(&self.0);
        }
        let text = match std::str::from_utf8(&self.0) {
            Ok(text) => format!("{TEXT}{text}"),
            Err(_) => hexadecimal(&self.0),
        };
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_string(ContentVisitor)
        } else {
            deserializer.deserialize_byte_buf(ContentVisitor)
        }
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of a body")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Content, E> {
        let octets = match text.strip_prefix(TEXT) {
            Some(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
            None => text.strip_prefix(OCTETS).and_then(octets),
        };
        octets
            .map(Content)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Str("a body"), &self))
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Content, E> {
        Ok(Content(Bytes::copy_from_slice(bytes)))
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Content, E> {
        Ok(Content(Bytes::from(bytes)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Content, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = sequence.next_element::<u8>()? {
            bytes.push(byte);
        }
        Ok(Content(Bytes::from(bytes)))
    }
}

fn hexadecimal(octets: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    let mut text = String::with_capacity(1 + 2 * octets.len());
    text.push(OCTETS);
    for octet in octets {
        text.push(digit(octet >> 4));
        text.push(digit(*octet));
    }
    text
}

fn octets(digits: &str) -> Option<Bytes> {
    let value = |digit: u8| char::from(digit).to_digit(16);
    let pairs = digits.as_bytes().chunks(2).map(|pair| match *pair {
        [high, low] => u8::try_from(value(high)? * 16 + value(low)?).ok(),
        _ => None,
    });
    pairs.collect()
}

/// Which variants are stored for a URI, the one stored last at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(Vec<String>, String)>", into = "Vec<(Vec<String>, String)>")]
pub(crate) struct VariantIndex {
    variants: Vec<Variant>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Variant {
    /// The nominated fields, sorted.
    names: Vec<HeaderName>,
    /// The text of the key that it is stored under.
    key: String,
}

impl VariantIndex {
    /// Notes a variant as the one stored last, and gives back the keys of those that are one too many: the ones used
    /// longest ago, as `used` tells, and of those that are not used the ones stored first.
    pub(crate) fn note(
        &mut self,
        names: &[HeaderName],
        key: &str,
        limit: usize,
        used: impl Fn(&str) -> Option<u64>,
    ) -> Vec<String> {
        self.variants.retain(|variant| variant.key != key);
        let mut excess = Vec::new();
        while !self.variants.is_empty() && self.variants.len() >= limit.max(1) {
            let least = (0..self.variants.len())
                .min_by_key(|&at| used(&self.variants[at].key))
                .unwrap_or_default();
            excess.push(self.variants.remove(least).key);
        }
        self.variants.push(Variant {
            names: names.to_vec(),
            key: key.to_owned(),
        });
        excess
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.variants.is_empty()
    }

    /// Each different set of nominated fields, the one used last first.
    pub(crate) fn name_sets(&self) -> impl Iterator<Item = &[HeaderName]> {
        let variants = &self.variants;
        variants
            .iter()
            .enumerate()
            .rev()
            .filter_map(move |(at, variant)| {
                let is_last = variants[at + 1..]
                    .iter()
                    .all(|later| later.names != variant.names);
                is_last.then_some(&*variant.names)
            })
    }
}

impl TryFrom<Vec<(Vec<String>, String)>> for VariantIndex {
    type Error = header::InvalidHeaderName;

    fn try_from(encoded: Vec<(Vec<String>, String)>) -> Result<Self, Self::Error> {
        let variants = encoded.into_iter().map(|(names, key)| {
            let names = names
                .iter()
                .map(|name| HeaderName::from_bytes(name.as_bytes()))
                .collect::<Result<_, _>>()?;
            Ok(Variant { names, key })
        });
        Ok(Self {
            variants: variants.collect::<Result<_, Self::Error>>()?,
        })
    }
}

impl From<VariantIndex> for Vec<(Vec<String>, String)> {
    fn from(index: VariantIndex) -> Self {
        let text = |names: &[HeaderName]| names.iter().map(ToString::to_string).collect();
        index
            .variants
            .into_iter()
            .map(|variant| (text(&variant.names), variant.key))
            .collect()
    }
}
