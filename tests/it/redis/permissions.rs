//! Users, passwords, certificates, and the least that a user must be permitted.

use std::sync::Arc;
use std::time::Duration;

use cache_core::Redis;
use cache_core::redis::Tls;
use cache_core::shared::{FaultKind, Mark, ScanRequest, Shared, Strength};
use cache_core::time::SystemClock;
use support::{Canary, LogCapture, RedisServer, ServerCertificate, wait_until};

use super::{BUDGET, commit, lease, open, open_url, read, remove, set};

/// The rules of docs/redis.md, for a cache named `m`.
pub(crate) fn rules() -> String {
    let page = include_str!("../../../docs/redis.md");
    let (_, after) = page.split_once("```text\n").unwrap();
    after.split_once("```").unwrap().0.replace('\n', " ")
}

async fn everything_works(tier: &Arc<dyn Shared>) {
    let lease = lease(tier, "m:a").await;
    let mut waiting = tier.subscribe("m:a", BUDGET).await.unwrap();
    tier.renew("m:a", lease.token, super::LOCK, BUDGET).await.unwrap();
    commit(tier, "m:a", &lease, "x").await;
    waiting.next().await.unwrap();
    assert_eq!(read(tier, "m:a").await.as_deref(), Some("x"));
    set(tier, "m/eu:a", "y").await;
    remove(tier, "m/eu:a").await;
    let ttl = Duration::from_secs(100);
    let marks = [Mark::Tag("m", "t"), Mark::Namespace("m/eu")];
    tier.marks(&marks, ttl, BUDGET).await.unwrap();
    tier.move_marks(&marks, Strength::Hard, Duration::ZERO, ttl, BUDGET)
        .await
        .unwrap();
    tier.begin_pattern("m:a*", BUDGET).await.unwrap();
    let (glob, cursor, count) = ("m:*", None, 10);
    tier.scan(ScanRequest { glob, cursor, count }, BUDGET)
        .await
        .unwrap();
    let mut reader = tier.follow_log();
    reader.next().await.unwrap();
    let facts = tier.inspect(BUDGET).await.unwrap();
    assert_eq!(facts.missing_commands, Vec::<String>::new());
    assert!(facts.version.is_some() && facts.eviction_policy.as_deref() == Some("noeviction"));
}

#[tokio::test]
async fn the_documented_rules_are_enough() {
    let server = RedisServer::builder().user("cache", "pw", &rules()).start();
    everything_works(&open(&server)).await;
}

#[tokio::test]
async fn a_forbidden_command_is_named() {
    let rules = rules().replace("+pexpire", "").replace("+publish", "");
    let server = RedisServer::builder().user("cache", "pw", &rules).start();
    let tier = open(&server);
    let facts = tier.inspect(BUDGET).await.unwrap();
    assert!(
        facts.missing_commands.contains(&"pexpire".to_owned()),
        "{facts:?}"
    );
    assert!(
        facts.missing_commands.contains(&"publish".to_owned()),
        "{facts:?}"
    );
    let fault = tier.read("other:a", BUDGET).await.unwrap_err();
    assert_eq!(fault.kind(), FaultKind::NoPermission);
    set(&tier, "m:a", "without wake-ups").await;
}

#[tokio::test]
async fn a_wrong_password_is_told_and_never_shown() {
    let logs = LogCapture::start();
    let canary = Canary::new();
    let server = RedisServer::builder().password("right").start();
    let url = format!("redis://:{}@{}/", canary.secret(), server.address());
    let config = Redis::from_url(&url).unwrap();
    let tier = config.open("m", Arc::new(SystemClock));
    let fault = tier.read("m:a", BUDGET).await.unwrap_err();
    assert_eq!(fault.kind(), FaultKind::Auth);
    let said = format!("{config:?} {tier:?} {fault:?} {fault} {:?}", tier.health());
    canary.assert_absent("Debug and Display", &said);
    canary.assert_absent("the log", &logs.text());
}

