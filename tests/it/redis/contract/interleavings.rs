//! Random interleavings of loads and mutations of one key: nothing loaded before a mutation is stored after it.

use std::sync::Arc;
use std::time::Duration;

use super::World;
use crate::redis::{BUDGET, PHYSICAL, ask, asking, change, commit_of, found, payload, remove, set};
use cache_core::shared::{Change, Found, Lease, LeaseAnswer, LeaseRequest, Refuse, Shared, Verdict, Version};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const KEY: &str = "m:a";
const SCHEDULES: u64 = 60;
const STEPS: u32 = 40;

/// What the test knows: every mutation begins an epoch, every load belongs to the one it began in.
struct Scene<'w> {
    world: &'w World,
    /// Several nodes.
    tiers: Vec<Arc<dyn Shared>>,
    random: SmallRng,
    epoch: u64,
    loads: Vec<(u64, Lease)>,
    /// The versions that may stand, with the epoch of what made them.
    made: Vec<(Version, u64)>,
}

impl Scene<'_> {
    async fn step(&mut self) {
        match self.random.random_range(0..10) {
            0..=2 => self.begin().await,
            3..=5 => self.finish().await,
            6 => self.mutate(Mutate::Remove).await,
            7 => self.mutate(Mutate::Set).await,
            8 => self.mutate(Mutate::Expire).await,
            // The life of what stands is over; that of what guards it is not.
            _ => self.end_of_life().await,
        }
    }

    fn any(&mut self) -> Arc<dyn Shared> {
        let node = self.random.random_range(0..self.tiers.len());
        self.tiers[node].clone()
    }

    /// A load, taking the lock over from whoever holds it: the worst case for everything but the comparison.
    async fn begin(&mut self) {
        let tier = self.any();
        let mut request = LeaseRequest {
            refuse: Refuse::Any,
            ..asking(KEY)
        };
        if let LeaseAnswer::Held { holder, .. } = ask(&tier, request).await {
            request.take_over = Some(holder);
        }
        match ask(&tier, request).await {
            LeaseAnswer::Lease(lease) => self.loads.push((self.epoch, lease)),
            other => panic!("the lock was taken over: {other:?}"),
        }
    }

    async fn finish(&mut self) {
        if self.loads.is_empty() {
            return;
        }
        let load = self.random.random_range(0..self.loads.len());
        let (began, lease) = self.loads.swap_remove(load);
        let version = Version::random();
        let mut request = commit_of(KEY, &lease, Some(payload(version, "loaded")));
        if self.random.random() {
            // As a load whose lock service failed.
            request.token = None;
        }
        let answer = self.any().commit(request, BUDGET).await.unwrap();
        if answer.verdict == Verdict::Applied {
            assert_eq!(
                began, self.epoch,
                "a load from before a mutation was stored after it"
            );
            self.made.push((version, began));
        }
    }

    async fn mutate(&mut self, mutation: Mutate) {
        let tier = self.any();
        self.epoch += 1;
        match mutation {
            Mutate::Remove => drop(remove(&tier, KEY).await),
            Mutate::Set => {
                let version = set(&tier, KEY, "set").await;
                self.made.push((version, self.epoch));
            }
            Mutate::Expire => {
                let before = found(&tier, KEY).await;
                let version = Version::random();
                change(&tier, KEY, version, Change::Expire { window: PHYSICAL }).await;
                // What was there goes on as stale, under the new version.
                if matches!(before, Found::Value(_)) {
                    self.made.push((version, self.epoch));
                }
            }
        }
    }

    /// Only what has a shorter life than a load may take ends early: an expired value.
    async fn end_of_life(&mut self) {
        if let Found::Value(value) = found(&self.any(), KEY).await
            && value.remaining < Duration::from_secs(30)
        {
            self.world.evict(KEY);
        }
    }

    async fn check(&mut self) {
        if let Found::Value(value) = found(&self.any(), KEY).await {
            let made = self.made.iter().find(|(version, _)| *version == value.version);
            let epoch = made.expect("somebody made what is read").1;
            assert_eq!(epoch, self.epoch, "what is read is older than the last mutation");
        }
    }
}

enum Mutate {
    Remove,
    Set,
    Expire,
}

pub(super) async fn no_interleaving_stores_what_was_loaded_before_a_mutation(world: World) {
    let tiers = vec![world.open(), world.open(), world.open()];
    for seed in 0..SCHEDULES {
        world.flush();
        let mut scene = Scene {
            world: &world,
            tiers: tiers.clone(),
            random: SmallRng::seed_from_u64(seed),
            epoch: 0,
            loads: Vec::new(),
            made: Vec::new(),
        };
        for _ in 0..STEPS {
            scene.step().await;
            scene.check().await;
        }
    }
}
