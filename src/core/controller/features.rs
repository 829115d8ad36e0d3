//! The levels of features on which the cluster agrees (KIP-584), and what brokers and controllers say of those that they
//! support. A level is set only if every registered broker and every controller supports it.
//! The level of `kraft.version` is the quorum's: it is checked here, and set there. Missing: levels that are not final.

use ottla_model::NodeId;
use ottla_model::feature::{
    self, ELIGIBLE_LEADER_REPLICAS_VERSION, KRAFT_VERSION, METADATA_VERSION, MetadataVersion,
};
use ottla_model::image::{Controller, Endpoint, FeatureRange};
use ottla_model::record::{
    ConfigRecord, FeatureLevelRecord, MetadataRecord, RegisterControllerRecord, ResourceType,
    UnregisterControllerRecord,
};
use ottla_protocol::ErrorCode;
use uuid::Uuid;

use super::configs::MIN_INSYNC_REPLICAS;
use super::{Decision, Refusal, View};

/// A controller that introduces itself (KIP-919).
#[derive(Clone, Debug)]
pub struct ControllerRegistration {
    pub id: NodeId,
    /// New at each start of the process.
    pub incarnation: Uuid,
    pub endpoints: Vec<Endpoint>,
    pub features: Vec<FeatureRange>,
}

/// What an administrator wants of the features' levels: all of it, or nothing.
#[derive(Clone, Debug)]
pub struct UpdateFeatures {
    pub updates: Vec<FeatureUpdate>,
    pub validate_only: bool,
}

#[derive(Clone, Debug)]
pub struct FeatureUpdate {
    pub name: String,
    pub level: i16,
    pub change: FeatureChange,
}

/// Which change the administrator means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureChange {
    Upgrade,
    /// Nothing may be lost by it.
    SafeDowngrade,
    UnsafeDowngrade,
    /// A number that has no meaning.
    Unknown,
}

impl FeatureChange {
    /// The value in requests (`UpgradeType`).
    pub fn from_code(code: i8) -> FeatureChange {
        match code {
            1 => FeatureChange::Upgrade,
            2 => FeatureChange::SafeDowngrade,
            3 => FeatureChange::UnsafeDowngrade,
            _ => FeatureChange::Unknown,
        }
    }
}

/// Whether a broker that supports these features may be in this cluster.
pub(super) fn check_registration(view: &View<'_>, supported: &[FeatureRange]) -> Result<(), Refusal> {
    if view.image.metadata_version().is_some() && !supported.iter().any(|f| f.name == METADATA_VERSION) {
        let why = format!("Request features do not contain '{METADATA_VERSION}'");
        return Err(Refusal::new(ErrorCode::InvalidRegistration, why));
    }
    for (name, level) in view.image.features().chain([(KRAFT_VERSION, view.kraft_version)]) {
        let (min, max) = range_of(supported, name);
        if !(min..=max).contains(&level) {
            let why = format!(
                "Unable to register because the broker does not support finalized version {level} of {name}. \
                 The broker wants a version between {min} and {max}, inclusive."
            );
            return Err(Refusal::new(ErrorCode::UnsupportedVersion, why));
        }
    }
    Ok(())
}

pub(super) fn register_controller(
    view: &View<'_>,
    new: ControllerRegistration,
) -> Decision<Result<(), Refusal>> {
    if view.image.metadata_version().is_some_and(|v| v < MetadataVersion::CONTROLLER_REGISTRATION) {
        let why = "The current MetadataVersion is too old to support controller registrations.";
        return Decision::only(Err(Refusal::new(ErrorCode::UnsupportedVersion, why)));
    }
    let ControllerRegistration { id, incarnation, endpoints, features } = new;
    let zk_migration_ready = false;
    let known = view.image.controller(id).is_some_and(|known| {
        **known
            == Controller {
                id,
                incarnation,
                endpoints: endpoints.clone(),
                features: features.clone(),
                zk_migration_ready,
            }
    });
    if known {
        return Decision::only(Ok(()));
    }
    let record = RegisterControllerRecord {
        controller_id: id,
        incarnation_id: incarnation,
        zk_migration_ready,
        end_points: endpoints,
        features,
    };
    Decision { records: vec![MetadataRecord::RegisterController(record)], answer: Ok(()) }
}

