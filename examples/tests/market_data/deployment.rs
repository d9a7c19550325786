//! The files for a deployment agree with the program and with each other; no engine runs them here.

use std::fs;
use std::path::Path;

fn file(name: &str) -> String {
    let path = folder().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("market-data")
}

#[test]
fn what_compose_mounts_and_builds_is_there() {
    let compose = file("compose.yaml");
    let mounts: Vec<&str> = compose
        .split(['"', ' ', '\n'])
        .filter(|word| word.starts_with("./") || word.starts_with("../"))
        .filter_map(|word| word.split(':').next())
        .collect();
    assert_eq!(mounts.len(), 5, "{mounts:?}");
    for path in mounts {
        assert!(folder().join(path).exists(), "{path}");
    }
    let root = folder().join("../..");
    for name in compose
        .lines()
        .filter_map(|line| line.trim().strip_prefix("dockerfile: "))
    {
        assert!(root.join(name).exists(), "{name}");
    }
    let dashboard = fs::read_to_string(root.join("docs/grafana/cache-toolkit.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert!(
        dashboard["panels"]
            .as_array()
            .is_some_and(|panels| panels.len() > 10)
    );
}

#[test]
fn ports_names_and_secrets_agree() {
    let (compose, prometheus) = (file("compose.yaml"), file("deploy/prometheus.yml"));
    for (text, says) in [
        (&compose, r#""--exchange", "exchange:8090""#),
        (&compose, r#""upstream", "--listen", "0.0.0.0:8090""#),
        (&compose, "REDIS_URL: redis://redis:6379/0"),
        (&compose, "127.0.0.1::8080"),
        (
            &compose,
            "\"./deploy/prometheus.yml:/etc/prometheus/prometheus.yml:ro\"",
        ),
        (&compose, "../../docs/grafana:/var/lib/grafana/dashboards:ro"),
        (&compose, "token:\n    environment: MARKET_DATA_TOKEN"),
        (&prometheus, "credentials_file: /run/secrets/token"),
        (&prometheus, "metrics_path: /admin/cache/metrics"),
        (&prometheus, "names: [market-data]"),
        (&prometheus, "port: 8080"),
        (
            &file("deploy/grafana/datasource.yaml"),
            "url: http://prometheus:9090",
        ),
        (
            &file("deploy/grafana/dashboards.yaml"),
            "path: /var/lib/grafana/dashboards",
        ),
    ] {
        assert!(text.contains(says), "{says} is not in {text}");
    }
    // The defaults that the port of the image is about.
    assert!(file("Dockerfile").contains("EXPOSE 8080"));
    let main = file("src/main.rs");
    assert!(main.contains("default_value_t = 8080") && main.contains("\"127.0.0.1:8090\""));
}
