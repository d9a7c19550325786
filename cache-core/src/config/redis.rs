//! The shared tier: where Redis is and how to talk to it.

use std::path::PathBuf;
use std::time::Duration;

use super::check::Problem;
use super::secrets::SecretUrl;
use super::{scalar, section};
use crate::secret::Secret;

/// One Redis: a server (`url`), Sentinel or Cluster; exactly one of the three.
///
/// ```toml
/// [redis]
/// username = "cache"
/// password_file = "/run/secrets/redis"
/// operation_timeout = "250ms"
///
/// [redis.sentinel]
/// service = "mymaster"
/// urls = ["redis://10.0.0.1:26379", "redis://10.0.0.2:26379"]
/// ```
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RedisConfig {
    /// `false`: every cache works in memory, as if nothing else stood here. Default: `true`.
    #[serde(with = "scalar::flag", skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// One server: `redis://`, `rediss://` for TLS, or `unix://`. Also from `REDIS_URL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<SecretUrl>,
    /// The master that Sentinel names.
    #[serde(
        deserialize_with = "section::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub sentinel: Option<SentinelConfig>,
    /// A cluster, found through any of its nodes.
    #[serde(
        deserialize_with = "section::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub cluster: Option<ClusterConfig>,
    /// The ACL user. Default: the URL's.
    #[serde(with = "scalar::text", skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password. Default: the URL's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// A file with the password; white space at its end does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The number of the database. Default: the URL's. A cluster has 0 only.
    #[serde(with = "scalar::count", skip_serializing_if = "Option::is_none")]
    pub database: Option<u64>,
    /// Speaks RESP3. Default: RESP2.
    #[serde(with = "scalar::flag", skip_serializing_if = "Option::is_none")]
    pub resp3: Option<bool>,
    /// How long one operation may take. Default: `"250ms"`.
    #[serde(with = "scalar::span", skip_serializing_if = "Option::is_none")]
    pub operation_timeout: Option<Duration>,
    /// How long one attempt to connect may take. Default: `"500ms"`.
    #[serde(with = "scalar::span", skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Duration>,
    /// How many operations may wait for one server at a time. Default: 4,096.
    #[serde(with = "scalar::count", skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u64>,
    /// Certificates; its presence switches TLS on.
    #[serde(
        deserialize_with = "section::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub tls: Option<TlsConfig>,
}

/// Sentinel. User and password in the URLs are those of the sentinels.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SentinelConfig {
    /// The sentinels' name of the master.
    pub service: String,
    /// All sentinels.
    #[serde(deserialize_with = "urls")]
    pub urls: Vec<SecretUrl>,
}

/// Cluster. User, password and TLS of the first URL hold for all nodes.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ClusterConfig {
    /// Some of the nodes.
    #[serde(deserialize_with = "urls")]
    pub urls: Vec<SecretUrl>,
}

/// Certificates, as files in PEM.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsConfig {
    /// The authorities to trust. Default: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorities_file: Option<PathBuf>,
    /// The certificate to show; together with its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// The key of the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

impl RedisConfig {
    pub(super) fn is_enabled(&self) -> bool {
        self.enabled != Some(false)
    }

    /// Everything that can be known without files and without a server.
    pub(super) fn check(&self) -> Result<(), Problem> {
        self.check_place()?;
        if let (Some(_), Some(file)) = (&self.password, &self.password_file) {
            let remedy = "there is a `password` as well; leave one of them out";
            return Err(Problem::new("password_file", file.display(), remedy));
        }
        if let (Some(database @ 1..), Some(_)) = (self.database, &self.cluster) {
            return Err(Problem::new(
                "database",
                database,
                "a cluster has database 0 only; leave it out",
            ));
        }
        if self.max_in_flight == Some(0) {
            return Err(Problem::new(
                "max_in_flight",
                0,
                "it would refuse every operation; allow at least 1",
            ));
        }
        for (field, timeout) in [
            ("operation_timeout", self.operation_timeout),
            ("connect_timeout", self.connect_timeout),
        ] {
            if let Some(timeout) = timeout
                && !(Duration::from_millis(1)..=Duration::from_secs(60)).contains(&timeout)
            {
                let value = super::units::show_duration(timeout);
                return Err(Problem::new(
                    field,
                    value,
                    "it must be between \"1ms\" and \"60s\"",
                ));
            }
        }
        match &self.tls {
            Some(tls) => tls.check().map_err(|problem| problem.within("tls")),
            None => Ok(()),
        }
    }

    fn check_place(&self) -> Result<(), Problem> {
        let given = [
            self.url.as_ref().map(|url| ("url", url.to_string())),
            self.sentinel
                .as_ref()
                .map(|sentinel| ("sentinel.service", sentinel.service.clone())),
            self.cluster
                .as_ref()
                .map(|cluster| ("cluster.urls", format!("{:?}", cluster.urls))),
        ];
        let given: Vec<_> = given.into_iter().flatten().collect();
        match given.as_slice() {
            [] if self.is_enabled() => Err(Problem::whole(
                "there is no place; give `url`, `sentinel` or `cluster`, or set `enabled = false`",
            )),
            [] | [_] => self.check_urls(),
            [(first, _), (field, value), ..] => Err(Problem::new(
                field,
                value,
                format!(
                    "there is `{first}` as well; leave all but one of `url`, `sentinel` and `cluster` out"
                ),
            )),
        }
    }

