//! Asking sentinels who the master is.

use std::fmt;
use std::time::Duration;

use redis::Value;
use tokio::time::timeout;

use super::config::{Address, Login, Settings};
use super::connection::{Connection, Expect};
use super::fault;
use super::request::{Batch, command};
use crate::shared::{Fault, FaultKind};
use crate::sync::{Mutex, lock};

/// The sentinels of one service, the one that answered last in front.
pub(super) struct Sentinels {
    service: String,
    addresses: Mutex<Vec<Address>>,
    settings: Settings,
}

impl Sentinels {
    /// Sentinels have their own users, speak TLS if the servers do, and have no databases.
    pub(super) fn new(service: &str, addresses: &[Address], login: &Login, settings: &Settings) -> Self {
        let mut settings = settings.clone();
        settings.login = login.clone();
        settings.database = 0;
        settings.connect_timeout = settings.connect_timeout.min(PATIENCE);
        Self {
            service: service.to_owned(),
            addresses: Mutex::new(addresses.to_vec()),
            settings,
        }
    }

    /// Who the first sentinel that answers names. Whether that one says so itself is asked when connecting to it.
    pub(super) async fn master(&self) -> Result<Address, Fault> {
        let addresses = lock(&self.addresses).clone();
        let mut faults = Vec::new();
        for sentinel in addresses {
            match self.ask(&sentinel).await {
                Ok(master) => {
                    self.prefer(&sentinel);
                    return Ok(master);
                }
                Err(fault) => {
                    // Its turn comes after the others': a sentinel that lags must not be asked first for ever.
                    faults.push(format!("{sentinel}: {fault}"));
                }
            }
        }
        Err(Fault::new(FaultKind::NoMaster, faults.join("; ")))
    }

    /// Asks the next time starting with another one: this one's answer was wrong.
    pub(super) fn distrust_first(&self) {
        let mut addresses = lock(&self.addresses);
        if addresses.len() > 1 {
            addresses.rotate_left(1);
        }
    }

    /// The master that more than half of all sentinels name, if they do.
    pub(super) async fn majority(&self) -> Option<Address> {
        let addresses = lock(&self.addresses).clone();
        let needed = addresses.len() / 2 + 1;
        let mut asked = tokio::task::JoinSet::new();
        for sentinel in addresses {
            let (service, settings) = (self.service.clone(), self.settings.clone());
            asked.spawn(async move {
                ask(&sentinel, &service, &settings)
                    .await
                    .map(|named| (sentinel, named))
            });
        }
        let mut votes: Vec<(Address, usize)> = Vec::new();
        while let Some(answer) = asked.join_next().await {
            let Ok(Ok((sentinel, named))) = answer else {
                continue;
            };
            let count = match votes.iter_mut().find(|(known, _)| *known == named) {
                Some((_, count)) => {
                    *count += 1;
                    *count
                }
                None => {
                    votes.push((named.clone(), 1));
                    1
                }
            };
            if count >= needed {
                // One that lags behind the others is not the one to ask.
                self.prefer(&sentinel);
                return Some(named);
            }
        }
        None
    }

    async fn ask(&self, sentinel: &Address) -> Result<Address, Fault> {
        ask(sentinel, &self.service, &self.settings).await
    }

    fn prefer(&self, sentinel: &Address) {
        let mut addresses = lock(&self.addresses);
        if let Some(place) = addresses.iter().position(|known| known == sentinel) {
            addresses[..=place].rotate_right(1);
        }
    }
}

async fn ask(sentinel: &Address, service: &str, settings: &Settings) -> Result<Address, Fault> {
    let question = command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", service]);
    let asking = async {
        let connection = Connection::open(sentinel, settings, Expect::Any).await?;
        connection
            .send(&Batch::repeatable(vec![question.into()]), false)
            .await
    };
    let answers = timeout(PATIENCE, asking)
        .await
        .map_err(|_| fault::timeout("the sentinel does not answer"))??;
    let answer = answers
        .into_iter()
        .next()
        .ok_or_else(|| fault::shape("SENTINEL"))?;
    match answer.map_err(Fault::from)? {
        Value::Nil => Err(Fault::new(
            FaultKind::NoMaster,
            format!("the sentinel does not know `{service}`"),
        )),
        Value::Array(parts) => address(&parts).ok_or_else(|| fault::shape("SENTINEL")),
        _ => Err(fault::shape("SENTINEL")),
    }
}

fn address(parts: &[Value]) -> Option<Address> {
    let [Value::BulkString(host), Value::BulkString(port)] = parts else {
        return None;
    };
    Some(Address::Tcp {
        host: String::from_utf8(host.clone()).ok()?,
        port: std::str::from_utf8(port).ok()?.parse().ok()?,
    })
}

impl fmt::Display for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "master of {}", self.service)
    }
}

impl fmt::Debug for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sentinels")
            .field("service", &self.service)
            .field("addresses", &*lock(&self.addresses))
            .finish_non_exhaustive()
    }
}

/// For one sentinel.
const PATIENCE: Duration = Duration::from_millis(300);
