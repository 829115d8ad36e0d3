//! The task in which a controller makes itself known to the active one (KIP-919), once the cluster's level has a place for that.
//! It asks until the metadata shows it, and again when it is forgotten while it runs.

use std::sync::Arc;
use std::time::Duration;

use ottla_core::controller::ControllerRegistration;
use ottla_model::feature::MetadataVersion;
use ottla_model::image::Image;
use tracing::{debug, info};

use crate::run::owners::controller::Controller;
use crate::run::owners::metadata::Metadata;

/// Between two looks, and two questions.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Never ends. As with Kafka, who is forgotten while it runs introduces itself again; a process that has taken over the id is
/// left alone.
pub(crate) async fn introduce(
    registration: ControllerRegistration,
    controller: Controller,
    agreed: Arc<Metadata>,
) {
    loop {
        become_known(&registration, &controller, &agreed).await;
        agreed.shows(|image| image.controller(registration.id).is_none()).await;
        info!("this controller is not registered any more");
    }
}

async fn become_known(registration: &ControllerRegistration, controller: &Controller, agreed: &Metadata) {
    while !is_known(registration, &agreed.load()) {
        let may_ask =
            agreed.load().metadata_version().is_some_and(|v| v >= MetadataVersion::CONTROLLER_REGISTRATION);
        if may_ask {
            match controller.ask(registration.clone()).await {
                Ok(Ok(())) => info!("this controller is registered"),
                refused => debug!(?refused, "this controller is not registered yet"),
            }
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

fn is_known(registration: &ControllerRegistration, image: &Image) -> bool {
    image.controller(registration.id).is_some_and(|known| known.incarnation == registration.incarnation)
}
