//! [`AdminConfig`]: who may use an admin router, and from where.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::ConnectInfo;
use cache_core::time::{Clock, SystemClock};
use cache_core::{Cache, CacheKey, CacheValue, Error, Lookup};
use http::request::Parts;

use super::auth::{Authenticator, Bearer, Grant, OpenToEveryone, Scopes};

/// Who may use an admin router, and from where. There is none without an authenticator, hence no default:
///
/// ```compile_fail,E0599
/// let config = cache_tower::admin::AdminConfig::default();
/// ```
pub struct AdminConfig {
    pub(super) authenticator: Access,
    pub(super) hosts: Option<Vec<String>>,
    pub(super) client_address: ClientAddress,
    pub(super) public_liveness: bool,
    pub(super) reveal: BTreeMap<String, Reveal>,
    pub(super) clock: Arc<dyn Clock>,
}

pub(super) enum Access {
    Bearer(Bearer),
    Custom(Box<dyn Authenticator>),
    Open,
}

/// Where a request comes from.
pub(super) type ClientAddress = Box<dyn Fn(&Parts) -> Option<IpAddr> + Send + Sync>;

/// Reads a value of a registered type.
pub(super) type Reveal = Arc<dyn Fn(Cache, CacheKey) -> Revealed + Send + Sync>;

type Revealed = Pin<Box<dyn Future<Output = Option<serde_json::Value>> + Send>>;

impl AdminConfig {
    /// One token that may read and write, and neither clear whole caches nor see values.
    ///
    /// # Errors
    ///
    /// [`Invalid`](cache_core::ErrorKind::Invalid) for a token of less than 16 bytes, or one that no header field can
    /// carry.
    pub fn bearer(token: impl AsRef<str>) -> Result<Self, Error> {
        Self::bearer_with(token, Grant::new("admin", Scopes::READ | Scopes::WRITE))
    }

    /// One token that is its owner's.
    ///
    /// ```
    /// use cache_tower::admin::{AdminConfig, Grant, Scopes};
    ///
    /// # fn main() -> Result<(), cache_core::Error> {
    /// # let (reader, operator) = ("0123456789abcdef", "fedcba9876543210");
    /// let config = AdminConfig::bearer_with(reader, Grant::new("monitoring", Scopes::READ))?
    ///     .and_bearer(operator, Grant::new("operator", Scopes::READ | Scopes::WRITE | Scopes::CLEAR))?;
    /// # let _ = config;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`bearer`](Self::bearer).
    pub fn bearer_with(token: impl AsRef<str>, grant: Grant) -> Result<Self, Error> {
        let mut bearer = Bearer::new();
        bearer.add(token.as_ref(), grant)?;
        Ok(Self::with_access(Access::Bearer(bearer)))
    }

    /// One more token.
    ///
    /// # Errors
    ///
    /// As for [`bearer`](Self::bearer); and if this router has an authenticator of your own, which decides alone.
    pub fn and_bearer(mut self, token: impl AsRef<str>, grant: Grant) -> Result<Self, Error> {
        match &mut self.authenticator {
            Access::Bearer(bearer) => bearer.add(token.as_ref(), grant)?,
            Access::Custom(_) | Access::Open => {
                return Err(Error::invalid(
                    "tokens can be added to tokens only; begin with `AdminConfig::bearer_with`",
                ));
            }
        }
        Ok(self)
    }

    /// Whatever `authenticator` says.
    pub fn authenticator(authenticator: impl Authenticator) -> Self {
        Self::with_access(Access::Custom(Box::new(authenticator)))
    }

    /// Everybody may do everything, values included: for a machine that nobody else can reach. Only loopback names are
    /// taken as `Host` then, unless there are [others](Self::hosts), so that no page in a browser can reach it by a name
    /// of its own.
    pub fn insecure_open_to_everyone() -> Self {
        Self::with_access(Access::Open)
    }

