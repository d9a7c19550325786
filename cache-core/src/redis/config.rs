//! [`Redis`]: where the shared tier is and how to talk to it. Plain data; nothing connects here.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::tls::Tls;
use crate::error::Error;
use crate::secret::Secret;

/// Where the shared tier is, and how to talk to it.
///
/// ```
/// use cache_core::Redis;
///
/// let plain = Redis::from_url("redis://127.0.0.1/0")?;
/// let failover = Redis::sentinel("mymaster", ["redis://10.0.0.1:26379", "redis://10.0.0.2:26379"])?
///     .username("cache")
///     .password("correct horse");
/// let sharded = Redis::cluster(["redis://10.0.1.1", "redis://10.0.1.2"])?;
/// # Ok::<(), cache_core::Error>(())
/// ```
///
/// Everything is checked here, and nothing is connected: a cache is usable at once, whether the server is there or not.
/// Passwords are never printed.
#[derive(Clone)]
pub struct Redis {
    pub(super) place: Place,
    pub(super) settings: Settings,
}

/// Who to ask for an address.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Server(Address),
    Sentinel {
        service: String,
        sentinels: Vec<Address>,
        login: Login,
    },
    Cluster(Vec<Address>),
}

/// What a connection goes to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Login {
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
}

/// How connections are made and how long things may take.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) login: Login,
    pub(super) database: u32,
    pub(super) resp3: bool,
    pub(super) tls: Option<Tls>,
    pub(super) operation_timeout: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) max_in_flight: usize,
}

impl Redis {
    /// One server: `redis://[user:password@]host[:port][/database]`, `rediss://` for TLS, or
    /// `unix:///path[?db=n&user=..&pass=..]`. `?protocol=resp3` speaks RESP3.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid), naming the part of the URL that is wrong, never its secrets.
    pub fn from_url(url: &str) -> Result<Self, Error> {
        let parsed = Parsed::read(url)?;
        Ok(Self {
            place: Place::Server(parsed.address.clone()),
            settings: parsed.into_settings(),
        })
    }

    /// The master of `service`, as these sentinels name it; asked anew on every connection. Give all of them.
    ///
    /// User and password in the URLs are those of the sentinels; the servers' are set with
    /// [`username`](Self::username) and [`password`](Self::password).
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for no sentinel, an empty service or a wrong URL.
    pub fn sentinel<I>(service: &str, urls: I) -> Result<Self, Error>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        if service.is_empty() {
            return Err(Error::invalid(
                "`service`: the sentinels' name of the master is empty",
            ));
        }
        let (first, sentinels) = many("sentinel", urls)?;
        let login = first.login.clone();
        let mut settings = first.into_settings();
        settings.login = Login::default();
        Ok(Self {
            place: Place::Sentinel {
                service: service.to_owned(),
                sentinels,
                login,
            },
            settings,
        })
    }

    /// A cluster, found through any of these nodes. User, password and TLS of the first URL hold for all nodes.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for no node, a wrong URL, or a database other than 0.
    pub fn cluster<I>(urls: I) -> Result<Self, Error>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let (first, seeds) = many("cluster", urls)?;
        if first.database != 0 {
            return Err(Error::invalid("`cluster`: a cluster has database 0 only"));
        }
        Ok(Self {
            place: Place::Cluster(seeds),
            settings: first.into_settings(),
        })
    }

    /// The ACL user. Default: the URL's, else the server's default user.
    #[must_use]
    pub fn username(mut self, name: impl Into<String>) -> Self {
        self.settings.login.username = Some(name.into());
        self
    }

    /// The password. Default: the URL's, else none.
    #[must_use]
    pub fn password(mut self, password: impl Into<Secret>) -> Self {
        self.settings.login.password = Some(password.into());
        self
    }

    /// The database number. Default: the URL's, else 0. The only one of a cluster is 0.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for a cluster.
    pub fn database(mut self, number: u32) -> Result<Self, Error> {
        if number != 0 && matches!(self.place, Place::Cluster(_)) {
            return Err(Error::invalid("`database`: a cluster has database 0 only"));
        }
        self.settings.database = number;
        Ok(self)
    }

    /// Speaks RESP3. Default: RESP2, which every server and proxy understands; nothing here needs the newer one.
    #[must_use]
    pub fn resp3(mut self) -> Self {
        self.settings.resp3 = true;
        self
    }

    /// Speaks TLS, with these certificates. Default: as the URL says, with the certificates of the system.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.settings.tls = Some(tls);
        self
    }

    /// How long one operation may take, waiting for a connection included. Default 250 ms: far above what a healthy
    /// server needs, little enough to be added to a load.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) outside 1 ms to 60 s.
    pub fn operation_timeout(mut self, timeout: Duration) -> Result<Self, Error> {
        self.settings.operation_timeout = bounded("operation_timeout", timeout)?;
        Ok(self)
    }

    /// How long one attempt to connect may take, greeting included. Default 500 ms.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) outside 1 ms to 60 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Result<Self, Error> {
        self.settings.connect_timeout = bounded("connect_timeout", timeout)?;
        Ok(self)
    }

    /// How many operations may wait for one server at a time; more are refused at once. Default 4,096: enough for any
    /// server that answers, few enough that one which does not costs little memory.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for 0.
    pub fn max_in_flight(mut self, operations: usize) -> Result<Self, Error> {
        if operations == 0 {
            return Err(Error::invalid("`max_in_flight`: 0 would refuse every operation"));
        }
        self.settings.max_in_flight = operations;
        Ok(self)
    }

    /// How long one operation may take: what [`operation_timeout`](Self::operation_timeout) has set.
    pub fn budget(&self) -> Duration {
        self.settings.operation_timeout
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("place", &self.place)
            .field("settings", &self.settings)
            .finish()
    }
}

