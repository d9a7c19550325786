//! The pictures of the documentation: light, dark, and with Redis away.
//!
//! `PICTURES=docs/images tests/run dashboard::pictures` writes them; without the variable they are taken and looked at
//! only for their size.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cache_core::time::{minutes, seconds};
use cache_core::warm::Warmer;
use cache_core::{Cache, CacheKey, EntryOptions, Redis, TagSet};
use rand::Rng;
use serde_json::json;
use support::{RedisServer, wait_until};

use super::{World, heard};

#[tokio::test(flavor = "multi_thread")]
async fn of_the_page_light_dark_and_without_redis() {
    let folder = std::env::var_os("PICTURES").map(PathBuf::from);
    // A minute of traffic makes a picture; a few seconds make a test.
    let patience = if folder.is_some() { 75 } else { 4 };
    let server = RedisServer::start();
    let redis = Redis::from_url(&server.url()).unwrap();
    let cache = Cache::builder("market")
        .memory_bytes(4 << 20)
        .redis(redis)
        .build()
        .unwrap();
    let profiles = SYMBOLS.map(|symbol| CacheKey::build("profile", (symbol, 0_u64)).unwrap());
    let load = |_| async { Ok::<_, &str>("x".repeat(600)) };
    let warmer = Warmer::keys("top-symbols", profiles, minutes(2), load);
    cache.add_warmer(warmer.at_start(false)).unwrap();
    let world = World::with(vec![cache]).await;
    heard(world.cache()).await;
    let traffic = tokio::spawn(traffic(world.cache().clone()));
    world.sign_in(super::TOKEN);
    world.browser.wait(
        "a warmer",
        "return document.querySelectorAll('#warmers button').length === 1",
    );
    world.browser.click("#warmers button");
    let readings = |more: i64| {
        let enough = world.readings() + more;
        format!("return Number(document.documentElement.dataset.readings) >= {enough}")
    };
    let enough = readings(patience);
    wait_until(Duration::from_secs(120), "enough was seen", async || {
        world.browser.script(&enough, json!([])) == true
    })
    .await;
    take(&world, folder.as_deref(), "dashboard-light.png", "light");
    take(&world, folder.as_deref(), "dashboard-dark.png", "dark");
    server.kill();
    wait_until(Duration::from_secs(30), "the page says so", async || {
        world.browser.text("#health-status") == "Degraded"
    })
    .await;
    let enough = readings(patience / 6 + 2);
    wait_until(Duration::from_secs(60), "some of it was seen", async || {
        world.browser.script(&enough, json!([])) == true
    })
    .await;
    take(&world, folder.as_deref(), "dashboard-redis-down.png", "light");
    traffic.abort();
    world.assert_no_complaints();
}

fn take(world: &World, folder: Option<&Path>, name: &str, theme: &str) {
    let button = format!(
        "return document.documentElement.dataset.theme === '{theme}' && document.getElementById('theme').textContent !== 'Theme: system'"
    );
    for _ in 0..3 {
        if world.browser.script(&button, json!([])) == true {
            break;
        }
        world.browser.click("#theme");
    }
    assert!(world.browser.script(&button, json!([])) == true, "{theme}");
    let picture = world.browser.picture(1_200, 1_150);
    assert!(picture.starts_with(b"\x89PNG"));
    if let Some(folder) = folder {
        // Relative to the project, where the command was typed.
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let folder = project.join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), &picture).unwrap();
    }
    assert!(
        (20_000..200_000).contains(&picture.len()),
        "{name}: {} bytes",
        picture.len()
    );
}

/// Few keys often and many rarely, some of them slow, some of them failing, and a change now and then.
async fn traffic(cache: Cache) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    for step in 0_u64.. {
        tick.tick().await;
        let calls = 14 + (8.0 * (step as f64 / 300.0).sin()) as u64;
        for _ in 0..calls {
            tokio::spawn(call(cache.clone()));
        }
        if step % 100 == 0 {
            let _ = cache
                .invalidate_tag(format!("symbol:{}", SYMBOLS[step as usize / 100 % SYMBOLS.len()]))
                .await;
        }
    }
}

async fn call(cache: Cache) {
    let (symbol, slot, fails, slow) = {
        let mut random = rand::rng();
        let place = (random.random::<f64>().powi(3) * SYMBOLS.len() as f64) as usize;
        let slow = 2 + (random.random::<f64>().powi(6) * 90.0) as u64;
        (
            SYMBOLS[place.min(SYMBOLS.len() - 1)],
            random.random_range(0..400_u64),
            random.random_bool(0.02),
            slow,
        )
    };
    let prefix = ["quote", "quote", "candles", "news", "profile"][slot as usize % 5];
    let key = CacheKey::build(prefix, (symbol, slot / 5)).unwrap();
    let tags = TagSet::new([format!("symbol:{symbol}"), format!("kind:{prefix}")]).unwrap();
    let options = EntryOptions::ttl(if prefix == "quote" { seconds(5) } else { minutes(2) });
    let options = options.stale_for(minutes(5)).tags(tags);
    let load = cache.get_or_load(&key, options, move |_| async move {
        tokio::time::sleep(Duration::from_millis(slow)).await;
        if fails {
            Err("the exchange is busy")
        } else {
            Ok("x".repeat(600))
        }
    });
    let _ = load.await;
}

const SYMBOLS: [&str; 12] = [
    "GOOG", "AAPL", "MSFT", "NVDA", "AMZN", "TSLA", "EURUSD", "BTCUSD", "META", "ASML", "SAP", "NESN",
];
