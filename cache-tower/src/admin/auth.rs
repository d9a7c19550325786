//! Who asks, and what they may do.

use std::fmt;
use std::future::Future;
use std::ops::BitOr;
use std::pin::Pin;

use cache_core::Error;
use http::header::AUTHORIZATION;
use http::request::Parts;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// Tells who a request comes from, and what they may do.
///
/// [`Bearer`] is the one that comes along. Your own may ask a directory or check a signed token; a browser's cookie is
/// nothing to rely on alone, although foreign pages are kept from changing anything in any case.
pub trait Authenticator: Send + Sync + 'static {
    /// The caller, or `None` for nobody: then the answer is 401, the same for every cause.
    fn authenticate<'a>(
        &'a self,
        request: &'a Parts,
    ) -> Pin<Box<dyn Future<Output = Option<Grant>> + Send + 'a>>;
}

/// A caller, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    who: String,
    scopes: Scopes,
}

impl Grant {
    /// `who` stands in the audit log.
    pub fn new(who: impl Into<String>, scopes: Scopes) -> Self {
        Self {
            who: who.into(),
            scopes,
        }
    }

    /// The caller, as the audit log calls them.
    pub fn who(&self) -> &str {
        &self.who
    }

    /// What they may do.
    pub fn scopes(&self) -> Scopes {
        self.scopes
    }
}

/// A set of permissions. None includes another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Statistics, health, metrics, and what is known about a key, its value apart.
    pub const READ: Self = Self(1);
    /// Invalidating, warming, changing policies.
    pub const WRITE: Self = Self(2);
    /// Clearing a whole cache.
    pub const CLEAR: Self = Self(4);
    /// Seeing values.
    pub const VALUE: Self = Self(8);

    /// Whether all of `scopes` are among these.
    pub const fn contains(self, scopes: Self) -> bool {
        self.0 & scopes.0 == scopes.0
    }

    /// The names of these, as the API has them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES
            .into_iter()
            .filter(move |(scope, _)| self.contains(*scope))
            .map(|(_, name)| name)
    }
}

const NAMES: [(Scopes, &str); 4] = [
    (Scopes::READ, "read"),
    (Scopes::WRITE, "write"),
    (Scopes::CLEAR, "clear"),
    (Scopes::VALUE, "value"),
];

impl BitOr for Scopes {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// Bearer tokens (RFC 6750): each caller has one, and no two are alike.
///
/// Only digests are kept, and all of them are compared, in constant time: how long an answer takes says nothing about
/// how near a guess was, nor which token it was near to.
#[derive(Clone, Default)]
pub struct Bearer {
    tokens: Vec<(Sha256Digest, Grant)>,
}

type Sha256Digest = [u8; 32];

impl Bearer {
    /// No tokens yet, hence nobody.
    pub fn new() -> Self {
        Self { tokens: Vec::new() }
    }

    /// One more token: for routes of your own that the same operators use.
    ///
    /// # Errors
    ///
    /// [`Invalid`](cache_core::ErrorKind::Invalid) for a token of less than 16 bytes, or one that no header field can
    /// carry.
    pub fn add(&mut self, token: &str, grant: Grant) -> Result<(), Error> {
        if token.len() < MIN_TOKEN_BYTES {
            return Err(Error::invalid(format!(
                "a token of the admin router has {} bytes; take at least {MIN_TOKEN_BYTES}, random ones, such as \
                 `openssl rand -hex 32` prints",
                token.len()
            )));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
            return Err(Error::invalid(
                "a token of the admin router has characters that a header field cannot carry; take printable ASCII",
            ));
        }
        self.tokens.push((digest(token.trim()), grant));
        Ok(())
    }

    fn grant_of(&self, token: &str) -> Option<Grant> {
        let presented = digest(token);
        let mut found = Choice::from(0);
        let mut place = 0_u64;
        for (at, (known, _)) in (0_u64..).zip(&self.tokens) {
            let same = known.ct_eq(&presented);
            place.conditional_assign(&at, same);
            found |= same;
        }
        let place = usize::try_from(place).ok()?;
        bool::from(found).then(|| self.tokens.get(place).map(|(_, grant)| grant.clone()))?
    }
}

impl Authenticator for Bearer {
    fn authenticate<'a>(
        &'a self,
        request: &'a Parts,
    ) -> Pin<Box<dyn Future<Output = Option<Grant>> + Send + 'a>> {
        let grant = bearer_token(request).and_then(|token| self.grant_of(token));
        Box::pin(std::future::ready(grant))
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grants = self.tokens.iter().map(|(_, grant)| grant);
        f.debug_list().entries(grants).finish()
    }
}