/// UnregisterController: the controller is forgotten, voter or not, and whether it supports a level is asked no more. One that
/// runs introduces itself again.
pub(super) fn unregister_controller(view: &View<'_>, id: NodeId) -> Decision<Result<(), Refusal>> {
    let refused = |code, why: &str| Decision::only(Err(Refusal::new(code, why)));
    if id == view.config.node_id {
        return refused(ErrorCode::InvalidRequest, "Controller cannot unregister itself while it is active.");
    }
    if view.image.metadata_version().is_none_or(|v| v < MetadataVersion::CONTROLLER_UNREGISTRATION) {
        let why = "The current MetadataVersion is too old to support controller unregistration.";
        return refused(ErrorCode::UnsupportedVersion, why);
    }
    if view.image.controller(id).is_none() {
        let why = format!("Controller ID {id} is not currently registered.");
        return refused(ErrorCode::ControllerIdNotRegistered, &why);
    }
    let record = UnregisterControllerRecord { controller_id: id };
    Decision { records: vec![MetadataRecord::UnregisterController(record)], answer: Ok(()) }
}

pub(super) fn update(view: &View<'_>, update: &UpdateFeatures) -> Decision<Result<(), Refusal>> {
    let proposed = update.updates.iter().rfind(|update| update.name == METADATA_VERSION);
    let metadata_level = proposed.map_or(view.image.feature(METADATA_VERSION), |update| update.level);
    let mut records = Vec::new();
    for one in &update.updates {
        match plan(view, one, metadata_level) {
            Ok(record) => records.extend(record),
            Err(why) => {
                let why = format!("Invalid update version {} for feature {}. {why}", one.level, one.name);
                return Decision::only(Err(Refusal::new(ErrorCode::InvalidUpdateVersion, why)));
            }
        }
    }
    if update.validate_only {
        return Decision::only(Ok(()));
    }
    let with_eligible = |one: &FeatureUpdate| one.name == ELIGIBLE_LEADER_REPLICAS_VERSION && one.level > 0;
    if update.updates.iter().any(with_eligible) {
        records.splice(0..0, one_minimum(view));
    }
    Decision { records, answer: Ok(()) }
}

// In the order of Kafka's checks. `None`: the level is kept elsewhere, and stays.
fn plan(view: &View<'_>, one: &FeatureUpdate, metadata_level: i16) -> Result<Option<MetadataRecord>, String> {
    let FeatureUpdate { name, level, change } = one;
    let current = match name.as_str() {
        KRAFT_VERSION => view.kraft_version,
        name => view.image.feature(name),
    };
    if *change == FeatureChange::Unknown {
        return Err("The controller does not support the given upgrade type.".into());
    }
    if *level < 0 {
        return Err("A feature version cannot be less than 0.".into());
    }
    check_support(view, name, *level)?;
    if *level < current && *change == FeatureChange::Upgrade {
        return Err(
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or \
                    unsafe downgrade."
                .into(),
        );
    }
    if *level > current && *change != FeatureChange::Upgrade {
        return Err("Can't downgrade to a newer version.".into());
    }
    match name.as_str() {
        METADATA_VERSION => check_metadata_version(current, *level, *change)?,
        KRAFT_VERSION if *level == current => return Ok(None),
        KRAFT_VERSION if *level < current => {
            return Err("Can't downgrade the version of this feature.".into());
        }
        KRAFT_VERSION => return (view.may_voters_change)().map(|()| None),
        name => check_dependencies(name, *level, metadata_level)?,
    }
    Ok(Some(MetadataRecord::FeatureLevel(FeatureLevelRecord { name: name.clone(), feature_level: *level })))
}

