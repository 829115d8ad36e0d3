//! UpdateFeatures v0-2 (KIP-584, KIP-778 kinds of change from v1): levels of features are raised and lowered, all or none.

use bytes::Bytes;
use ottla_core::controller::{FeatureChange, FeatureUpdate, UpdateFeatures};
use ottla_protocol::api::Operation;
use ottla_protocol::messages::update_features_request::FeatureUpdateKey;
use ottla_protocol::messages::update_features_response::UpdatableFeatureResult;
use ottla_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::context::{AtNode, Begun};
use super::voters::{Outcome, of_refusal, refused, told};

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let version = context.version;
    let request: UpdateFeaturesRequest = context.read(body)?;
    let names: Vec<_> = request.feature_updates.iter().map(|update| update.feature.clone()).collect();
    // Up to v1 each feature has a result of its own, which is the same for all.
    let response = move |outcome: Outcome| {
        let (code, message) = told(outcome);
        let named = names.into_iter().filter(|_| version <= 1 && code == 0);
        let results =
            named.map(|name| UpdatableFeatureResult::default().with_feature(name).with_error_message(None));
        UpdateFeaturesResponse::default()
            .with_error_code(code)
            .with_error_message(message)
            .with_results(results.collect())
    };
    if let Err(code) = context.check_cluster(Operation::Alter) {
        return Ok(context.now(response(refused(code))));
    }
    let updates = request.feature_updates.iter().map(|update| asked(update, version)).collect();
    let validate_only = version >= 1 && request.validate_only;
    let controller = context.controller();
    let question = UpdateFeatures { updates, validate_only };
    Ok(context.later(async move { response(of_refusal(controller.ask(question).await)) }))
}

fn asked(update: &FeatureUpdateKey, version: i16) -> FeatureUpdate {
    let change = match (version, update.allow_downgrade) {
        (0, false) => FeatureChange::Upgrade,
        (0, true) => FeatureChange::SafeDowngrade,
        _ => FeatureChange::from_code(update.upgrade_type),
    };
    FeatureUpdate { name: update.feature.to_string(), level: update.max_version_level, change }
}
