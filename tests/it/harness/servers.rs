//! Servers are in the state they were asked for.

use std::net::TcpStream;
use std::time::Duration;

use support::redis::MonitoredCommand;
use support::resp::{RespClient, Value};
use support::{Canary, RedisServer, ServerCertificate, Stopwatch, wait_until_blocking};

#[test]
fn a_plain_server_answers_on_its_port_and_its_socket() {
    let server = RedisServer::start();
    assert_eq!(server.url(), format!("redis://127.0.0.1:{}/", server.port()));
    assert_eq!(
        connect(&server).command(&["SET", "k", "v"]).unwrap(),
        Value::Simple("OK".into())
    );
    assert_eq!(server.cli(&["GET", "k"]).trim(), "v");
    server.flushall();
    assert_eq!(server.command(&["DBSIZE"]), Value::Integer(0));
}

#[test]
fn many_servers_start_at_once() {
    let servers: Vec<_> = (0..8).map(|_| std::thread::spawn(RedisServer::start)).collect();
    let servers: Vec<_> = servers.into_iter().map(|server| server.join().unwrap()).collect();
    for (number, server) in servers.iter().enumerate() {
        server.command(&["SET", "me", &number.to_string()]);
    }
    for (number, server) in servers.iter().enumerate() {
        assert_eq!(
            connect(server).command(&["GET", "me"]).unwrap().text(),
            number.to_string()
        );
    }
}

#[test]
fn a_frozen_server_keeps_connections_and_answers_only_when_thawed() {
    let server = RedisServer::start();
    let mut client = RespClient::connect(server.address(), Duration::from_millis(200)).unwrap();
    server.freeze();
    assert!(
        client
            .command(&["PING"])
            .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    );
    assert!(
        TcpStream::connect(server.address()).is_ok(),
        "the kernel still accepts"
    );
    server.thaw();
    assert_eq!(client.read().unwrap().text(), "PONG");
    assert_eq!(server.command(&["PING"]).text(), "PONG");
}

#[test]
fn a_killed_server_refuses_until_it_is_restarted_empty_on_the_same_port() {
    let server = RedisServer::start();
    let (port, pid) = (server.port(), server.pid());
    server.command(&["SET", "k", "v"]);
    server.kill();
    assert!(!server.is_running());
    assert!(TcpStream::connect(server.address()).is_err());
    assert!(server.try_command(&["PING"]).is_err());
    server.restart();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    assert_eq!(connect(&server).command(&["GET", "k"]).unwrap(), Value::Null);
}

#[test]
fn a_frozen_server_can_be_restarted() {
    let server = RedisServer::start();
    server.freeze();
    server.restart();
    assert_eq!(connect(&server).command(&["PING"]).unwrap().text(), "PONG");
}

#[test]
fn no_process_and_no_file_stays_behind() {
    let server = RedisServer::start();
    let (pid, socket) = (server.pid(), server.unix_url().replace("unix://", ""));
    let folder = std::path::Path::new(&socket).parent().unwrap().to_owned();
    assert!(process_exists(pid) && folder.exists());
    drop(server);
    assert!(!process_exists(pid));
    assert!(!folder.exists());
}

