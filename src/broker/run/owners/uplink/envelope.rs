//! Requests in envelopes (KIP-590): what a client asks, word for word, with who it is; and what this broker asks as if it were
//! a client. An answer of our own controllers says up to where its metadata was; it is told when this broker is there, too.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ottla_core::controller::{
    AlterConfigs, Alteration, Change, CreateTopics, Created, NewTopic, NotController, Refusal,
};
use ottla_model::TopicName;
use ottla_model::image::ConfigResource;
use ottla_protocol::api::ApiKey;
use ottla_protocol::header::{RequestHeader, read_response_header, write_request_header};
use ottla_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use ottla_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DefaultPrincipalData, EnvelopeRequest, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
    alter_configs_request, incremental_alter_configs_request,
};
use ottla_protocol::{Decodable, Encodable, ErrorCode, Offset, StrBytes, codec};
use tracing::debug;

use super::Uplink;
use crate::request::{Answer, ClientRequest, METADATA_OFFSET_TAG, Part};

/// How long this broker may take to know what a controller has decided.
const CATCHING_UP: Duration = Duration::from_secs(10);

impl Uplink {
    pub(super) async fn enclose(&self, asked: &ClientRequest) -> Result<Answer, NotController> {
        let body = self.exchange(asked).await?;
        Ok(Answer::Parts(vec![Part::Bytes(body)]))
    }

    // The body of the answer.
    async fn exchange(&self, asked: &ClientRequest) -> Result<Bytes, NotController> {
        let mut request = BytesMut::new();
        let header = RequestHeader {
            api_key: asked.api.key,
            api_version: asked.version,
            correlation_id: 0,
            client_id: asked.client_id.clone(),
        };
        write_request_header(&mut request, &header);
        request.extend_from_slice(&asked.body);
        let envelope = EnvelopeRequest::default()
            .with_request_data(request.freeze())
            .with_request_principal(Some(anonymous()))
            .with_client_host_address(octets(asked.peer));
        let response = self.call(&envelope).await?;
        let known = response.unknown_tagged_fields.get(&METADATA_OFFSET_TAG);
        let offset = known.and_then(|bytes| bytes.as_ref().try_into().ok()).map(Offset::from_be_bytes);
        let mut answer = match (ErrorCode::from_code(response.error_code), response.response_data) {
            (ErrorCode::None, Some(answer)) => answer,
            (code, _) => {
                debug!(code = code.name(), api = asked.api.name, "the controller took no forwarded request");
                return Err(NotController);
            }
        };
        read_response_header(&mut answer, asked.api, asked.version).map_err(|_| NotController)?;
        if let Some(offset) = offset
            && !self.known.reaches(offset, CATCHING_UP).await
        {
            debug!(offset, api = asked.api.name, "answering before this broker knows the metadata");
        }
        Ok(answer)
    }

    // As if this broker were a client.
    async fn ask_enclosed<R: Encodable, A: Decodable>(
        &self,
        api: ApiKey,
        version: i16,
        request: &R,
    ) -> Result<A, NotController> {
        let mut body = BytesMut::new();
        codec::encode(request, version, &mut body).map_err(|_| NotController)?;
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let asked = ClientRequest { api: api.row(), version, client_id: None, peer, body: body.freeze() };
        let answer = self.exchange(&asked).await?;
        codec::decode_response(api.code(), version, answer).map_err(|_| NotController)
    }

    pub(super) async fn create_topics(
        &self,
        create: CreateTopics,
    ) -> Result<Vec<(TopicName, Result<Created, Refusal>)>, NotController> {
        let request = CreateTopicsRequest::default()
            .with_topics(create.topics.iter().map(creatable).collect())
            .with_timeout_ms(super::PATIENCE.as_millis() as i32)
            .with_validate_only(create.validate_only);
        let response: CreateTopicsResponse = self.ask_enclosed(ApiKey::CreateTopics, 7, &request).await?;
        let outcomes = response.topics.into_iter().map(|topic| {
            let outcome = refusal(topic.error_code, topic.error_message).map(|()| Created {
                id: topic.topic_id,
                partitions: topic.num_partitions,
                replication_factor: topic.replication_factor,
                configs: BTreeMap::new(),
            });
            (TopicName::from(topic.name.as_str()), outcome)
        });
        Ok(outcomes.collect())
    }

