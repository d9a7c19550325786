//! Functions over a list of ids: one load for those that are missing, an entry for each.

use std::collections::HashMap;
use std::hash::Hash;

use crate::__private::{BoxFuture, Errors, Fallible, Ops, Plain, Site, key};
use crate::cache::Cache;
use crate::error::{Error, LoadError};
use crate::key::{CacheKey, KeyBuf, KeyError};
use crate::options::EntryOptions;
use crate::sync::{Arc, Mutex, lock};

/// The result of a function over ids, of the shape `S`.
pub trait BatchOutput<S>: Sized + Send {
    /// What names a value.
    type Id: Clone + Eq + Hash + Send + Sync + 'static;
    /// What is cached.
    type Value: Send + Sync + 'static;
    /// What is not.
    type Error: Send + 'static;

    /// The result as the cache sees it.
    fn split(self) -> Result<HashMap<Self::Id, Self::Value>, Self::Error>;
    /// The result as the caller sees it.
    fn join(values: HashMap<Self::Id, Self::Value>) -> Self;
    /// A failure as the caller sees it, if it has a place there.
    fn fail(error: Self::Error) -> Option<Self>;
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static, V: Send + Sync + 'static> BatchOutput<Plain>
    for HashMap<K, V>
{
    type Id = K;
    type Value = V;
    type Error = super::Never;

    fn split(self) -> Result<Self, super::Never> {
        Ok(self)
    }

    fn join(values: Self) -> Self {
        values
    }

    fn fail(error: super::Never) -> Option<Self> {
        match error {}
    }
}

impl<K, V, E> BatchOutput<Fallible> for Result<HashMap<K, V>, E>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + 'static,
{
    type Id = K;
    type Value = V;
    type Error = E;

    fn split(self) -> Self {
        self
    }

    fn join(values: HashMap<K, V>) -> Self {
        Ok(values)
    }

    fn fail(error: E) -> Option<Self> {
        Some(Err(error))
    }
}

/// An error that several callers may see, and one may have.
struct Failed<E>(Mutex<Option<E>>);

type Load<O, S> = Arc<dyn Fn(Vec<<O as BatchOutput<S>>::Id>) -> BoxFuture<'static, O> + Send + Sync>;

/// What is the same for all ids of a call.
#[derive(Debug)]
pub struct Of<'a, V, E> {
    /// Which function.
    pub site: &'static Site,
    /// Its cache.
    pub cache: &'a Cache,
    /// What is known about its values.
    pub ops: Ops<V>,
    /// How they are kept.
    pub options: Result<EntryOptions, Error>,
    /// What its errors allow.
    pub errors: Errors<E>,
}

/// Answers for each id from the cache, and loads the missing ones together.
pub fn batch<O: BatchOutput<S> + 'static, S: 'static>(
    of: Of<'_, O::Value, O::Error>,
    ids: Vec<O::Id>,
    parts: impl Fn(&O::Id, &mut KeyBuf) -> Result<(), KeyError>,
    load: impl Fn(Vec<O::Id>) -> BoxFuture<'static, O> + Send + Sync + 'static,
) -> BoxFuture<'static, O> {
    let Of {
        site,
        cache,
        ops,
        options,
        errors,
    } = of;
    let load: Load<O, S> = Arc::new(load);
    let keys: Result<Vec<CacheKey>, Error> = ids
        .iter()
        .map(|id| key(site, |buffer| parts(id, buffer)))
        .collect();
    let prepared = keys.and_then(|keys| Ok((keys, options?)));
    let cache = cache.clone();
    Box::pin(async move {
        match prepared {
            Ok((keys, options)) => {
                cache.policies().look_for(&options, || site.to_string());
                let options = match errors.convert {
                    Some(_) => options,
                    // Nobody could be told about a timeout.
                    None => options.hard_timeout(std::time::Duration::MAX),
                };
                read_through::<O, S>(&cache, ops, keys, options, errors, ids, load).await
            }
            Err(error) => {
                tracing::warn!(function = site.function(), %error, "a call runs without the cache");
                load(ids).await
            }
        }
    })
}

async fn read_through<O: BatchOutput<S> + 'static, S: 'static>(
    cache: &Cache,
    ops: Ops<O::Value>,
    keys: Vec<CacheKey>,
    options: EntryOptions,
    errors: Errors<O::Error>,
    ids: Vec<O::Id>,
    load: Load<O, S>,
) -> O {
    let named: Arc<HashMap<CacheKey, O::Id>> =
        Arc::new(keys.iter().cloned().zip(ids.iter().cloned()).collect());
    let loader = {
        let load = load.clone();
        move |missing: Vec<CacheKey>| {
            let (load, named) = (load.clone(), named.clone());
            async move {
                let ids = missing.iter().filter_map(|key| named.get(key).cloned()).collect();
                let mut values = load(ids)
                    .await
                    .split()
                    .map_err(|error| Failed(Mutex::new(Some(error))))?;
                let found = missing.into_iter().filter_map(|key| {
                    let value = values.remove(named.get(&key)?)?;
                    Some((key, value))
                });
                Ok(found.collect())
            }
        }
    };
    let error = match cache
        .load_many::<O::Value, Failed<O::Error>, _, _>(&keys, options, ops.wire, loader)
        .await
    {
        Ok(found) => {
            let values = ids
                .into_iter()
                .zip(found)
                .filter_map(|(id, value)| Some((id, (ops.clone)(&*value?))));
            return O::join(values.collect());
        }
        Err(LoadError::Loader(failed)) => match errors.clone {
            Some(clone) => lock(&failed.0).as_ref().map(clone),
            None => lock(&failed.0).take(),
        },
        Err(LoadError::Cache(error)) => match errors.convert {
            Some(convert) => Some(convert(error)),
            None if error.is_panic() => std::panic::resume_unwind(Box::new(error.to_string())),
            None => None,
        },
    };
    match error.and_then(O::fail) {
        Some(failed) => failed,
        // Somebody else has the error, or there is none that could be told.
        None => load(ids).await,
    }
}
