//! [`Tls`]: which certificates to trust and to show.

use std::fmt;
use std::pin::Pin;

use tokio::net::TcpStream;

use super::stream::Duplex;
use crate::error::Error;
use crate::secret::Secret;
use crate::shared::{Fault, FaultKind};

/// Certificates for the way to the server. There is no way to switch their verification off.
#[derive(Clone)]
pub struct Tls {
    roots: Option<Vec<u8>>,
    client: Option<(Vec<u8>, Secret)>,
    #[cfg(feature = "redis-tls")]
    connector: std::sync::Arc<std::sync::OnceLock<Result<tokio_rustls::TlsConnector, String>>>,
}

impl Tls {
    /// Trusts the certificate authorities of the system.
    pub fn system() -> Self {
        Self {
            roots: None,
            client: None,
            #[cfg(feature = "redis-tls")]
            connector: std::sync::Arc::default(),
        }
    }

    /// Trusts these authorities only, in PEM.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) if there is no certificate in the text, or without the feature
    /// `redis-tls`.
    pub fn trusting(authorities: impl Into<Vec<u8>>) -> Result<Self, Error> {
        let mut tls = Self::system();
        tls.roots = Some(authorities.into());
        tls.checked("authorities")
    }

    /// Shows this certificate, with its key, both in PEM.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) if they cannot be read or do not fit each other.
    pub fn client_certificate(
        self,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Secret>,
    ) -> Result<Self, Error> {
        let mut tls = Self::system();
        tls.roots = self.roots;
        tls.client = Some((certificate.into(), key.into()));
        tls.checked("client_certificate")
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("authorities", &self.roots.as_ref().map_or("system", |_| "given"))
            .field("client_certificate", &self.client.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "redis-tls")]
mod rustls_side {
    use std::sync::Arc;

    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

    use super::{Duplex, Error, Fault, FaultKind, Pin, TcpStream, Tls};

    impl Tls {
        pub(super) fn checked(self, field: &str) -> Result<Self, Error> {
            match self.connector() {
                Ok(_) => Ok(self),
                Err(reason) => Err(Error::invalid(format!("`{field}`: {reason}"))),
            }
        }

        /// Shakes hands on a connected stream. Never falls back to plain text.
        pub(in crate::redis) async fn wrap(
            &self,
            host: &str,
            stream: TcpStream,
        ) -> Result<Pin<Box<dyn Duplex>>, Fault> {
            let refused = |reason: String| Fault::new(FaultKind::Tls, format!("{host}: {reason}"));
            let name = ServerName::try_from(host.to_owned())
                .map_err(|_| refused("neither a host name nor an address".to_owned()))?;
            let connector = self.connector().map_err(&refused)?;
            let stream = connector
                .connect(name, stream)
                .await
                .map_err(|error| refused(error.to_string()))?;
            Ok(Box::pin(stream))
        }

        fn connector(&self) -> Result<TlsConnector, String> {
            self.connector.get_or_init(|| self.build()).clone()
        }

        fn build(&self) -> Result<TlsConnector, String> {
            let provider = Arc::new(crypto::ring::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?
                .with_root_certificates(self.root_store()?);
            let config = match &self.client {
                None => config.with_no_client_auth(),
                Some((chain, key)) => {
                    let chain = certificates(chain)?;
                    let key = PrivateKeyDer::from_pem_slice(key.expose())
                        .map_err(|_| "the key is not a private key in PEM".to_owned())?;
                    config
                        .with_client_auth_cert(chain, key)
                        .map_err(|error| error.to_string())?
                }
            };
            Ok(TlsConnector::from(Arc::new(config)))
        }

        fn root_store(&self) -> Result<RootCertStore, String> {
            let mut store = RootCertStore::empty();
            match &self.roots {
                Some(pem) => {
                    for certificate in certificates(pem)? {
                        store.add(certificate).map_err(|error| error.to_string())?;
                    }
                }
                None => {
                    let system = rustls_native_certs::load_native_certs();
                    store.add_parsable_certificates(system.certs);
                    if store.is_empty() {
                        return Err("the system has no certificate authorities".to_owned());
                    }
                }
            }
            Ok(store)
        }
    }

    fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
        let certificates = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| "the text is not PEM".to_owned())?;
        if certificates.is_empty() {
            return Err("there is no certificate in the text".to_owned());
        }
        Ok(certificates)
    }
}

#[cfg(not(feature = "redis-tls"))]
impl Tls {
    fn checked(self, field: &str) -> Result<Self, Error> {
        let _ = self;
        Err(Error::invalid(format!(
            "`{field}`: TLS needs the feature `redis-tls`"
        )))
    }

    pub(super) async fn wrap(&self, host: &str, stream: TcpStream) -> Result<Pin<Box<dyn Duplex>>, Fault> {
        drop(stream);
        Err(Fault::new(
            FaultKind::Tls,
            format!("{host}: TLS needs the feature `redis-tls`"),
        ))
    }
}
