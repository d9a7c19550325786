//! Translation of what the driver and the system say into the port's words. Nothing here may quote a secret: only the
//! server's own messages, cut short, and names of endpoints.

use std::io;

use redis::{ErrorKind, RedisError, ServerError, Value};

use crate::shared::{Fault, FaultKind};

/// Why one command of a batch has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The server does not know the script.
    NoScript,
    /// The slot is served there, from now on.
    Moved(String),
    /// This one command is served there.
    Ask(String),
    /// The slot is on its way.
    TryAgain,
    /// Anything else.
    Fault(Fault),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Fault(fault) => fault,
            Refusal::NoScript => Self::new(FaultKind::Server, "the server forgets scripts at once"),
            Refusal::Moved(_) | Refusal::Ask(_) | Refusal::TryAgain => Self::new(
                FaultKind::Redirects,
                "redirected by a server that was not set up as a cluster",
            ),
        }
    }
}

/// A command's answer, or why there is none.
pub(super) type Answer = Result<Value, Refusal>;

pub(super) fn answer(value: Value) -> Answer {
    match value {
        Value::ServerError(error) => Err(refusal(&error)),
        value => Ok(value),
    }
}

fn refusal(error: &ServerError) -> Refusal {
    refusal_of(error.code(), error.details().unwrap_or_default())
}

/// What an error that is the whole answer means: an error of the server for one command, or the end of the connection.
pub(super) fn of_driver(error: &RedisError) -> Refusal {
    let detail = error.detail().unwrap_or_default();
    match error.kind() {
        ErrorKind::AuthenticationFailed => Refusal::Fault(greeting(error)),
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
            Refusal::Fault(Fault::new(FaultKind::Protocol, "the server's bytes are not RESP"))
        }
        ErrorKind::Io => Refusal::Fault(Fault::new(FaultKind::Disconnected, "the connection broke")),
        _ => match error.code() {
            Some(code) => refusal_of(code, detail),
            None => Refusal::Fault(Fault::new(FaultKind::Disconnected, "the connection broke")),
        },
    }
}

/// An error during the greeting, where "no answer" means something else.
pub(super) fn greeting(error: &RedisError) -> Fault {
    let text = error.to_string();
    if text.contains("max number of clients") {
        return Fault::new(FaultKind::MaxClients, "the server has too many clients");
    }
    if text.contains("LOADING") {
        return Fault::new(FaultKind::Loading, "the server is loading its data");
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => Fault::new(FaultKind::Auth, "the server refused user or password"),
        ErrorKind::Io => Fault::new(FaultKind::Handshake, "the connection ended during the greeting"),
        ErrorKind::Parse => Fault::new(FaultKind::Protocol, "the server does not speak RESP"),
        _ => match of_code(error) {
            Some(fault) => fault,
            None => Fault::new(FaultKind::Handshake, "the server refused the greeting"),
        },
    }
}

fn of_code(error: &RedisError) -> Option<Fault> {
    match refusal_of(error.code()?, error.detail().unwrap_or_default()) {
        Refusal::Fault(fault) => Some(fault),
        _ => None,
    }
}

fn refusal_of(code: &str, detail: &str) -> Refusal {
    let kind = match code {
        "NOSCRIPT" => return Refusal::NoScript,
        "MOVED" => return target(detail).map_or_else(|| nonsense(code), Refusal::Moved),
        "ASK" => return target(detail).map_or_else(|| nonsense(code), Refusal::Ask),
        "TRYAGAIN" => return Refusal::TryAgain,
        "LOADING" => FaultKind::Loading,
        "READONLY" => FaultKind::ReadOnly,
        "MASTERDOWN" => FaultKind::MasterDown,
        "OOM" => FaultKind::OutOfMemory,
        "MISCONF" => FaultKind::Misconfigured,
        "BUSY" | "UNKILLABLE" => FaultKind::Busy,
        "NOAUTH" | "WRONGPASS" => FaultKind::Auth,
        "NOPERM" => FaultKind::NoPermission,
        "WRONGTYPE" => FaultKind::WrongType,
        "CLUSTERDOWN" => FaultKind::ClusterDown,
        _ => from_text(detail),
    };
    Refusal::Fault(Fault::new(kind, short(&format!("{code} {detail}"))))
}

/// Errors out of scripts arrive as text, with the code somewhere inside.
fn from_text(detail: &str) -> FaultKind {
    let known = [
        ("max number of clients", FaultKind::MaxClients),
        ("OOM command not allowed", FaultKind::OutOfMemory),
        ("MISCONF", FaultKind::Misconfigured),
        ("READONLY", FaultKind::ReadOnly),
        ("MASTERDOWN", FaultKind::MasterDown),
        ("NOPERM", FaultKind::NoPermission),
        ("can't run this command", FaultKind::NoPermission),
        ("cannot access", FaultKind::NoPermission),
        ("WRONGTYPE", FaultKind::WrongType),
        ("CLUSTERDOWN", FaultKind::ClusterDown),
    ];
    known
        .iter()
        .find(|(text, _)| detail.contains(text))
        .map_or(FaultKind::Server, |(_, kind)| *kind)
}

/// `slot host:port`
fn target(detail: &str) -> Option<String> {
    detail.split_whitespace().nth(1).map(str::to_owned)
}

fn nonsense(code: &str) -> Refusal {
    Refusal::Fault(Fault::new(
        FaultKind::Protocol,
        format!("{code} without an address"),
    ))
}

pub(super) fn of_io(endpoint: &str, error: &io::Error) -> Fault {
    Fault::new(FaultKind::Connect, format!("{endpoint}: {}", error.kind()))
}

pub(super) fn timeout(what: &str) -> Fault {
    Fault::new(FaultKind::Timeout, what)
}

/// An answer of a shape that the protocol does not have.
pub(super) fn shape(what: &str) -> Fault {
    Fault::new(
        FaultKind::Protocol,
        format!("{what} was answered in an unknown shape"),
    )
}

fn short(text: &str) -> String {
    text.chars().take(MAX_MESSAGE).collect()
}

const MAX_MESSAGE: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: &str, detail: &str, kind: FaultKind) {
        let Refusal::Fault(fault) = refusal_of(code, detail) else {
            panic!("{code} is a fault")
        };
        assert_eq!(fault.kind(), kind, "{code} {detail}");
    }

    #[test]
    fn codes_are_translated() {
        check("LOADING", "Redis is loading", FaultKind::Loading);
        check("OOM", "command not allowed", FaultKind::OutOfMemory);
        check("ERR", "max number of clients reached", FaultKind::MaxClients);
        check(
            "ERR",
            "user_script:3: OOM command not allowed when used",
            FaultKind::OutOfMemory,
        );
        check("ERR", "unknown command", FaultKind::Server);
        check("NOAUTH", "Authentication required.", FaultKind::Auth);
        assert_eq!(
            refusal_of("MOVED", "3999 127.0.0.1:6381"),
            Refusal::Moved("127.0.0.1:6381".to_owned())
        );
        check("ASK", "3999", FaultKind::Protocol);
        assert_eq!(refusal_of("NOSCRIPT", "No matching script."), Refusal::NoScript);
    }
}