    fn with_access(authenticator: Access) -> Self {
        Self {
            authenticator,
            hosts: None,
            client_address: Box::new(peer),
            public_liveness: false,
            reveal: BTreeMap::new(),
            clock: Arc::new(SystemClock),
        }
    }

    /// The names that a request may call this host by, without port; all others are answered with 421.
    ///
    /// Default: any name, but for callers from this machine (known where the server adds
    /// [`ConnectInfo`](axum::extract::ConnectInfo)): they must say `localhost`, `127.0.0.1` or `[::1]`, because a foreign
    /// page can make a browser call them by a name of its own (DNS rebinding). A proxy on this machine that passes the
    /// public name on needs that name here.
    #[must_use]
    pub fn hosts(mut self, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let lower = |host: String| host.to_ascii_lowercase();
        self.hosts = Some(hosts.into_iter().map(|host| lower(host.into())).collect());
        self
    }

    /// Where a request comes from, for counting wrong tokens: behind a proxy all come from the proxy, and one stranger would
    /// close the door to everybody. Take what the proxy says only from a field that it sets itself, whatever clients send.
    ///
    /// Default: the peer, where the server adds [`ConnectInfo`](axum::extract::ConnectInfo).
    ///
    /// ```
    /// # fn main() -> Result<(), cache_core::Error> {
    /// # let token = "0123456789abcdef";
    /// use cache_tower::admin::AdminConfig;
    ///
    /// let config = AdminConfig::bearer(token)?
    ///     .client_address(|request| request.headers.get("x-real-ip")?.to_str().ok()?.parse().ok());
    /// # let _ = config;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn client_address(
        mut self,
        address: impl Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        self.client_address = Box::new(address);
        self
    }

    /// Answers `GET live` to everybody with one word, for probes that cannot send a token. Default: no.
    #[must_use]
    pub fn public_liveness(mut self) -> Self {
        self.public_liveness = true;
        self
    }

    /// Shows values of keys with this prefix, which are of type `T`, to callers with [`Scopes::VALUE`]. Default: no value
    /// is shown to anybody.
    ///
    /// Looking at one is a call like any other: it is counted, and copies the entry from the shared tier.
    ///
    /// ```
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Quote { price: f64 }
    /// # fn main() -> Result<(), cache_core::Error> {
    /// # let token = "0123456789abcdef";
    /// use cache_tower::admin::AdminConfig;
    ///
    /// let config = AdminConfig::bearer(token)?.reveal::<Quote>("quote");
    /// # let _ = config;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn reveal<T: CacheValue>(mut self, prefix: impl Into<String>) -> Self {
        let read = |cache: Cache, key: CacheKey| -> Revealed {
            Box::pin(async move {
                match cache.lookup::<T>(&key).await {
                    Lookup::Hit(value) => serde_json::to_value(&*value).ok(),
                    _ => None,
                }
            })
        };
        self.reveal.insert(prefix.into(), Arc::new(read));
        self
    }

    /// The clock that failed attempts and clearing are limited by. Default: the system's monotonic one.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}

/// The peer of the connection, if the server tells.
pub(super) fn peer(request: &Parts) -> Option<IpAddr> {
    let peer = request.extensions.get::<ConnectInfo<SocketAddr>>();
    peer.map(|ConnectInfo(address)| address.ip())
}

impl Access {
    pub(super) fn authenticator(&self) -> &dyn Authenticator {
        match self {
            Self::Bearer(bearer) => bearer,
            Self::Custom(custom) => &**custom,
            Self::Open => &OpenToEveryone,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }
}

impl fmt::Debug for AdminConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authenticator: &dyn fmt::Debug = match &self.authenticator {
            Access::Bearer(bearer) => bearer,
            Access::Custom(_) => &"custom",
            Access::Open => &"open to everyone",
        };
        f.debug_struct("AdminConfig")
            .field("authenticator", authenticator)
            .field("hosts", &self.hosts)
            .field("public_liveness", &self.public_liveness)
            .field("reveal", &self.reveal.keys())
            .finish_non_exhaustive()
    }
}
