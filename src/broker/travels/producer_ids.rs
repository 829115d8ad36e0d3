//! AllocateProducerIds v0 (KIP-730).

use ottla_core::controller::{AllocateProducerIds, NotController, ProducerIdBlock, Refusal};
use ottla_model::{BrokerEpoch, NodeId};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{AllocateProducerIdsRequest, AllocateProducerIdsResponse};

use super::{ResponseOf, Travels, whole};

impl Travels for AllocateProducerIds {
    type Request = AllocateProducerIdsRequest;

    fn request(&self) -> AllocateProducerIdsRequest {
        AllocateProducerIdsRequest::default()
            .with_broker_id(self.broker.0.into())
            .with_broker_epoch(self.epoch.0)
    }

    fn of_request(request: AllocateProducerIdsRequest) -> Result<AllocateProducerIds, ErrorCode> {
        let (broker, epoch) = (NodeId(request.broker_id.0), BrokerEpoch(request.broker_epoch));
        Ok(AllocateProducerIds { broker, epoch })
    }

    fn response(_: &AllocateProducerIdsRequest, answer: Self::Answer) -> ResponseOf<Self> {
        match answer {
            Ok(ProducerIdBlock { first, len }) => AllocateProducerIdsResponse::default()
                .with_producer_id_start(first.into())
                .with_producer_id_len(len),
            Err(refusal) => Self::refused(refusal.code),
        }
    }

    fn refused(code: ErrorCode) -> AllocateProducerIdsResponse {
        AllocateProducerIdsResponse::default().with_error_code(code.code())
    }

    fn of_response(&self, response: AllocateProducerIdsResponse) -> Result<Self::Answer, NotController> {
        let block = ProducerIdBlock { first: response.producer_id_start.0, len: response.producer_id_len };
        Ok(whole(response.error_code)?.map(|()| block).map_err(Refusal::from))
    }
}
