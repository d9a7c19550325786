//! Certificates made for one test and thrown away with it.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};

use crate::scratch::Scratch;

/// What the server shows to its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerCertificate {
    /// Good for `127.0.0.1` and `localhost`.
    Valid,
    /// Good for another host only.
    WrongName,
    /// Good until the year 2001.
    Expired,
    /// Good, but from an authority which [`Certificates::authority`] does not name.
    UnknownAuthority,
}

/// The files of one server, as PEM.
#[derive(Debug)]
pub struct Certificates {
    /// The authority a client should trust.
    pub authority: String,
    /// A certificate for a client, from the same authority.
    pub client: String,
    /// The client's private key.
    pub client_key: String,
    pub(crate) server_file: PathBuf,
    pub(crate) server_key_file: PathBuf,
    pub(crate) authority_file: PathBuf,
}

impl Certificates {
    pub(crate) fn issue(kind: ServerCertificate, folder: &Scratch) -> Self {
        let authority = authority("the tests' authority");
        let stranger = self::authority("somebody else's authority");
        let issuer = if kind == ServerCertificate::UnknownAuthority {
            &stranger
        } else {
            &authority
        };
        let (server, server_key) = server(kind, issuer);
        let (client, client_key) = client(&authority);
        Self {
            server_file: folder.write("server.pem", &server),
            server_key_file: folder.write("server-key.pem", &server_key),
            authority_file: folder.write("authority.pem", &authority.pem()),
            authority: authority.pem(),
            client,
            client_key,
        }
    }
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = params(&[]);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, key()).expect(VALID)
}

fn server(kind: ServerCertificate, issuer: &Authority) -> (String, String) {
    sign(&server_params(kind), issuer)
}

fn server_params(kind: ServerCertificate) -> CertificateParams {
    let names: &[&str] = match kind {
        ServerCertificate::WrongName => &["elsewhere.test"],
        _ => &["localhost", "127.0.0.1"],
    };
    let mut params = params(names);
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    if kind == ServerCertificate::Expired {
        params.not_after = date_time_ymd(2001, 1, 1);
    }
    params
}

fn client(issuer: &Authority) -> (String, String) {
    let mut params = params(&["client.test"]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    sign(&params, issuer)
}

fn sign(params: &CertificateParams, issuer: &Authority) -> (String, String) {
    let key = key();
    let certificate = params.signed_by(&key, issuer).expect(VALID);
    (certificate.pem(), key.serialize_pem())
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).expect(VALID);
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    params
}

fn key() -> KeyPair {
    KeyPair::generate().expect("the default algorithm is built in")
}

const VALID: &str = "the parameters are constants of this file and valid";

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::SanType;

    #[test]
    fn only_the_wrong_certificate_lacks_our_address() {
        let ours = SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
        for kind in [
            ServerCertificate::Valid,
            ServerCertificate::Expired,
            ServerCertificate::UnknownAuthority,
        ] {
            assert!(server_params(kind).subject_alt_names.contains(&ours), "{kind:?}");
        }
        let wrong = server_params(ServerCertificate::WrongName).subject_alt_names;
        assert_eq!(wrong, [SanType::DnsName("elsewhere.test".try_into().unwrap())]);
    }
}
