//! What it costs to be watched: a recorder that is fed, and scrapes, beside hits of the in-process tier.
//!
//! The recorder is the Prometheus exporter that services use. It is fed, and scraped, by a second thread ten times as often
//! as the cache does it by itself, and the processor time of the whole process is what counts.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use cache_core::Cache;
use cache_tower::admin::{self, AdminConfig};
use metrics_exporter_prometheus::PrometheusBuilder;
use rustix::time::{ClockId, clock_gettime};
use tower::ServiceExt;

use crate::l1::contender;
use crate::measure::{Contender, Effort, Race, now, single_threaded};
use crate::peers::{Caches, GET};
use crate::report::{Budget, Report, Row};

const AREA: &str = "overhead";

const OFF: &str = "nobody looks";
const RECORDER: &str = "a recorder is fed";
const SCRAPE: &str = "/metrics is scraped";

pub(crate) fn measure(_: Effort, report: &mut Report) {
    let caches = Caches::filled();
    let mut contenders = caches.contenders();
    let hits = contender(&mut contenders, GET);
    let observer = Observer::of(caches.ours());
    let count = hits_per(TURN, hits);
    let mut race = Race::between([OFF, RECORDER, SCRAPE].into_iter());
    for round in 0..ROUNDS {
        for turn in 0..3 {
            let at = (round + turn) % 3;
            hits.run(count / 4);
            let began = processor_time();
            match at {
                0 => {}
                1 => observer.ask(Task::Record),
                _ => observer.ask(Task::Scrape),
            }
            hits.run(count);
            if at != 0 {
                observer.wait();
            }
            race.note(at, processor_time().saturating_sub(began), count);
        }
    }
    for (name, budget) in [(RECORDER, 1.10), (SCRAPE, 1.03)] {
        let case = format!("Cache::get, {name}, 10 times a second");
        let row = Row::new(AREA, case, race.median(name), "ns")
            .against(OFF, race.median(OFF))
            .ratio(race.ratio(name, OFF), race.spread(name, OFF))
            .budget(Budget::RatioAtMost(budget));
        report.add(row);
    }
    for (name, task) in [(RECORDER, Task::Record), (SCRAPE, Task::Scrape)] {
        let took = |_| {
            let began = processor_time();
            observer.ask(task);
            observer.wait();
            processor_time().saturating_sub(began).as_secs_f64() * 1e6
        };
        let times: Vec<_> = (0..50).map(took).collect();
        let case = format!("once: {name}, all series of a cache");
        report.add(Row::new(AREA, case, crate::measure::median(times), "µs"));
    }
}

/// The thread that looks, and when it was done.
struct Observer {
    tasks: Sender<Task>,
    done: Receiver<()>,
}

#[derive(Clone, Copy)]
enum Task {
    Record,
    Scrape,
}

impl Observer {
    fn of(cache: Cache) -> Self {
        let (tasks, asked) = channel();
        let (tell, done) = channel();
        std::thread::spawn(move || {
            let recorder = PrometheusBuilder::new().build_recorder();
            let handle = recorder.handle();
            let config = AdminConfig::bearer(TOKEN).expect("the token is long enough");
            let app: Arc<Router> = Arc::new(admin::router(config).with(&cache));
            let runtime = single_threaded();
            while let Ok(task) = asked.recv() {
                match task {
                    Task::Record => metrics::with_local_recorder(&recorder, || {
                        cache.publish_metrics();
                        handle.run_upkeep();
                    }),
                    Task::Scrape => runtime.block_on(scrape(&app)),
                }
                if tell.send(()).is_err() {
                    return;
                }
            }
        });
        Self { tasks, done }
    }

    fn ask(&self, task: Task) {
        self.tasks.send(task).expect("the observer runs");
    }

    fn wait(&self) {
        self.done.recv().expect("the observer runs");
    }
}

async fn scrape(app: &Router) {
    let request = http::Request::get("/metrics")
        .header("host", "localhost")
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(Body::empty())
        .expect("the request is well-formed");
    let response = app.clone().oneshot(request).await.expect("the router answers");
    assert!(response.status().is_success(), "{}", response.status());
    let text = axum::body::to_bytes(response.into_body(), 1 << 20).await;
    assert!(text.is_ok_and(|text| text.starts_with(b"# HELP")));
}

/// How many hits fill a turn.
fn hits_per(turn: Duration, hits: &mut Contender<'_>) -> u64 {
    let count = 200_000;
    hits.run(count);
    let began = now();
    hits.run(count);
    (count as f64 * turn.as_secs_f64() / began.elapsed().as_secs_f64()) as u64
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

const ROUNDS: usize = 15;
const TURN: Duration = Duration::from_millis(100);
const TOKEN: &str = "a-token-of-enough-length";