    fn check_urls(&self) -> Result<(), Problem> {
        let lists = [
            (
                "sentinel.urls",
                self.sentinel.as_ref().map(|sentinel| &sentinel.urls),
            ),
            ("cluster.urls", self.cluster.as_ref().map(|cluster| &cluster.urls)),
        ];
        for (field, urls) in lists {
            if urls.is_some_and(Vec::is_empty) {
                return Err(Problem::new(field, "[]", "give at least one"));
            }
        }
        match &self.sentinel {
            Some(sentinel) if sentinel.service.is_empty() => Err(Problem::new(
                "sentinel.service",
                "",
                "give the sentinels' name of the master",
            )),
            _ => Ok(()),
        }
    }

    /// The place and its settings, with what stands in files.
    #[cfg(feature = "redis")]
    pub(super) fn open(&self) -> Result<crate::redis::Redis, Problem> {
        use crate::redis::Redis;

        // The adapter's messages never quote a URL.
        let place = |field: &'static str| {
            move |error: crate::error::Error| Problem::new(field, crate::secret::REDACTED, error.to_string())
        };
        let mut redis = match (&self.url, &self.sentinel, &self.cluster) {
            (Some(url), ..) => Redis::from_url(&url.expose()).map_err(place("url"))?,
            (_, Some(sentinel), _) => {
                let urls = sentinel.urls.iter().map(SecretUrl::expose);
                Redis::sentinel(&sentinel.service, urls).map_err(place("sentinel.urls"))?
            }
            (.., Some(cluster)) => {
                Redis::cluster(cluster.urls.iter().map(SecretUrl::expose)).map_err(place("cluster.urls"))?
            }
            (None, None, None) => return Err(Problem::whole("there is no place")),
        };
        let setting = |field: &'static str| {
            move |error: crate::error::Error| Problem::whole_of(field, error.to_string())
        };
        if let Some(name) = &self.username {
            redis = redis.username(name);
        }
        if let Some(password) = &self.password {
            redis = redis.password(password.clone());
        }
        if let Some(path) = &self.password_file {
            let bytes = super::check::file("password_file", path)?;
            redis = redis.password(Secret::new(bytes.trim_ascii_end()));
        }
        if let Some(number) = self.database {
            let small = u32::try_from(number).map_err(|_| {
                Problem::new("database", number, "no server has so many; the usual limit is 15")
            })?;
            redis = redis.database(small).map_err(setting("database"))?;
        }
        if self.resp3 == Some(true) {
            redis = redis.resp3();
        }
        if let Some(timeout) = self.operation_timeout {
            redis = redis
                .operation_timeout(timeout)
                .map_err(setting("operation_timeout"))?;
        }
        if let Some(timeout) = self.connect_timeout {
            redis = redis
                .connect_timeout(timeout)
                .map_err(setting("connect_timeout"))?;
        }
        if let Some(operations) = self.max_in_flight {
            let operations = usize::try_from(operations).unwrap_or(usize::MAX);
            redis = redis
                .max_in_flight(operations)
                .map_err(setting("max_in_flight"))?;
        }
        match &self.tls {
            Some(tls) => Ok(redis.tls(tls.open().map_err(|problem| problem.within("tls"))?)),
            None => Ok(redis),
        }
    }
}

impl TlsConfig {
    fn check(&self) -> Result<(), Problem> {
        match (&self.certificate_file, &self.key_file) {
            (Some(certificate), None) => Err(Problem::new(
                "certificate_file",
                certificate.display(),
                "its key is missing; give `key_file`",
            )),
            (None, Some(key)) => Err(Problem::new(
                "key_file",
                key.display(),
                "the certificate is missing; give `certificate_file`",
            )),
            _ => Ok(()),
        }
    }

    #[cfg(feature = "redis")]
    fn open(&self) -> Result<crate::redis::Tls, Problem> {
        use super::check::file;
        use crate::redis::Tls;

        let wrong = |field: &'static str| {
            move |error: crate::error::Error| Problem::whole_of(field, error.to_string())
        };
        let tls = match &self.authorities_file {
            Some(path) => {
                Tls::trusting(file("authorities_file", path)?).map_err(wrong("authorities_file"))?
            }
            None => Tls::system(),
        };
        let (Some(certificate), Some(key)) = (&self.certificate_file, &self.key_file) else {
            return Ok(tls);
        };
        let (certificate, key) = (file("certificate_file", certificate)?, file("key_file", key)?);
        tls.client_certificate(certificate, Secret::new(key))
            .map_err(wrong("certificate_file"))
    }
}

/// A list of URLs, or one text with commas.
fn urls<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<SecretUrl>, D::Error> {
    let list = scalar::list::deserialize(deserializer)?;
    Ok(list.iter().map(|url| SecretUrl::from(url.as_str())).collect())
}