#[tokio::test]
async fn a_user_who_is_let_in_again_is_back_within_bounds() {
    let server = RedisServer::builder().user("cache", "pw", &rules()).start();
    let tier = open(&server);
    set(&tier, "m:a", "x").await;
    server.command(&["ACL", "SETUSER", "cache", "off"]);
    server.disconnect_clients();
    wait_until(
        BUDGET,
        "the user is refused",
        async || matches!(tier.read("m:a", BUDGET).await, Err(fault) if fault.kind() == FaultKind::Auth),
    )
    .await;
    server.command(&["ACL", "SETUSER", "cache", "on"]);
    wait_until(Duration::from_millis(1_600), "the user is back", async || {
        tier.read("m:a", BUDGET).await.is_ok()
    })
    .await;
}

fn trusting(server: &RedisServer) -> Tls {
    Tls::trusting(server.certificates().authority.as_str()).unwrap()
}

fn over(server: &RedisServer, tls: Tls) -> Arc<dyn Shared> {
    let config = Redis::from_url(&server.url()).unwrap().tls(tls);
    config.open("m", Arc::new(SystemClock))
}

async fn refusal(tier: &Arc<dyn Shared>) -> FaultKind {
    tier.read("m:a", BUDGET).await.unwrap_err().kind()
}

#[tokio::test]
async fn tls_works_with_the_right_authority_and_with_no_other() {
    let server = RedisServer::builder().tls(ServerCertificate::Valid).start();
    everything_works(&over(&server, trusting(&server))).await;
    let other = RedisServer::builder().tls(ServerCertificate::Valid).start();
    assert_eq!(refusal(&over(&server, trusting(&other))).await, FaultKind::Tls);
}

#[tokio::test]
async fn wrong_and_expired_certificates_are_refused() {
    for certificate in [ServerCertificate::Expired, ServerCertificate::WrongName] {
        let server = RedisServer::builder().tls(certificate).start();
        assert_eq!(refusal(&over(&server, trusting(&server))).await, FaultKind::Tls);
    }
}

/// What other clients understand as "do not look at the certificate" is refused, or means nothing.
#[tokio::test]
async fn no_url_switches_off_that_certificates_are_verified() {
    // Issued by an authority that nobody was told of.
    let server = RedisServer::builder().tls(ServerCertificate::Valid).start();
    let url = format!("rediss://{}", server.address());
    for ending in [
        "",
        "#insecure",
        "/#insecure",
        "/0#insecure",
        "?insecure=true",
        "/0?ssl_cert_reqs=none",
        "/0?verify=false&sslmode=disable",
    ] {
        match Redis::from_url(&format!("{url}{ending}")) {
            Ok(config) => {
                let kind = refusal(&config.open("m", Arc::new(SystemClock))).await;
                assert_eq!(kind, FaultKind::Tls, "{ending}");
            }
            Err(error) => assert!(error.is_invalid() && !ending.is_empty(), "{ending}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_refused() {
    let plain = RedisServer::start();
    let secure = RedisServer::builder().tls(ServerCertificate::Valid).start();
    let tls = trusting(&secure);
    let kind = refusal(&over(&plain, tls)).await;
    assert!(
        matches!(kind, FaultKind::Tls | FaultKind::Timeout | FaultKind::Handshake),
        "{kind:?}"
    );
    let plain_client = open_url(&format!("redis://{}/", secure.address()));
    assert!(plain_client.read("m:a", BUDGET).await.is_err());
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_wanted() {
    let server = RedisServer::builder()
        .tls(ServerCertificate::Valid)
        .require_client_certificate()
        .start();
    let files = server.certificates();
    let shown = trusting(&server)
        .client_certificate(files.client.as_str(), files.client_key.as_str())
        .unwrap();
    let tier = over(&server, shown);
    set(&tier, "m:a", "x").await;
    assert_eq!(read(&tier, "m:a").await.as_deref(), Some("x"));
    let kind = refusal(&over(&server, trusting(&server))).await;
    assert!(matches!(kind, FaultKind::Tls | FaultKind::Handshake), "{kind:?}");
}