#[test]
fn a_panic_stops_the_server_even_when_it_is_frozen() {
    let (pid, port) = std::panic::catch_unwind(|| {
        let server = RedisServer::start();
        server.freeze();
        std::panic::panic_any((server.pid(), server.port()));
    })
    .map(|()| unreachable!("the closure panics"))
    .map_err(|payload| *payload.downcast::<(u32, u16)>().unwrap())
    .unwrap_err();
    assert!(!process_exists(pid));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn a_password_is_asked_for_and_is_in_the_url() {
    let canary = Canary::new();
    let server = RedisServer::builder().password(canary.secret()).start();
    assert_eq!(
        server.url(),
        format!("redis://:{}@127.0.0.1:{}/", canary.secret(), server.port())
    );
    let mut client = connect(&server);
    assert!(
        client
            .command(&["PING"])
            .unwrap()
            .error()
            .unwrap()
            .starts_with("NOAUTH")
    );
    assert_eq!(client.command(&["AUTH", canary.secret()]).unwrap().text(), "OK");
}

#[test]
fn a_user_may_do_what_its_rules_say_and_nothing_else() {
    let server = RedisServer::builder()
        .user("app", "secret", "~app:* +get +ping")
        .start();
    assert_eq!(
        server.url(),
        format!("redis://app:secret@127.0.0.1:{}/", server.port())
    );
    let mut client = connect(&server);
    assert!(
        client
            .command(&["PING"])
            .unwrap()
            .error()
            .unwrap()
            .starts_with("NOAUTH")
    );
    assert_eq!(client.command(&["AUTH", "app", "secret"]).unwrap().text(), "OK");
    assert_eq!(client.command(&["GET", "app:1"]).unwrap(), Value::Null);
    assert!(
        client
            .command(&["GET", "other"])
            .unwrap()
            .error()
            .unwrap()
            .starts_with("NOPERM")
    );
    assert!(
        client
            .command(&["SET", "app:1", "v"])
            .unwrap()
            .error()
            .unwrap()
            .starts_with("NOPERM")
    );
    server.command(&["ACL", "SETUSER", "app", "off"]);
    assert!(
        connect(&server)
            .command(&["AUTH", "app", "secret"])
            .unwrap()
            .error()
            .is_some()
    );
}

#[test]
fn a_full_server_reads_and_does_not_write() {
    let server = RedisServer::builder().out_of_memory().start();
    let mut client = connect(&server);
    assert_eq!(client.command(&["GET", "k"]).unwrap(), Value::Null);
    assert!(
        client
            .command(&["SET", "k", "v"])
            .unwrap()
            .error()
            .unwrap()
            .starts_with("OOM")
    );
}

#[test]
fn one_client_too_many_is_told_so() {
    let server = RedisServer::builder().max_clients(1).start();
    let mut first = connect(&server);
    assert_eq!(first.command(&["PING"]).unwrap().text(), "PONG");
    let second = connect(&server).read().unwrap();
    assert_eq!(second.error(), Some("ERR max number of clients reached"));
}

#[test]
fn a_loading_server_says_loading_for_as_long_as_asked() {
    let server = RedisServer::builder().loading_for(Duration::from_secs(2)).start();
    let stopwatch = Stopwatch::start();
    let mut client = connect(&server);
    assert!(
        client
            .command(&["GET", "k"])
            .unwrap()
            .error()
            .unwrap()
            .starts_with("LOADING")
    );
    server.wait_ready();
    assert!(
        stopwatch.elapsed() > Duration::from_millis(1_000),
        "loaded after {:?}",
        stopwatch.elapsed()
    );
    assert_eq!(client.command(&["GET", "k"]).unwrap(), Value::Null);
}

#[test]
fn a_replica_is_read_only_and_says_so_when_its_master_is_gone() {
    let master = RedisServer::builder().password("secret").start();
    let replica = RedisServer::builder()
        .replica_of(&master)
        .refuse_stale_reads()
        .start();
    replica.wait_ready();
    master.command(&["SET", "k", "v"]);
    assert_eq!(master.command(&["WAIT", "1", "5000"]), Value::Integer(1));
    let mut client = connect(&replica);
    assert_eq!(client.command(&["GET", "k"]).unwrap().text(), "v");
    assert!(
        client
            .command(&["SET", "k", "w"])
            .unwrap()
            .error()
            .unwrap()
            .starts_with("READONLY")
    );
    master.kill();
    wait_until_blocking(Duration::from_secs(5), "MASTERDOWN", || {
        client
            .command(&["GET", "k"])
            .unwrap()
            .error()
            .is_some_and(|error| error.starts_with("MASTERDOWN"))
    });
}

#[test]
fn keys_without_a_ttl_are_found_in_every_database() {
    let server = RedisServer::builder().databases(3).start();
    server.command(&["SET", "safe", "v", "EX", "100"]);
    let mut client = connect(&server);
    client.command(&["SELECT", "2"]).unwrap();
    client.command(&["SET", "eternal", "v"]).unwrap();
    assert_eq!(server.keys_without_ttl(), ["eternal"]);
    assert_eq!(
        server.command(&["GET", "safe"]).text(),
        "v",
        "the harness is back in database 0"
    );
}

#[test]
fn the_monitor_shows_what_clients_send_and_what_scripts_do() {
    let server = RedisServer::start();
    let mut monitor = server.monitor();
    let mut client = connect(&server);
    client
        .command(&["EVAL", "return redis.call('GET', KEYS[1])", "1", "some key"])
        .unwrap();
    server.command(&["GET", "of the harness"]);
    let commands = monitor.take();
    assert_eq!(
        commands.iter().map(MonitoredCommand::name).collect::<Vec<_>>(),
        ["EVAL", "GET"]
    );
    assert_eq!(commands[1].arguments[1], "some key");
    client.command(&["PING"]).unwrap();
    assert_eq!(monitor.take_requests().len(), 1);
    assert_eq!(monitor.take(), []);
}

#[test]
fn clients_are_counted_and_disconnected_and_the_harness_is_not_one() {
    let server = RedisServer::start();
    let mut clients = [connect(&server), connect(&server)];
    clients
        .iter_mut()
        .for_each(|client| assert_eq!(client.command(&["PING"]).unwrap().text(), "PONG"));
    assert_eq!(server.client_connections(), 2);
    server.disconnect_clients();
    assert_eq!(server.client_connections(), 0);
    assert!(clients[0].command(&["PING"]).is_err());
}

#[test]
fn a_tls_server_does_not_speak_plaintext_and_shows_the_certificate_asked_for() {
    for (certificate, trusted) in [
        (ServerCertificate::Valid, true),
        (ServerCertificate::Expired, false),
        (ServerCertificate::UnknownAuthority, false),
    ] {
        let server = RedisServer::builder().tls(certificate).start();
        assert!(server.url().starts_with("rediss://127.0.0.1:"));
        assert!(connect(&server).command(&["PING"]).is_err());
        match cli_over_tls(&server, false) {
            Ok(reply) => assert!(trusted && reply.trim() == "PONG", "{certificate:?}: {reply}"),
            Err(error) => assert!(!trusted && error.contains("certificate verify failed"), "{error}"),
        }
    }
}

#[test]
fn a_client_certificate_is_required_when_asked_for() {
    let server = RedisServer::builder()
        .tls(ServerCertificate::Valid)
        .require_client_certificate()
        .start();
    assert!(cli_over_tls(&server, false).is_err());
    assert_eq!(cli_over_tls(&server, true).unwrap().trim(), "PONG");
}

fn cli_over_tls(server: &RedisServer, with_certificate: bool) -> Result<String, String> {
    let files = server.certificates();
    let folder = std::env::temp_dir().join(format!("cli-{}-{}", std::process::id(), server.port()));
    std::fs::create_dir(&folder).unwrap();
    let write = |name: &str, content: &str| {
        std::fs::write(folder.join(name), content).unwrap();
        folder.join(name)
    };
    let mut cli = std::process::Command::new("redis-cli");
    cli.args([
        "-h",
        "127.0.0.1",
        "-p",
        &server.port().to_string(),
        "--tls",
        "--cacert",
    ]);
    cli.arg(write("authority.pem", &files.authority));
    if with_certificate {
        cli.arg("--cert").arg(write("client.pem", &files.client));
        cli.arg("--key").arg(write("key.pem", &files.client_key));
    }
    let output = cli.arg("PING").output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    if output.status.success() {
        Ok(text)
    } else {
        Err(text + &String::from_utf8(output.stderr).unwrap())
    }
}

fn connect(server: &RedisServer) -> RespClient {
    RespClient::connect(server.address(), Duration::from_secs(5)).unwrap()
}

fn process_exists(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}