fn bounded(field: &str, timeout: Duration) -> Result<Duration, Error> {
    if (Duration::from_millis(1)..=Duration::from_secs(60)).contains(&timeout) {
        return Ok(timeout);
    }
    Err(Error::invalid(format!(
        "`{field}`: {timeout:?} is not between 1 ms and 60 s"
    )))
}

fn many<I>(field: &str, urls: I) -> Result<(Parsed, Vec<Address>), Error>
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    let parsed = urls
        .into_iter()
        .map(|url| Parsed::read(url.as_ref()))
        .collect::<Result<Vec<_>, _>>()?;
    let addresses: Vec<Address> = parsed.iter().map(|parsed| parsed.address.clone()).collect();
    let first = parsed
        .into_iter()
        .next()
        .ok_or_else(|| Error::invalid(format!("`{field}`: no URL was given")))?;
    if addresses
        .iter()
        .any(|address| matches!(address, Address::Unix(_)))
    {
        return Err(Error::invalid(format!("`{field}`: the URLs must name hosts")));
    }
    Ok((first, addresses))
}

/// A URL in parts.
struct Parsed {
    address: Address,
    login: Login,
    database: u32,
    resp3: bool,
    tls: bool,
}

impl Parsed {
    fn read(text: &str) -> Result<Self, Error> {
        // The parser says what is wrong in words of its own; nothing of the text is repeated, since a part in the wrong
        // place may be the password.
        let url = Url::parse(text).map_err(|error| wrong_url(&error.to_string()))?;
        match url.scheme() {
            "redis" => Self::tcp(&url, false),
            "rediss" => Self::tcp(&url, true),
            "unix" | "redis+unix" => Self::unix(&url),
            _ => Err(wrong_url(
                "the scheme is another than `redis`, `rediss` or `unix`",
            )),
        }
    }

    fn tcp(url: &Url, tls: bool) -> Result<Self, Error> {
        if tls && !cfg!(feature = "redis-tls") {
            return Err(Error::invalid("`url`: `rediss` needs the feature `redis-tls`"));
        }
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| wrong_url("the host is missing"))?;
        let password = url.password().map(unescape).transpose()?;
        let username = (!url.username().is_empty()).then(|| unescape(url.username()));
        let path = url.path().trim_matches('/');
        Ok(Self {
            address: Address::Tcp {
                host: host.trim_matches(['[', ']']).to_owned(),
                port: url.port().unwrap_or(DEFAULT_PORT),
            },
            login: Login {
                username: username.transpose()?,
                password: password.map(Secret::from),
            },
            database: if path.is_empty() { 0 } else { database(path)? },
            resp3: protocol(url)?,
            tls,
        })
    }

    fn unix(url: &Url) -> Result<Self, Error> {
        let path = unescape(url.path())?;
        if path.is_empty() || path == "/" {
            return Err(wrong_url("the path of the socket is missing"));
        }
        let query = |name: &str| {
            url.query_pairs()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
        };
        Ok(Self {
            address: Address::Unix(PathBuf::from(path)),
            login: Login {
                username: query("user"),
                password: query("pass").map(Secret::from),
            },
            database: query("db").map_or(Ok(0), |number| database(&number))?,
            resp3: protocol(url)?,
            tls: false,
        })
    }

    fn into_settings(self) -> Settings {
        Settings {
            login: self.login,
            database: self.database,
            resp3: self.resp3,
            tls: self.tls.then(Tls::system),
            operation_timeout: Duration::from_millis(250),
            connect_timeout: Duration::from_millis(500),
            max_in_flight: 4_096,
        }
    }
}

