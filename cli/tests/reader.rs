//! `burrow ext4-reader` runs as the reader process.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use reader::{FaultReason, ReadAt, ReaderCommand, ReaderError, SnapshotFiles};

struct Blank;

impl ReadAt for Blank {
    fn read_at(&self, _: u64, length: u64) -> BoxFuture<'_, io::Result<Bytes>> {
        std::future::ready(Ok(vec![0; length as usize].into())).boxed()
    }

    fn size_bytes(&self) -> u64 {
        1 << 20
    }
}

#[tokio::test]
async fn blank_volume_is_not_a_home() {
    let child =
        ReaderCommand { program: env!("CARGO_BIN_EXE_burrow").into(), args: vec!["ext4-reader".into()] };
    let opened = SnapshotFiles::open(child, Arc::new(Blank)).await.err();
    assert!(matches!(opened, Some(ReaderError::NotAHome(FaultReason::Blank))), "{opened:?}");
}
