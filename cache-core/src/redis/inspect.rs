//! What the server says about itself, for the doctor.

use std::time::Duration;

use super::fault::Refusal;
use super::layout::Layout;
use super::reply::text;
use super::request::{Call, ScriptCall, command};
use super::route::Route;
use super::scripts;
use crate::shared::{Fault, FaultKind, ServerFacts};

/// Asks for facts, and tries every command that the toolkit uses on a key of its own.
pub(super) async fn inspect(route: &Route, layout: &Layout, within: Duration) -> Result<ServerFacts, Fault> {
    let slot = layout.slot();
    let probes = probes(layout);
    let mut calls: Vec<(u16, Call)> = vec![(slot, command(&["INFO", "all"]).into())];
    for probe in &probes {
        let words: Vec<&str> = probe.iter().map(String::as_str).collect();
        calls.push((slot, command(&words).into()));
    }
    calls.push((
        slot,
        ScriptCall::new(&scripts::RENEW)
            .key(layout.probe())
            .arg("-")
            .number(1)
            .into(),
    ));
    let mut answers = route.run(calls, true, within).await?.into_iter();
    let mut facts = match answers.next() {
        Some(Ok(info)) => parse(&text("INFO", info)?),
        _ => ServerFacts::default(),
    };
    let names = probes.iter().map(|probe| probe[0].to_ascii_lowercase());
    let names = names.chain(["evalsha".to_owned()]);
    facts.missing_commands = names
        .zip(answers)
        .filter(|(_, answer)| is_forbidden(answer))
        .map(|(name, _)| name)
        .collect();
    facts.missing_commands.dedup();
    Ok(facts)
}

fn is_forbidden(answer: &Result<redis::Value, Refusal>) -> bool {
    matches!(answer, Err(Refusal::Fault(fault)) if fault.kind() == FaultKind::NoPermission)
}

/// Commands that scripts use are permitted or forbidden like those that are sent.
fn probes(layout: &Layout) -> Vec<Vec<String>> {
    let (key, channel) = (layout.probe(), layout.probe_channel());
    let probes: &[&[&str]] = &[
        &["PING"],
        &["TIME"],
        &["ROLE"],
        &["SCAN", "0", "COUNT", "1"],
        &["GET", &key],
        &["PTTL", &key],
        &["SET", &key, "1", "PX", "1"],
        &["PEXPIRE", &key, "1"],
        &["DEL", &key],
        &["HSET", &key, "h", "1"],
        &["HMGET", &key, "h"],
        &["PEXPIRE", &key, "1"],
        &["DEL", &key],
        &["XADD", &key, "1-1", "f", "1"],
        &["XRANGE", &key, "-", "+", "COUNT", "1"],
        &["XREVRANGE", &key, "+", "-", "COUNT", "1"],
        &["XREAD", "COUNT", "1", "STREAMS", &key, "0"],
        &["DEL", &key],
        &["PUBLISH", &channel, "probe"],
        &["EVAL", "return 1", "0"],
    ];
    probes
        .iter()
        .map(|probe| probe.iter().map(|&word| word.to_owned()).collect())
        .collect()
}

fn parse(info: &str) -> ServerFacts {
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|value| value.trim().to_owned())
    };
    ServerFacts {
        version: field("redis_version"),
        eviction_policy: field("maxmemory_policy"),
        used_memory: field("used_memory").and_then(|number| number.parse().ok()),
        max_memory: field("maxmemory").and_then(|number| number.parse().ok()),
        missing_commands: Vec::new(),
    }
}
