//! The documents: what they link to is there, what they show compiles, and no page is lost.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .canonicalize()
        .unwrap()
}

/// Every Markdown file of the repository.
fn documents() -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![root()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !matches!(name.as_str(), "target" | ".git" | "node_modules") {
                open.push(path);
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 20, "documents were not found: {found:?}");
    found
}

/// The text outside of code, line by line.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// Where the links of a document lead to.
fn links(text: &str) -> Vec<String> {
    prose(text)
        .flat_map(|line| line.split("](").skip(1))
        .filter_map(|rest| rest.split(')').next())
        .map(str::to_owned)
        .collect()
}

/// The names under which forges link to the headings of a document.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen = HashMap::new();
    let headings = prose(text).filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let anchor: String = line
                .trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect();
            let again: &mut u32 = seen.entry(anchor.clone()).or_default();
            *again += 1;
            match *again {
                1 => anchor,
                n => format!("{anchor}-{}", n - 1),
            }
        })
        .collect()
}

#[test]
fn links_lead_to_files_and_headings() {
    let (mut links_followed, mut anchors_found) = (0, 0);
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&text).iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            let shown = document.display();
            assert!(target.exists(), "{shown} links to {link}, which does not exist");
            let target = target.canonicalize().unwrap();
            assert!(
                target.starts_with(root()),
                "{shown} links to {link}, outside of the repository"
            );
            links_followed += 1;
            if !anchor.is_empty() {
                let known = anchors(&fs::read_to_string(&target).unwrap());
                assert!(
                    known.contains(anchor),
                    "{shown} links to {link}; there is {known:?}"
                );
                anchors_found += 1;
            }
        }
    }
    assert!(
        links_followed > 100 && anchors_found > 10,
        "{links_followed}, {anchors_found}: found too few"
    );
}

#[test]
fn headings_are_linked_to_as_forges_do_it() {
    let text = "# When Redis does not answer\n## `Cache-Status`, and more\n## Soft\n```text\n# no heading\n```\n## Soft\n";
    let expected = [
        "when-redis-does-not-answer",
        "cache-status-and-more",
        "soft",
        "soft-1",
    ];
    assert_eq!(anchors(text), expected.map(String::from).into());
}

/// Manuals beside the code are included by the code; everything else is named in the list of pages, and hides no lines,
/// since a forge shows them.
#[test]
fn every_example_is_compiled() {
    let pages = fs::read_to_string(root().join("tests/support/pages.rs")).unwrap();
    let mut with_examples = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let name = document.strip_prefix(root()).unwrap().display().to_string();
        if !text.lines().any(|line| line.starts_with("```rust")) || name.contains("/src/") {
            continue;
        }
        with_examples += 1;
        let hidden = text
            .lines()
            .find(|line| line.starts_with("# #[") || line.starts_with("# use "));
        assert_eq!(hidden, None, "{name} hides a line of an example");
        let include = format!("include_str!(\"../../{name}\")");
        assert!(
            pages.contains(&include),
            "{name} has examples and is not in tests/support/pages.rs"
        );
    }
    assert!(with_examples > 10, "only {with_examples} documents have examples");
}

#[test]
fn every_page_is_found_from_the_guide_or_the_readme() {
    let mut reached = BTreeSet::new();
    for start in ["README.md", "docs/guide/README.md"] {
        let start = root().join(start);
        let text = fs::read_to_string(&start).unwrap();
        for link in links(&text).iter().filter(|link| !link.contains("://")) {
            let file = link.split('#').next().unwrap_or_default();
            reached.extend(start.parent().unwrap().join(file).canonicalize());
        }
        reached.insert(start);
    }
    for document in documents() {
        if document.starts_with(root().join("docs")) {
            assert!(
                reached.contains(&document),
                "nothing leads to {}",
                document.display()
            );
        }
    }
}
