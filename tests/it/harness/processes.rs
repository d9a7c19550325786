//! Children are talked to, stopped and killed; nothing outlives a killed test process.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::{Child, Children, RedisServer, wait_until_blocking};

#[test]
fn children_answer_line_by_line_and_know_their_number() {
    let children = Children::spawn("sh", 3, |number, command| {
        command.args(["-c", r#"while read -r line; do echo "$ME got $line"; done"#]);
        command.env("ME", number.to_string());
    });
    children.send("this");
    for (number, child) in children.iter().enumerate() {
        assert_eq!(child.next_line(PATIENCE), format!("{number} got this"));
    }
    children[1].send("that");
    assert_eq!(children[1].next_line(PATIENCE), "1 got that");
    assert_eq!(children[1].output(), ["1 got this", "1 got that"]);
    children[0].close_input();
    assert!(children[0].wait(PATIENCE).success());
}

#[test]
fn a_frozen_child_is_silent_and_a_killed_one_is_gone() {
    let child = echo();
    child.freeze();
    child.send("late");
    assert!(std::panic::catch_unwind(|| child.next_line(Duration::from_millis(200))).is_err());
    child.thaw();
    assert_eq!(child.next_line(PATIENCE), "late");
    child.kill();
    assert!(!child.is_running());
    assert!(!exists(child.pid()));
}

#[test]
fn a_child_ends_on_sigterm_and_its_errors_are_kept() {
    let child =
        sh(r#"trap 'echo bye >&2; exit 7' TERM; echo ready; while :; do read -r line || sleep 0.01; done"#);
    assert_eq!(child.next_line_with("rea", PATIENCE), "ready");
    child.close_input();
    child.terminate();
    assert_eq!(child.wait(PATIENCE).code(), Some(7));
    wait_until_blocking(PATIENCE, "the last words arrive", || child.errors() == ["bye"]);
}

#[test]
fn waiting_for_a_line_of_an_ended_child_does_not_wait() {
    let child = sh("echo only");
    assert_eq!(child.next_line(PATIENCE), "only");
    let failure = std::panic::catch_unwind(|| child.next_line(Duration::from_secs(3600)));
    assert!(
        failure
            .unwrap_err()
            .downcast::<String>()
            .unwrap()
            .contains("it has ended")
    );
}

/// One test in two roles: as a child of itself it starts a server and waits to be killed.
#[test]
fn a_killed_test_process_leaves_no_server_and_no_file_behind() {
    if std::env::var_os(VICTIM).is_some() {
        let server = RedisServer::start();
        server.freeze();
        println!(
            "\nserver {} {}",
            server.pid(),
            server.unix_url().replace("unix://", "")
        );
        // Ends with the pipe should the parent die first; the parent does not write.
        let _ = std::io::stdin().read_line(&mut String::new());
        return;
    }
    let name = "harness::processes::a_killed_test_process_leaves_no_server_and_no_file_behind";
    let mut command = Command::new(std::env::current_exe().unwrap());
    let victim = Child::spawn(command.args(["--exact", name, "--nocapture"]).env(VICTIM, "yes"));
    let line = victim.next_line_with("server ", Duration::from_secs(30));
    let [_, pid, socket] = line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{line}")
    };
    let (pid, folder) = (
        pid.parse().unwrap(),
        Path::new(socket).parent().unwrap().parent().unwrap(),
    );
    assert!(exists(pid) && folder.exists());
    victim.kill();
    wait_until_blocking(PATIENCE, "the server and its files are gone", || {
        !exists(pid) && !folder.exists()
    });
}

fn echo() -> Child {
    Child::spawn(&mut Command::new("cat"))
}

fn sh(script: &str) -> Child {
    Child::spawn(Command::new("sh").args(["-c", script]))
}

/// A zombie nobody has reaped has ended as well: orphans may have to wait for that.
fn exists(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rfind(") ")
        .is_some_and(|end| !stat[end..].starts_with(") Z"))
}

const VICTIM: &str = "HARNESS_TEST_VICTIM";
const PATIENCE: Duration = Duration::from_secs(5);