// Every node is asked: this one, the brokers, the other controllers.
fn check_support(view: &View<'_>, name: &str, level: i16) -> Result<(), String> {
    let me = view.config.node_id;
    let own =
        feature::supported(false).find(|(own, ..)| *own == name).map_or((0, 0), |(_, min, max)| (min, max));
    supports(own, level, || format!("Local controller {me}"))?;
    for broker in view.image.brokers() {
        supports(range_of(&broker.features, name), level, || format!("Broker {}", broker.id))?;
    }
    let level_now = view.image.metadata_version();
    if level_now.is_some_and(|now| now < MetadataVersion::CONTROLLER_REGISTRATION) {
        return Ok(());
    }
    for controller in view.image.controllers().filter(|controller| controller.id != me) {
        supports(range_of(&controller.features, name), level, || format!("Controller {}", controller.id))?;
    }
    let missing = |id: &&NodeId| **id != me && view.image.controller(**id).is_none();
    match view.voters.iter().find(missing) {
        Some(id) => Err(format!("controller {id} has not registered, and may not support this feature")),
        None => Ok(()),
    }
}

fn supports((min, max): (i16, i16), level: i16, who: impl Fn() -> String) -> Result<(), String> {
    if (min..=max).contains(&level) {
        return Ok(());
    }
    let who = who();
    Err(match (min, max) {
        (_, 0) => format!("{who} does not support this feature."),
        (min, max) if min == max => format!("{who} only supports versions {min}"),
        (min, max) => format!("{who} only supports versions {min}-{max}"),
    })
}

// What a node does not name it has at level 0 only.
fn range_of(features: &[FeatureRange], name: &str) -> (i16, i16) {
    let range = features.iter().find(|feature| feature.name == name);
    range.map_or((0, 0), |range| (range.min, range.max))
}

fn check_metadata_version(current: i16, level: i16, change: FeatureChange) -> Result<(), String> {
    let versions = (MetadataVersion::from_level(current), MetadataVersion::from_level(level));
    let (Some(current), Some(new)) = versions else {
        let (low, high) = (MetadataVersion::MINIMUM.level(), MetadataVersion::LATEST.level());
        return Err(format!("Valid versions are from {low} to {high}."));
    };
    if new >= current || !MetadataVersion::metadata_changed(current, new) {
        return Ok(());
    }
    Err(match change {
        FeatureChange::UnsafeDowngrade => {
            "Unsafe metadata downgrade is not supported in this version.".into()
        }
        _ => {
            "Refusing to perform the requested downgrade because it might delete metadata information.".into()
        }
    })
}

fn check_dependencies(name: &str, level: i16, metadata_level: i16) -> Result<(), String> {
    let levels = feature::feature(name).map_or(&[][..], |feature| feature.levels);
    let needs = usize::try_from(level - 1).ok().and_then(|at| levels.get(at)).map(|one| one.requires.level());
    match needs {
        Some(needs) if metadata_level < needs => Err(format!(
            "{name} could not be set to {level} because it depends on {METADATA_VERSION} level {needs}"
        )),
        _ => Ok(()),
    }
}

/// Eligible leader replicas need one minimum for all brokers (KIP-966): the one that this node was started with, unless
/// there is one for all already. What single brokers have set goes.
pub(super) fn one_minimum(view: &View<'_>) -> Vec<MetadataRecord> {
    let set = |name: &str, value: Option<String>| {
        MetadataRecord::Config(ConfigRecord {
            resource_type: ResourceType::Broker,
            resource_name: name.to_owned(),
            name: MIN_INSYNC_REPLICAS.to_owned(),
            value,
        })
    };
    let has = |name: &str| {
        view.image.configs(ResourceType::Broker, name).is_some_and(|c| c.contains_key(MIN_INSYNC_REPLICAS))
    };
    let for_all = (!has("")).then(|| set("", Some(view.config.min_insync_replicas.to_string())));
    let resources = view.image.config_resources().map(|(resource, _)| resource);
    let single = resources.filter(|r| r.kind == ResourceType::Broker && !r.name.is_empty() && has(&r.name));
    for_all.into_iter().chain(single.map(|resource| set(&resource.name, None))).collect()
}
