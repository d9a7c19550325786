//! A large body streams through: what it takes is the store's limit, not its length.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use cache_tower::CacheConfig;
use http::Response;
use http_body::Frame;
use http_body_util::BodyExt;

use super::world::{World, header_map};

/// A gibibyte in pieces, of which each is new memory.
struct Large {
    pieces: u64,
}

const PIECE: usize = 256 << 10;
const PIECES: u64 = (1 << 30) / PIECE as u64;

impl http_body::Body for Large {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.pieces == 0 {
            return Poll::Ready(None);
        }
        self.pieces -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![self.pieces as u8; PIECE])))))
    }
}

/// The memory that this process holds, in bytes.
pub(super) fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes << 10
}

#[cfg(target_os = "linux")]
/// H1.8, H5.4
#[tokio::test]
async fn a_gibibyte_streams_through_in_little_memory() {
    for fields in [
        &["cache-control: max-age=60"][..],
        &["cache-control: max-age=60", "content-length: 1073741824"],
    ] {
        let fields: &'static [&'static str] = fields;
        let world = World::of(CacheConfig::default(), move |_| {
            let mut response = Response::new(Body::new(Large { pieces: PIECES }));
            *response.headers_mut() = header_map(fields.iter().copied());
            std::future::ready(response)
        });
        let before = resident();
        let mut response = world.start("GET", "/", &[]).await;
        let (mut length, mut most) = (0, 0);
        while let Some(frame) = response.body_mut().frame().await {
            length += frame.unwrap().into_data().unwrap().len() as u64;
            most = most.max(resident());
        }
        assert_eq!(length, 1 << 30);
        let grown = most.saturating_sub(before);
        assert!(grown < 16 << 20, "grew by {grown} bytes");
        assert_eq!(world.cache.stats().entries, 0);
    }
}