fn bearer_token(request: &Parts) -> Option<&str> {
    let mut fields = request.headers.get_all(AUTHORIZATION).iter();
    let (field, None) = (fields.next()?, fields.next()) else {
        return None;
    };
    let (scheme, token) = field.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Of any length to 32 bytes: comparing takes the same time for all.
fn digest(token: &str) -> Sha256Digest {
    Sha256::digest(token.as_bytes()).into()
}

/// Everybody may do everything.
#[derive(Debug)]
pub(super) struct OpenToEveryone;

impl Authenticator for OpenToEveryone {
    fn authenticate<'a>(&'a self, _: &'a Parts) -> Pin<Box<dyn Future<Output = Option<Grant>> + Send + 'a>> {
        let all = Scopes::READ | Scopes::WRITE | Scopes::CLEAR | Scopes::VALUE;
        Box::pin(std::future::ready(Some(Grant::new("anybody", all))))
    }
}

/// 128 bits, if they are random.
const MIN_TOKEN_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[&str]) -> Parts {
        let mut request = http::Request::get("/");
        for field in fields {
            request = request.header(AUTHORIZATION, *field);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn two_tokens() -> Bearer {
        let mut bearer = Bearer::new();
        bearer
            .add("token-of-the-reader", Grant::new("reader", Scopes::READ))
            .unwrap();
        bearer
            .add("token-of-the-writer", Grant::new("writer", Scopes::WRITE))
            .unwrap();
        bearer
    }

    #[tokio::test]
    async fn each_token_is_its_owners_and_all_else_is_nobodys() {
        let bearer = two_tokens();
        let who = async |fields: &[&str]| {
            let request = request(fields);
            bearer
                .authenticate(&request)
                .await
                .map(|grant| grant.who().to_owned())
        };
        assert_eq!(
            who(&["Bearer token-of-the-reader"]).await.as_deref(),
            Some("reader")
        );
        assert_eq!(
            who(&["bearer  token-of-the-writer"]).await.as_deref(),
            Some("writer")
        );
        for wrong in [
            &[][..],
            &["Bearer"],
            &["Bearer "],
            &["token-of-the-reader"],
            &["Basic token-of-the-reader"],
            &["Bearer token-of-the-reade"],
            &["Bearer token-of-the-readerr"],
            &["Bearer Token-of-the-reader"],
            &["Bearer token-of-the-reader,token-of-the-writer"],
            &["Bearer token-of-the-reader", "Bearer token-of-the-writer"],
        ] {
            assert_eq!(who(wrong).await, None, "{wrong:?}");
        }
    }

    #[test]
    fn a_token_that_can_be_guessed_or_not_sent_is_refused() {
        for (token, word) in [
            ("", "0 bytes"),
            ("short", "5 bytes"),
            ("a token with\nlines", "ASCII"),
        ] {
            let error = Bearer::new()
                .add(token, Grant::new("x", Scopes::NONE))
                .unwrap_err();
            assert!(error.is_invalid() && error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn no_scope_includes_another() {
        let scopes = [Scopes::READ, Scopes::WRITE, Scopes::CLEAR, Scopes::VALUE];
        for held in scopes {
            for asked in scopes {
                assert_eq!(held.contains(asked), held == asked, "{held:?} {asked:?}");
            }
            assert!(held.contains(Scopes::NONE) && (held | Scopes::READ).contains(Scopes::READ));
        }
        assert_eq!(
            format!("{:?}", Scopes::VALUE | Scopes::READ),
            r#"{"read", "value"}"#
        );
    }

    #[test]
    fn debug_shows_who_and_no_token() {
        let shown = format!("{:?}", two_tokens());
        assert!(shown.contains("reader") && !shown.contains("token-of"), "{shown}");
    }
}
