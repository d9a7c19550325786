//! What the server says about itself, for the doctor.

use std::time::{Duration, SystemTime};

use super::fault::Refusal;
use super::layout::Layout;
use super::reply::{Items, text};
use super::request::{Call, ScriptCall, command};
use super::route::Route;
use super::scripts;
use crate::shared::{Fault, FaultKind, ServerFacts};
use crate::time::Clock;

/// Asks for facts, and tries every command that the toolkit uses on a key of its own.
pub(super) async fn inspect(
    route: &Route,
    layout: &Layout,
    clock: &dyn Clock,
    within: Duration,
) -> Result<ServerFacts, Fault> {
    let slot = layout.slot();
    let probes = probes(layout);
    let mut calls: Vec<(u16, Call)> = vec![(slot, command(&["INFO", "all"]).into())];
    let questions = [
        command(&["CONFIG", "GET", "save"]),
        command(&["CONFIG", "GET", "appendonly"]),
        command(&["CONFIG", "GET", "client-output-buffer-limit"]),
        command(&["TIME"]),
    ];
    calls.extend(questions.into_iter().map(|question| (slot, question.into())));
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
    let mut setting = || answers.next().and_then(|answer| setting_of(answer.ok()?));
    let (save, appendonly) = (setting(), setting());
    facts.persistence = persistence(save.as_deref(), appendonly.as_deref());
    facts.output_buffer_limits = setting();
    let time = answers.next().and_then(|answer| time_of(answer.ok()?));
    facts.clock_difference = time.map(|time| difference(time, clock.wall()));
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

/// What `CONFIG GET` says of one setting.
fn setting_of(answer: redis::Value) -> Option<String> {
    match answer {
        redis::Value::Array(pair) => text("CONFIG", pair.into_iter().nth(1)?).ok(),
        redis::Value::Map(pairs) => text("CONFIG", pairs.into_iter().next()?.1).ok(),
        _ => None,
    }
}

/// How the server saves what it holds; unknown unless both ways are known.
fn persistence(save: Option<&str>, appendonly: Option<&str>) -> Option<String> {
    let save = Some(save?).filter(|rules| !rules.is_empty());
    let save = save.map(|rules| format!("save {rules}"));
    let appendonly = (appendonly? == "yes").then(|| "appendonly".to_owned());
    Some(appendonly.into_iter().chain(save).collect::<Vec<_>>().join(", "))
}

/// The server's time of day since 1970.
fn time_of(answer: redis::Value) -> Option<Duration> {
    let mut items = Items::of_value("TIME", answer).ok()?;
    let (seconds, micros) = (items.text().ok()?, items.text().ok()?);
    Some(Duration::from_secs(seconds.parse().ok()?) + Duration::from_micros(micros.parse().ok()?))
}

fn difference(server: Duration, here: SystemTime) -> Duration {
    let here = here.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    here.abs_diff(server)
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
        ..ServerFacts::default()
    }
}
