//! What clients really send, as the server saw it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{ANSWER_TIME, RedisServer};
use crate::resp::{RespClient, Value};

/// Records commands through MONITOR until dropped.
#[derive(Debug)]
pub struct Monitor<'a> {
    server: &'a RedisServer,
    client: RespClient,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitoredCommand {
    /// The client's address; commands inside a script have none.
    pub client: Option<String>,
    /// The database it ran in.
    pub database: u32,
    /// The command's name and arguments.
    pub arguments: Vec<String>,
}

impl<'a> Monitor<'a> {
    pub(super) fn start(server: &'a RedisServer) -> Self {
        let mut client = server
            .connect_admin()
            .unwrap_or_else(|error| panic!("MONITOR: {error}"));
        let reply = client.command(&["MONITOR"]);
        assert!(
            matches!(reply, Ok(Value::Simple(_))),
            "MONITOR answered {reply:?}"
        );
        Self { server, client }
    }

    /// Everything since the start or the last call, complete up to this moment.
    ///
    /// Without what came over the unix socket (the harness does), and without AUTH, which Redis never shows.
    pub fn take(&mut self) -> Vec<MonitoredCommand> {
        // The server shows commands in order, so the marker is the last line that matters.
        let marker = marker();
        self.server.command(&["ECHO", &marker]);
        let mut commands = Vec::new();
        loop {
            let command = self.read();
            if command.arguments.last() == Some(&marker) {
                return commands;
            }
            if !command
                .client
                .as_ref()
                .is_some_and(|client| client.starts_with("unix:"))
            {
                commands.push(command);
            }
        }
    }

    /// As [`take`](Self::take), without the commands which scripts run: each is a request of a client.
    pub fn take_requests(&mut self) -> Vec<MonitoredCommand> {
        self.take()
            .into_iter()
            .filter(|command| command.client.is_some())
            .collect()
    }

    fn read(&mut self) -> MonitoredCommand {
        let line = self.client.read().unwrap_or_else(|error| {
            panic!("MONITOR showed nothing for {ANSWER_TIME:?}: {error}");
        });
        let line = line.text();
        parse(&line).unwrap_or_else(|| panic!("MONITOR showed {line:?}"))
    }
}

impl MonitoredCommand {
    /// The name in capital letters.
    pub fn name(&self) -> String {
        self.arguments[0].to_ascii_uppercase()
    }
}

/// `1339518083.107412 [0 127.0.0.1:60866] "get" "a\"b"`
fn parse(line: &str) -> Option<MonitoredCommand> {
    let (_, rest) = line.split_once(" [")?;
    let (place, arguments) = rest.split_once("] ")?;
    let (database, client) = place.split_once(' ')?;
    let arguments = quoted(arguments)?;
    Some(MonitoredCommand {
        client: (client != "lua").then(|| client.to_owned()),
        database: database.parse().ok()?,
        arguments: (!arguments.is_empty()).then_some(arguments)?,
    })
}

/// Splits `"a" "b\"c"`. Bytes that are not text stay escaped as `\xff`.
fn quoted(text: &str) -> Option<Vec<String>> {
    let mut arguments = Vec::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' => {}
            '"' => arguments.push(argument(&mut letters)?),
            _ => return None,
        }
    }
    Some(arguments)
}

fn argument(letters: &mut impl Iterator<Item = char>) -> Option<String> {
    let mut argument = String::new();
    loop {
        match letters.next()? {
            '"' => return Some(argument),
            '\\' => match letters.next()? {
                'n' => argument.push('\n'),
                'r' => argument.push('\r'),
                't' => argument.push('\t'),
                quoted @ ('"' | '\\') => argument.push(quoted),
                other => argument.extend(['\\', other]),
            },
            letter => argument.push(letter),
        }
    }
}

fn marker() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("monitor-marker-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart() {
        let command = parse(r#"1.2 [3 127.0.0.1:6] "set" "a \"b\"\n" "\xff""#).unwrap();
        assert_eq!(command.client.as_deref(), Some("127.0.0.1:6"));
        assert_eq!((command.database, command.name().as_str()), (3, "SET"));
        assert_eq!(command.arguments[1..], ["a \"b\"\n", r"\xff"]);
    }

    #[test]
    fn a_command_inside_a_script_has_no_client() {
        assert_eq!(parse(r#"1.2 [0 lua] "get" "k""#).unwrap().client, None);
    }

    #[test]
    fn what_is_not_a_command_is_not_guessed_at() {
        for line in [
            "",
            "OK",
            "1.2 [0 lua]",
            r#"1.2 [0 lua] "get"#,
            "1.2 [0 lua] get",
            "1.2 [x lua] \"get\"",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
