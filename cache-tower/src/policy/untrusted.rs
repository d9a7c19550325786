//! Request fields that influence answers without being part of any key.

use http::HeaderName;

/// A set of field names that is fast to miss: nearly every field of an ordinary request is ruled out by its length and
/// one of its letters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Sorted.
    names: Vec<HeaderName>,
    /// For each length, one bit for each telling letter of a name so long.
    letters_by_length: Vec<u32>,
}

impl FieldSet {
    pub(crate) const EMPTY: Self = Self {
        names: Vec::new(),
        letters_by_length: Vec::new(),
    };

    /// Fields that frameworks and servers are known to build URLs, routes, methods or addresses from. `X-Forwarded-For` is
    /// not among them: every proxy adds to it, and it names a client, not a resource.
    pub fn known_untrusted() -> Self {
        KNOWN_UNTRUSTED
            .iter()
            .chain(&METHOD_OVERRIDES)
            .map(|name| HeaderName::from_static(name))
            .collect()
    }

    /// Whether a name is in the set.
    #[inline]
    pub fn contains(&self, name: &HeaderName) -> bool {
        let text = name.as_str();
        let letters = self.letters_by_length.get(text.len()).copied().unwrap_or(0);
        letters & telling_letter(text) != 0
            && self
                .names
                .binary_search_by(|other| other.as_str().cmp(text))
                .is_ok()
    }

    /// Adds a name.
    pub fn insert(&mut self, name: HeaderName) {
        if let Err(place) = self
            .names
            .binary_search_by(|other| other.as_str().cmp(name.as_str()))
        {
            self.names.insert(place, name);
            self.index();
        }
    }

    /// Removes a name, for a field that your own front end overwrites.
    pub fn remove(&mut self, name: &HeaderName) {
        self.names.retain(|other| other != name);
        self.index();
    }

    /// The names in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &HeaderName> {
        self.names.iter()
    }

    fn index(&mut self) {
        let longest = self.names.iter().map(|name| name.as_str().len()).max();
        self.letters_by_length = vec![0; longest.map_or(0, |length| length + 1)];
        for name in &self.names {
            self.letters_by_length[name.as_str().len()] |= telling_letter(name.as_str());
        }
    }
}

impl FromIterator<HeaderName> for FieldSet {
    fn from_iter<I: IntoIterator<Item = HeaderName>>(names: I) -> Self {
        let mut set = Self::default();
        names.into_iter().for_each(|name| set.insert(name));
        set
    }
}

/// Whether a field asks the handler to act as for another method.
pub(crate) fn is_method_override(name: &HeaderName) -> bool {
    METHOD_OVERRIDES.contains(&name.as_str())
}

/// The bit of the first letter, or of the one after `x-`.
#[inline]
fn telling_letter(name: &str) -> u32 {
    let letter = match name.as_bytes() {
        [b'x', b'-', letter, ..] | [letter, ..] => *letter,
        [] => 0,
    };
    if letter.is_ascii_lowercase() {
        1 << (letter - b'a')
    } else {
        1 << 31
    }
}

pub(crate) const METHOD_OVERRIDES: [&str; 4] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-http-method-name",
];

pub(crate) const KNOWN_UNTRUSTED: [&str; 58] = [
    // Host, scheme, port and path claims.
    "forwarded",
    "x-forwarded",
    "x-forwarded-by",
    "x-forwarded-host",
    "x-forwarded-path",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-forwarded-uri",
    "x-forwarded-url",
    "x-forwarded-context",
    "x-host",
    "x-http-host-override",
    "x-host-override",
    "x-original-host",
    "x-original-uri",
    "x-original-url",
    "x-backend-host",
    "x-server-name",
    "x-scheme",
    "x-url-scheme",
    "x-protocol",
    "front-end-https",
    "base-url",
    "x-base-url",
    "x-script-name",
    "x-request-uri",
    "x-request-url",
    "x-rewrite-url",
    "x-rewrite-uri",
    "x-override-url",
    "x-http-destinationurl",
    "x-http-path-override",
    "x-proxy-url",
    "x-envoy-original-path",
    "x-wap-profile",
    // Client address claims.
    "client-ip",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-originating-ip",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-true-ip",
    // Frameworks' internal switches.
    "x-invoke-path",
    "x-invoke-query",
    "x-matched-path",
    "x-middleware-prefetch",
    "x-middleware-rewrite",
    "x-middleware-subrequest",
    "x-nextjs-data",
    "x-now-route-matches",
];
