//! The rules of the house that no compiler checks: who may know whom. What is written down is checked in `documents`.

mod faults;
mod sources;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Files of the workspace with one of these endings, below `folder`.
fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    let mut open = vec![root.join(folder)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !matches!(name.as_str(), "target" | ".git") {
                open.push(path);
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    assert!(
        !found.is_empty(),
        "no files {endings:?} below {folder}: the rule would check nothing"
    );
    found
}

/// Code without comments and without its unit tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[track_caller]
fn check_absent(folder: &str, except: &str, words: &[&str], why: &str) {
    for path in files(folder, &[".rs"]) {
        if !except.is_empty() && path.to_string_lossy().contains(except) {
            continue;
        }
        let code = code(&path);
        for word in words {
            assert!(!code.contains(word), "{} says `{word}`: {why}", path.display());
        }
    }
}

#[test]
fn http_policy_is_pure() {
    let words = [
        "async ",
        ".await",
        "tokio",
        "cache_core",
        "::now()",
        "std::net",
        "std::fs",
    ];
    check_absent(
        "cache-tower/src/policy",
        "",
        &words,
        "policy decides, and does nothing",
    );
}

#[test]
fn only_the_redis_folder_names_the_driver() {
    // `redis::` without a path in front is the driver, but for the root, where it is our own module.
    for path in files("cache-core/src", &[".rs"]) {
        let name = path.to_string_lossy();
        if name.contains("/redis/") || name.ends_with("/lib.rs") {
            continue;
        }
        let code = code(&path);
        assert!(
            !code.contains("use redis::") && !code.contains(" ::redis::"),
            "{name} names the driver"
        );
    }
    check_absent(
        "cache-tower/src",
        "",
        &["redis"],
        "the layer knows the cache, not its tiers",
    );
}

#[test]
fn words_and_decisions_wait_for_nothing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join("cache-core/src");
    for file in [
        "error.rs",
        "options.rs",
        "outcome.rs",
        "freshness.rs",
        "entry.rs",
        "epochs/mod.rs",
        "epochs/marks.rs",
        "tag.rs",
    ] {
        let code = code(&root.join(file));
        for word in ["async ", ".await", "tokio::"] {
            assert!(
                !code.contains(word),
                "{file} says `{word}`: words and decisions do no I/O"
            );
        }
    }
}

#[test]
fn the_single_flight_names_only_what_the_model_checker_replaces() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let code = code(&root.join("cache-core/src/flight.rs"));
    for word in [
        "crate::",
        "tokio",
        "std::sync::Mutex",
        "std::sync::Arc",
        "parking_lot",
    ] {
        assert!(
            !code.contains(word),
            "flight.rs says `{word}`, which the model checker cannot drive"
        );
    }
}

#[test]
fn the_macro_crate_knows_the_core_as_tokens_only() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join("cache-macros/Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    let dependencies = manifest
        .split("[dependencies]")
        .nth(1)
        .unwrap()
        .split("\n[")
        .next()
        .unwrap();
    assert!(
        !dependencies.contains("cache-core"),
        "a macro crate that depends on the core cannot be re-exported by it"
    );
}

#[test]
fn nothing_is_left_to_do_silently() {
    for folder in [
        "cache-core/src",
        "cache-macros/src",
        "cache-tower/src",
        "examples",
    ] {
        check_absent(
            folder,
            "",
            &["todo!(", "unimplemented!(", "TODO", "FIXME"],
            "say it in an issue, not in the code",
        );
    }
}

/// The rules of docs/semantics.md.
fn rules() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(root.join("docs/semantics.md")).unwrap();
    let rules = page.split("\n* **").skip(1);
    rules
        .map(|rest| rest.split("**").next().unwrap().to_owned())
        .collect()
}

/// Words like `B8.14` and `H3.1`.
fn cited(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.')
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| {
            let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            let rest = word
                .strip_prefix(['B', 'H'])
                .and_then(|rest| rest.split_once('.'));
            rest.is_some_and(|(group, rule)| number(group) && number(rule))
        })
}

#[test]
fn every_rule_is_cited_by_a_test_and_every_citation_is_a_rule() {
    let rules = rules();
    assert!(
        rules.len() > 100,
        "{} rules: the page was not understood",
        rules.len()
    );
    let mut tested = BTreeSet::new();
    for path in files("", &[".rs"]) {
        let text = fs::read_to_string(&path).unwrap();
        for rule in cited(&text) {
            assert!(
                rules.contains(rule),
                "{} cites {rule}, which docs/semantics.md does not have",
                path.display()
            );
            if path.to_string_lossy().contains("/tests") || text.contains("#[cfg(test)]") {
                tested.insert(rule.to_owned());
            }
        }
    }
    let untested: Vec<_> = rules.difference(&tested).collect();
    assert!(untested.is_empty(), "no test cites {untested:?}");
}
