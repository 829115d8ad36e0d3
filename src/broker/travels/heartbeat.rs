//! BrokerHeartbeat v0-1 (KIP-631, KIP-858 directories that are offline from v1). What v2 has more of, the cordoned directories
//! (KIP-1066), our nodes tell each other in v1 by the tagged field that Kafka has for them in v2; the directories that are full,
//! which Kafka has no word for, by a tagged field of our own. Missing: v2 itself.

use bytes::{Bytes, BytesMut};
use ottla_core::controller::{Heartbeat, HeartbeatAnswer, NotController, Refusal};
use ottla_model::{BrokerEpoch, DirectoryId, NodeId};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use ottla_protocol::primitives::{Form, ReadError, Reader, Writer};

use super::{ResponseOf, Travels, whole};

impl Travels for Heartbeat {
    type Request = BrokerHeartbeatRequest;

    fn request(&self) -> BrokerHeartbeatRequest {
        let cordoned = self.cordoned.iter().map(|cordoned| (CORDONED, tagged(cordoned)));
        let full = (!self.full.is_empty()).then(|| (FULL, tagged(&self.full)));
        BrokerHeartbeatRequest::default()
            .with_broker_id(self.broker.0.into())
            .with_broker_epoch(self.epoch.0)
            .with_current_metadata_offset(self.metadata_offset)
            .with_want_fence(self.want_fence)
            .with_want_shut_down(self.want_shutdown)
            .with_offline_log_dirs(self.offline.clone())
            .with_unknown_tagged_fields(cordoned.chain(full).collect())
    }

    fn of_request(request: BrokerHeartbeatRequest) -> Result<Heartbeat, ErrorCode> {
        let cordoned = directories(&request, CORDONED)?;
        let full = directories(&request, FULL)?.unwrap_or_default();
        Ok(Heartbeat {
            broker: NodeId(request.broker_id.0),
            epoch: BrokerEpoch(request.broker_epoch),
            metadata_offset: request.current_metadata_offset,
            want_fence: request.want_fence,
            want_shutdown: request.want_shut_down,
            offline: request.offline_log_dirs,
            cordoned,
            full,
        })
    }

    fn response(_: &BrokerHeartbeatRequest, answer: Self::Answer) -> ResponseOf<Self> {
        match answer {
            Ok(answer) => BrokerHeartbeatResponse::default()
                .with_is_caught_up(answer.caught_up)
                .with_is_fenced(answer.fenced)
                .with_should_shut_down(answer.should_shut_down),
            Err(refusal) => Self::refused(refusal.code),
        }
    }

    fn refused(code: ErrorCode) -> BrokerHeartbeatResponse {
        BrokerHeartbeatResponse::default().with_error_code(code.code())
    }

    fn of_response(&self, response: BrokerHeartbeatResponse) -> Result<Self::Answer, NotController> {
        let answer = HeartbeatAnswer {
            fenced: response.is_fenced,
            should_shut_down: response.should_shut_down,
            caught_up: response.is_caught_up,
        };
        Ok(whole(response.error_code)?.map(|()| answer).map_err(Refusal::from))
    }
}

// It is absent where nothing is said.
fn directories(request: &BrokerHeartbeatRequest, tag: i32) -> Result<Option<Vec<DirectoryId>>, ErrorCode> {
    let Some(bytes) = request.unknown_tagged_fields.get(&tag) else { return Ok(None) };
    let mut r = Reader::over(bytes);
    let read: Result<Vec<DirectoryId>, ReadError> = r.array_of(Form::Flexible, 16, |r| r.uuid());
    let whole = read.and_then(|directories| r.finish().map(|()| directories));
    whole.map(Some).map_err(|_| ErrorCode::InvalidRequest)
}

fn tagged(directories: &[DirectoryId]) -> Bytes {
    let mut bytes = BytesMut::new();
    let mut w = Writer::new(&mut bytes);
    w.array_of(Form::Flexible, directories.iter(), |w, directory| w.uuid(*directory));
    bytes.freeze()
}

/// Kafka's tag of the directories that take no new replicas.
const CORDONED: i32 = 1;

/// Our own tag of the directories that have no room, far from where Kafka's will ever be.
const FULL: i32 = 10_000;
