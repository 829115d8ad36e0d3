//! DescribeClientQuotas v0-1 (KIP-546): the quotas that the metadata has. Nothing here sets any.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_core::controller::Refusal;
use ottla_model::image::QuotaTarget;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::Operation;
use ottla_protocol::messages::describe_client_quotas_request::ComponentData;
use ottla_protocol::messages::describe_client_quotas_response::{EntityData, EntryData, ValueData};
use ottla_protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};

use super::answers::text;
use super::context::{Begun, Context};

/// Which names of one type of entity are meant.
enum Wanted {
    Exactly(String),
    Default,
    Any,
}

type Filter = BTreeMap<String, Wanted>;

pub(super) fn begin(context: &Context<'_>, body: Bytes) -> Begun {
    let broker = context.broker;
    let request: DescribeClientQuotasRequest = context.read(body)?;
    let permitted = context.check_cluster(Operation::DescribeConfigs).map_err(Refusal::from);
    let filter = match permitted.and_then(|()| filter(&request.components)) {
        Ok(filter) => filter,
        Err(refusal) => {
            let response = DescribeClientQuotasResponse::default()
                .with_error_code(refusal.code.code())
                .with_error_message(Some(text(&refusal.message)))
                .with_entries(None);
            return Ok(context.now(response));
        }
    };
    let image = broker.image.load();
    let found = image.quotas().filter(|(target, _)| matches(target, &filter, request.strict));
    let entries = found.map(|(target, values)| {
        let entity = target.iter().map(|(kind, name)| {
            EntityData::default().with_entity_type(text(kind)).with_entity_name(name.as_deref().map(text))
        });
        let values =
            values.iter().map(|(key, value)| ValueData::default().with_key(text(key)).with_value(value.0));
        EntryData::default().with_entity(entity.collect()).with_values(values.collect())
    });
    let response = DescribeClientQuotasResponse::default().with_entries(Some(entries.collect()));
    Ok(context.now(response))
}

fn filter(components: &[ComponentData]) -> Result<Filter, Refusal> {
    let wrong = |why: String| Refusal::new(ErrorCode::InvalidRequest, why);
    let mut filter = Filter::new();
    for component in components {
        let kind = component.entity_type.as_str();
        if kind.is_empty() {
            return Err(wrong("An entity type is empty".into()));
        }
        if filter.contains_key(kind) {
            return Err(wrong(format!("The entity type {kind} is there more than once")));
        }
        if !["ip", "user", "client-id"].contains(&kind) {
            let why = format!("There is no entity type {kind}");
            return Err(Refusal::new(ErrorCode::UnsupportedVersion, why));
        }
        let wanted = match (component.match_type, &component._match) {
            (0, Some(name)) => Wanted::Exactly(name.to_string()),
            (1, None) => Wanted::Default,
            (2, None) => Wanted::Any,
            (0, None) => return Err(wrong(format!("An exact match of {kind} needs a name"))),
            (1 | 2, Some(_)) => return Err(wrong(format!("This match of {kind} takes no name"))),
            (unknown, _) => return Err(wrong(format!("There is no match type {unknown}"))),
        };
        filter.insert(kind.to_owned(), wanted);
    }
    if filter.contains_key("ip") && filter.len() > 1 {
        return Err(wrong("An address cannot be combined with a user or a client id".into()));
    }
    Ok(filter)
}

// Strict: the entity has no other types than those that are asked for.
fn matches(target: &QuotaTarget, filter: &Filter, strict: bool) -> bool {
    let meets = |(kind, wanted): (&String, &Wanted)| match (target.get(kind), wanted) {
        (None, _) => false,
        (Some(_), Wanted::Any) => true,
        (Some(name), Wanted::Exactly(exact)) => name.as_ref() == Some(exact),
        (Some(name), Wanted::Default) => name.is_none(),
    };
    filter.iter().all(meets) && !(strict && target.len() > filter.len())
}
