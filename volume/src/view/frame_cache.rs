//! Keeps the frames that were read last in memory: directories and tables are read in many small
//! pieces. Pure.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use crate::{format::block_map::Frame, objects::OpenedFrame};

/// Bytes of decrypted frames that one open snapshot keeps.
const MAX_KEPT_BYTES: usize = 32 << 20;

/// Decrypted frames. The oldest is dropped first.
#[derive(Default)]
pub struct FrameCache {
    frames: HashMap<Frame, Arc<OpenedFrame>>,
    /// From the oldest to the newest.
    order: VecDeque<Frame>,
    bytes: usize,
}

impl FrameCache {
    pub fn get(&self, frame: Frame) -> Option<Arc<OpenedFrame>> {
        self.frames.get(&frame).cloned()
    }

    pub fn insert(&mut self, opened: Arc<OpenedFrame>) {
        let frame = opened.frame;
        self.bytes += opened.content.len();
        match self.frames.insert(frame, opened) {
            Some(before) => self.bytes -= before.content.len(),
            None => self.order.push_back(frame),
        }
        while self.bytes > MAX_KEPT_BYTES {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some(dropped) = self.frames.remove(&oldest) {
                self.bytes -= dropped.content.len();
            }
        }
    }
}
