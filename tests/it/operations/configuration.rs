//! The documented configuration is one that works, and documents everything.

use cache_core::config::Config;

fn documented() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (_, example) = page.split_once("```toml\n").expect("the page has an example");
    example
        .split_once("\n```")
        .expect("the example ends")
        .0
        .to_owned()
}

#[test]
fn the_documented_file_is_read_and_its_caches_are_built() {
    let config = Config::sources().toml(&documented()).unwrap().read().unwrap();
    // Without the certificates and passwords, which are files elsewhere.
    let mut config = config;
    let archive = config.caches.get_mut("archive").unwrap().redis.as_mut().unwrap();
    archive.tls = None;
    let sessions = config.caches.get_mut("sessions").unwrap().redis.as_mut().unwrap();
    sessions.password_file = None;
    let caches = config.build().unwrap();
    let names: Vec<_> = caches.iter().map(cache_core::Cache::name).collect();
    assert_eq!(names, ["archive", "local", "market", "sessions"]);
    assert!(caches.policy("very-long").is_some());
}

#[test]
fn every_field_is_documented() {
    let example = documented();
    for section in [
        "",
        "redis",
        "redis.sentinel",
        "redis.cluster",
        "redis.tls",
        "policies.p",
        "caches.c",
        "warmers.w",
    ] {
        let text = format!(
            "{}nonsense = 1",
            if section.is_empty() {
                String::new()
            } else {
                format!("[{section}]\n")
            }
        );
        let error = Config::sources()
            .toml(&text)
            .unwrap()
            .read()
            .unwrap_err()
            .to_string();
        let (_, fields) = error
            .split_once("expected ")
            .unwrap_or_else(|| panic!("{section}: {error}"));
        let fields: Vec<_> = fields.split('`').skip(1).step_by(2).collect();
        assert!(!fields.is_empty(), "{section}: {error}");
        for field in fields {
            let shown = [
                format!("\n{field} = "),
                format!("{field} = "),
                format!("{field}."),
                format!(".{field}]"),
            ];
            assert!(
                shown.iter().any(|shown| example.contains(shown)),
                "`{field}` of [{section}] is not documented"
            );
        }
    }
}

#[test]
fn a_wrong_line_of_the_documented_file_is_named_with_its_path() {
    let example = documented().replace("ttl = \"30m\"", "ttl = \"30 minutes\"");
    let error = Config::sources()
        .toml(&example)
        .unwrap()
        .read()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`policies.medium.ttl`") && error.contains("`minutes`"),
        "{error}"
    );
}
