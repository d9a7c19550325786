//! Two users never see each other's response: random interleavings of what may and may not be shared.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use bytes::Bytes;
use cache_tower::CacheConfig;
use cache_tower::policy::HttpCachePolicy;
use http::{Request, Response, StatusCode};
use http_body_util::channel::Channel;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::{RedisServer, wait_until};

use super::world::{World, header_map};

/// What the origin says: its fields, its status, and whether others may have it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Class {
    Public,
    Fresh,
    Varying,
    Private,
    NoStore,
    NoCache,
    VaryAny,
    SetCookie,
    Error,
    Silent,
}
use Class::{Error, Fresh, NoCache, NoStore, Private, Public, SetCookie, Silent, VaryAny, Varying};

const CLASSES: [Class; 10] = [
    Public, Fresh, Varying, Private, NoStore, NoCache, VaryAny, SetCookie, Error, Silent,
];
const BATCH: u64 = 50;
const CREDENTIALS: [&str; 3] = ["", "authorization: a", "cookie: a=b"];

impl Class {
    fn fields(self) -> &'static [&'static str] {
        match self {
            Public => &["cache-control: public, max-age=5"],
            Fresh | Error => &["cache-control: max-age=5"],
            Varying => &["cache-control: max-age=5", "vary: accept"],
            Private => &["cache-control: private, max-age=5"],
            NoStore => &["cache-control: no-store"],
            NoCache => &["cache-control: no-cache"],
            VaryAny => &["cache-control: max-age=5", "vary: *"],
            SetCookie => &["cache-control: max-age=5", "set-cookie: session=1"],
            Silent => &[],
        }
    }

    /// Whether a response of this class, to a request with `giver`, may answer another with `taker`.
    fn may_reach(self, is_safe: bool, giver: &str, taker: &str) -> bool {
        let is_credential =
            |text: &str| text.starts_with("authorization") || (is_safe && text.starts_with("cookie"));
        match self {
            Public => true,
            Fresh | Varying => !(is_credential(giver) || (is_safe && is_credential(taker))),
            SetCookie | Error => !is_safe && !is_credential(giver),
            Private | NoStore | NoCache | VaryAny | Silent => false,
        }
    }
}

/// A request, as the origin repeats it in its body.
#[derive(Clone, Debug, PartialEq)]
struct Ask {
    id: usize,
    path: usize,
    credential: usize,
    accept: usize,
    class: usize,
}

impl Ask {
    fn random(id: usize, random: &mut StdRng) -> Self {
        Self {
            id,
            path: random.random_range(0..2),
            credential: random.random_range(0..CREDENTIALS.len()),
            accept: random.random_range(0..2),
            class: random.random_range(0..CLASSES.len()),
        }
    }

    /// What it would have the origin answer travels in a field of its own that no key knows.
    fn fields(&self) -> Vec<String> {
        let mut fields = vec![
            format!("accept: {}", self.accept),
            format!("x-ask: {}", self.text()),
        ];
        fields.extend((self.credential > 0).then(|| CREDENTIALS[self.credential].to_owned()));
        fields
    }

    fn text(&self) -> String {
        let Self {
            id,
            path,
            credential,
            accept,
            class,
        } = self;
        format!("{id} {path} {credential} {accept} {class}")
    }

    fn of(text: &str) -> Self {
        let numbers: Vec<usize> = text.split(' ').map(|number| number.parse().unwrap()).collect();
        let [id, path, credential, accept, class] = numbers[..] else {
            panic!("{text}")
        };
        Self {
            id,
            path,
            credential,
            accept,
            class,
        }
    }
}

