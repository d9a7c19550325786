//! How the service asks the exchange.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;

use super::UpstreamError;
use crate::candles::{Candle, Symbol, Timeframe};

/// Asks an exchange over HTTP: up to three times, with a growing pause, when it fails. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Client {
    /// Host and port.
    authority: Arc<str>,
    http: hyper_util::client::legacy::Client<HttpConnector, Body>,
}

impl Client {
    /// Of the exchange at this address, or at this host and port.
    pub fn new(address: impl Display) -> Self {
        Self {
            authority: address.to_string().into(),
            http: hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// What stands under a path.
    ///
    /// # Errors
    ///
    /// That there is no such thing, or that the exchange did not answer.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, UpstreamError> {
        self.ask(&Method::GET, path, "").await
    }

    /// What comes of posting a text. It may arrive more than once, if an answer is lost.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    pub async fn post<T: DeserializeOwned>(&self, path: &str, text: &str) -> Result<T, UpstreamError> {
        self.ask(&Method::POST, path, text).await
    }

    /// The newest candles that begin later than `after`, at most `limit`, oldest first.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    pub async fn candles(
        &self,
        symbol: &Symbol,
        timeframe: Timeframe,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Candle>, UpstreamError> {
        let after = after.map_or_else(String::new, |after| format!("&after={after}"));
        self.get(&format!("/candles/{symbol}/{timeframe}?limit={limit}{after}"))
            .await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        text: &str,
    ) -> Result<T, UpstreamError> {
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let answered = tokio::time::timeout(PATIENCE, self.once(method, path, text)).await;
            let why = match answered {
                Ok(Ok((StatusCode::OK, answer))) => {
                    return serde_json::from_slice(&answer).map_err(|error| {
                        UpstreamError::Unavailable(format!("{path} has a strange answer: {error}"))
                    });
                }
                Ok(Ok((StatusCode::NOT_FOUND, _))) => return Err(UpstreamError::Unknown(path.to_owned())),
                Ok(Ok((status, _))) => format!("{path} answered {status}"),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("{path} did not answer within {PATIENCE:?}"),
            };
            if attempt == ATTEMPTS {
                return Err(UpstreamError::Unavailable(why));
            }
            tokio::time::sleep(pause).await;
            (pause, attempt) = (pause * 2, attempt + 1);
        }
    }

    async fn once(&self, method: &Method, path: &str, text: &str) -> Result<(StatusCode, Bytes), Failed> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.authority))
            .body(Body::from(text.to_owned()))?;
        let response = self.http.request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

const ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(5);
