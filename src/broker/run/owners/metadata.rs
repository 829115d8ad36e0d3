//! The metadata image as one role of this node knows it: a controller what is agreed on, a broker what it has carried out.
//! Written by one thread, read by everybody. It must never know where an image comes from.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use ottla_model::image::Image;
use ottla_protocol::Offset;
use tokio::sync::watch;

/// The newest image.
pub(crate) struct Metadata {
    newest: ArcSwap<Image>,
    offset: watch::Sender<Offset>,
}

impl Default for Metadata {
    fn default() -> Metadata {
        let image = Image::empty();
        Metadata { offset: watch::Sender::new(image.offset), newest: ArcSwap::from_pointee(image) }
    }
}

impl Metadata {
    /// The image at this moment.
    pub fn load(&self) -> Guard<Arc<Image>> {
        self.newest.load()
    }

    pub fn load_full(&self) -> Arc<Image> {
        self.newest.load_full()
    }

    pub fn store(&self, image: Arc<Image>) {
        let offset = image.offset;
        self.newest.store(image);
        self.offset.send_replace(offset);
    }

    /// Waits until an image shows that.
    pub async fn shows(&self, what: impl Fn(&Image) -> bool) {
        let mut known = self.offset.subscribe();
        loop {
            if what(&self.load()) {
                return;
            }
            // The sender lives as long as this does.
            let _ = known.changed().await;
        }
    }

    /// Waits until the image has what is at an offset. `false`: that took too long.
    pub async fn reaches(&self, offset: Offset, at_most: Duration) -> bool {
        let mut known = self.offset.subscribe();
        let reached = known.wait_for(|known| *known >= offset);
        tokio::time::timeout(at_most, reached).await.is_ok_and(|reached| reached.is_ok())
    }
}