/// Answers as it is asked to, some turns later, and with a body that comes in pieces.
async fn origin(request: Request<Body>) -> Response<Body> {
    let text = request.headers()["x-ask"].to_str().unwrap().to_owned();
    let ask = Ask::of(&text);
    for _ in 0..ask.id % 7 {
        tokio::task::yield_now().await;
    }
    let class = CLASSES[ask.class];
    let body = if ask.id.is_multiple_of(3) {
        let (mut sender, channel) = Channel::<Bytes, std::io::Error>::new(1);
        let (first, second) = text.split_at(text.len() / 2);
        let pieces = [first.to_owned(), second.to_owned()];
        tokio::spawn(async move {
            for piece in pieces {
                tokio::task::yield_now().await;
                // The client may have left.
                if sender.send_data(Bytes::from(piece)).await.is_err() {
                    return;
                }
            }
        });
        Body::new(channel)
    } else {
        Body::from(text)
    };
    let mut response = Response::new(body);
    *response.headers_mut() = header_map(class.fields().iter().copied());
    if class == Error {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    response
}

/// Interleavings that find what the ones before have left in the store.
async fn batch(batch: u64, is_safe: bool, shared: &AtomicUsize) {
    let policy = if is_safe {
        HttpCachePolicy::safe()
    } else {
        HttpCachePolicy::rfc9111()
    };
    let world = World::of(CacheConfig::new(policy), origin);
    for seed in batch * BATCH..(batch + 1) * BATCH {
        interleaving(std::slice::from_ref(&world), seed, is_safe, shared).await;
    }
}

/// The same for two nodes on one Redis; its own time passes.
async fn batch_on(redis: &RedisServer, seeds: std::ops::Range<u64>, is_safe: bool, shared: &AtomicUsize) {
    let config = CacheConfig {
        // Who waits for another node is not to slow the test down.
        wait_timeout: std::time::Duration::from_millis(200),
        ..CacheConfig::new(if is_safe {
            HttpCachePolicy::safe()
        } else {
            HttpCachePolicy::rfc9111()
        })
    };
    let nodes = [0, 1].map(|_| World::node(redis, config.clone(), origin));
    for seed in seeds {
        interleaving(&nodes, seed, is_safe, shared).await;
    }
}

async fn interleaving(nodes: &[World], seed: u64, is_safe: bool, shared: &AtomicUsize) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut clients = Vec::new();
    for number in 0..16 {
        let id = seed as usize * 16 + number;
        let ask = Ask::random(id, &mut random);
        let world = &nodes[random.random_range(0..nodes.len())];
        let (own, asked) = (world.clone(), ask.clone());
        let client = tokio::spawn(async move {
            let fields = asked.fields();
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            own.get(&format!("/{}", asked.path), &fields).await
        });
        if random.random_ratio(1, 8) {
            tokio::task::yield_now().await;
            client.abort();
        } else {
            clients.push((ask, client));
        }
        match random.random_range(0..4) {
            0 => super::world::settle().await,
            1 => drop(world.wait(2)),
            _ => tokio::task::yield_now().await,
        }
    }
    for (asked, client) in clients {
        let got = client.await.unwrap();
        let given = Ask::of(&got.body);
        let class = CLASSES[given.class];
        if given == asked {
            continue;
        }
        shared.fetch_add(1, Ordering::Relaxed);
        let context = format!("seed {seed}, safe {is_safe}: {asked:?} got {given:?} ({class:?}) by {got:?}");
        assert_eq!(given.path, asked.path, "{context}");
        let (giver, taker) = (CREDENTIALS[given.credential], CREDENTIALS[asked.credential]);
        assert!(class.may_reach(is_safe, giver, taker), "{context}");
        assert!(class != Varying || given.accept == asked.accept, "{context}");
    }
    let landed = || nodes.iter().all(|world| world.layer.requests_in_flight() == 0);
    wait_until(PATIENCE, "every flight lands", async || landed()).await;
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// H1.5, H5.2, H7.4
#[test]
fn on_two_nodes_and_a_redis_nobody_sees_what_is_not_for_them() {
    under_both_profiles(async |is_safe, shared| {
        let redis = RedisServer::start();
        for number in 0..HALF / REDIS_BATCH {
            let seeds = number * REDIS_BATCH..(number + 1) * REDIS_BATCH;
            batch_on(&redis, seeds, is_safe, shared).await;
        }
    });
}

/// H1.5, H5.2
#[test]
fn in_ten_thousand_interleavings_nobody_sees_what_is_not_for_them() {
    under_both_profiles(async |is_safe, shared| {
        for number in 0..HALF / BATCH {
            batch(number, is_safe, shared).await;
        }
    });
}

/// Runs the interleavings of each profile in a thread of its own, and checks that something was shared at all.
fn under_both_profiles(run: impl AsyncFn(bool, &AtomicUsize) + Sync) {
    let shared = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for is_safe in [true, false] {
            let (run, shared) = (&run, &shared);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(run(is_safe, shared));
            });
        }
    });
    let shared = shared.into_inner();
    assert!(
        shared > 10_000,
        "only {shared} responses were shared: this tried nothing"
    );
}

/// Of ten thousand interleavings, those of one profile.
const HALF: u64 = 5_000;
/// Each batch has nodes of its own, which do not know what others have stored.
const REDIS_BATCH: u64 = 500;