/// What is wrong, and the form that is expected.
fn wrong_url(what: &str) -> Error {
    Error::invalid(format!("`url`: {what}; expected `{URL_FORM}`"))
}

fn database(text: &str) -> Result<u32, Error> {
    text.parse()
        .map_err(|_| wrong_url("the database is not a number"))
}

fn protocol(url: &Url) -> Result<bool, Error> {
    let asked = url.query_pairs().find(|(key, _)| key == "protocol");
    match asked.as_ref().map(|(_, value)| value.as_ref()) {
        None | Some("resp2" | "2") => Ok(false),
        Some("resp3" | "3") => Ok(true),
        Some(_) => Err(wrong_url("the protocol must be `resp2` or `resp3`")),
    }
}

/// Undoes percent-encoding.
fn unescape(text: &str) -> Result<String, Error> {
    let wrong = || wrong_url("user, password or path has a wrong percent-encoding");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2).ok_or_else(wrong)?;
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

const URL_FORM: &str = "redis://[user[:password]@]host[:port][/db]";
const DEFAULT_PORT: u16 = 6_379;

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp {
            host: host.to_owned(),
            port,
        }
    }

    #[track_caller]
    fn server(url: &str) -> (Address, Settings) {
        let redis = Redis::from_url(url).unwrap();
        let Place::Server(address) = redis.place else {
            panic!("{url} is one server")
        };
        (address, redis.settings)
    }

    #[test]
    fn urls_are_read_in_all_their_parts() {
        let (address, settings) = server("redis://al%40ice:s%3Acret@cache.example:6380/3?protocol=resp3");
        assert_eq!(address, tcp("cache.example", 6_380));
        assert_eq!(settings.login.username.as_deref(), Some("al@ice"));
        assert_eq!(settings.login.password, Some(Secret::from("s:cret")));
        assert_eq!((settings.database, settings.resp3), (3, true));
        assert_eq!(server("redis://127.0.0.1").0, tcp("127.0.0.1", 6_379));
        assert_eq!(server("redis://[::1]:7/").0, tcp("::1", 7));
        let (address, settings) = server("unix:///run/redis%20a.sock?db=2&user=u&pass=p");
        assert_eq!(address, Address::Unix("/run/redis a.sock".into()));
        assert_eq!(settings.database, 2);
        assert_eq!(settings.login.username.as_deref(), Some("u"));
    }

    #[test]
    fn mistakes_are_named_and_secrets_are_not() {
        for (url, word) in [
            ("http://canary@h", "scheme"),
            ("canary:canary@h:6379", "scheme"),
            ("canary@h", "expected"),
            ("redis://", "host"),
            ("redis://u:canary@h/x", "database"),
            ("redis://u:canary%zz@h", "percent"),
            ("redis://u:canary@h?protocol=4", "protocol"),
            ("redis://u:canary@h:99999", "port"),
            ("unix://", "path"),
        ] {
            let error = Redis::from_url(url).unwrap_err();
            assert!(error.is_invalid());
            assert!(error.to_string().contains(word), "{url}: {error}");
            let form = "redis://[user[:password]@]host[:port][/db]";
            assert!(error.to_string().contains(form), "{url}: {error}");
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        }
        assert!(Redis::cluster(Vec::<String>::new()).is_err());
        assert!(Redis::cluster(["redis://h/1"]).is_err());
        assert!(Redis::sentinel("", ["redis://h"]).is_err());
        assert!(Redis::sentinel("m", ["unix:///s"]).is_err());
        let plain = || Redis::from_url("redis://h").unwrap();
        assert!(plain().operation_timeout(Duration::ZERO).is_err());
        assert!(plain().connect_timeout(Duration::from_secs(61)).is_err());
        assert!(plain().max_in_flight(0).is_err());
    }

    #[test]
    fn nothing_prints_a_password() {
        let redis = Redis::from_url("redis://u:canary@h").unwrap().password("canary");
        assert!(!format!("{redis:?} {redis:#?}").contains("canary"));
        let sentinel = Redis::sentinel("m", ["redis://u:canary@h"]).unwrap();
        assert!(!format!("{sentinel:?}").contains("canary"));
    }
}