    pub(super) async fn alter_configs(
        &self,
        alter: AlterConfigs,
    ) -> Result<Vec<(ConfigResource, Result<(), Refusal>)>, NotController> {
        let whole =
            |(_, alteration): &&(ConfigResource, Alteration)| matches!(alteration, Alteration::All(_));
        let outcomes = if alter.resources.iter().any(|resource| whole(&resource)) {
            let resources = alter.resources.iter().map(replaced);
            let request = AlterConfigsRequest::default()
                .with_resources(resources.collect())
                .with_validate_only(alter.validate_only);
            let response: AlterConfigsResponse = self.ask_enclosed(ApiKey::AlterConfigs, 2, &request).await?;
            let outcomes = response.responses.into_iter();
            outcomes.map(|one| refusal(one.error_code, one.error_message)).collect::<Vec<_>>()
        } else {
            let resources = alter.resources.iter().map(changed);
            let request = IncrementalAlterConfigsRequest::default()
                .with_resources(resources.collect())
                .with_validate_only(alter.validate_only);
            let api = ApiKey::IncrementalAlterConfigs;
            let response: IncrementalAlterConfigsResponse = self.ask_enclosed(api, 1, &request).await?;
            let outcomes = response.responses.into_iter();
            outcomes.map(|one| refusal(one.error_code, one.error_message)).collect()
        };
        // The answer is in the order of the resources.
        let missing = std::iter::repeat_with(|| Err(ErrorCode::UnknownServerError.into()));
        let resources = alter.resources.into_iter().map(|(resource, _)| resource);
        Ok(resources.zip(outcomes.into_iter().chain(missing)).collect())
    }
}

fn refusal(code: i16, message: Option<StrBytes>) -> Result<(), Refusal> {
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(()),
        code => Err(message.map_or_else(|| code.into(), |why| Refusal::new(code, why.to_string()))),
    }
}

fn text(from: &str) -> StrBytes {
    StrBytes::from_string(from.to_owned())
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let assignments = topic.assignments.iter().map(|(partition, replicas)| {
        CreatableReplicaAssignment::default()
            .with_partition_index(*partition)
            .with_broker_ids(replicas.iter().map(|id| id.0.into()).collect())
    });
    let configs = topic.configs.iter().map(|(name, value)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(value.as_deref().map(text))
    });
    CreatableTopic::default()
        .with_name(text(&topic.name).into())
        .with_num_partitions(topic.partitions)
        .with_replication_factor(topic.replication_factor)
        .with_assignments(assignments.collect())
        .with_configs(configs.collect())
}

fn replaced(
    (resource, alteration): &(ConfigResource, Alteration),
) -> alter_configs_request::AlterConfigsResource {
    use alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let values: &[(&String, &String)] = &match alteration {
        Alteration::All(values) => values.iter().collect::<Vec<_>>(),
        Alteration::Some(_) => Vec::new(),
    };
    let configs = values
        .iter()
        .map(|(name, value)| AlterableConfig::default().with_name(text(name)).with_value(Some(text(value))));
    AlterConfigsResource::default()
        .with_resource_type(resource.kind.code())
        .with_resource_name(text(&resource.name))
        .with_configs(configs.collect())
}

/// Kafka's AlterConfigOp.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

fn changed(
    (resource, alteration): &(ConfigResource, Alteration),
) -> incremental_alter_configs_request::AlterConfigsResource {
    use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let changes = match alteration {
        Alteration::Some(changes) => changes.as_slice(),
        Alteration::All(_) => &[],
    };
    let configs = changes.iter().map(|(name, change)| {
        let (operation, value) = match change {
            Change::Set(value) => (SET, Some(text(value))),
            Change::Delete => (DELETE, None),
            Change::Append(items) => (APPEND, Some(text(items))),
            Change::Subtract(items) => (SUBTRACT, Some(text(items))),
        };
        AlterableConfig::default().with_name(text(name)).with_config_operation(operation).with_value(value)
    });
    AlterConfigsResource::default()
        .with_resource_type(resource.kind.code())
        .with_resource_name(text(&resource.name))
        .with_configs(configs.collect())
}

// Who asks, in Kafka's DefaultPrincipalData; nobody has a name yet.
fn anonymous() -> Bytes {
    let who = DefaultPrincipalData::default().with_type(text("User")).with_name(text("ANONYMOUS"));
    let mut bytes = BytesMut::from(&[0_u8, 0][..]);
    // Two short strings always fit.
    let _ = who.encode(&mut bytes, 0);
    bytes.freeze()
}

fn octets(peer: IpAddr) -> Bytes {
    match peer.to_canonical() {
        IpAddr::V4(ip) => Bytes::copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => Bytes::copy_from_slice(&ip.octets()),
    }
}
