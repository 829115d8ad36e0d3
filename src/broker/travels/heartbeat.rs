//! BrokerHeartbeat v0-1 (KIP-631, KIP-858 directories that are offline from v1).
//! Missing: v2, which names cordoned directories (KIP-1066).

use ottla_core::controller::{DirectoriesOffline, Heartbeat, HeartbeatAnswer, NotController, Refusal};
use ottla_model::{BrokerEpoch, NodeId};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};

use super::{ResponseOf, Travels, whole};

impl Travels for Heartbeat {
    type Request = BrokerHeartbeatRequest;

    fn request(&self) -> BrokerHeartbeatRequest {
        BrokerHeartbeatRequest::default()
            .with_broker_id(self.broker.0.into())
            .with_broker_epoch(self.epoch.0)
            .with_current_metadata_offset(self.metadata_offset)
            .with_want_fence(self.want_fence)
            .with_want_shut_down(self.want_shutdown)
            .with_offline_log_dirs(self.offline.clone())
    }

    fn of_request(request: BrokerHeartbeatRequest) -> Result<Heartbeat, ErrorCode> {
        Ok(Heartbeat {
            broker: NodeId(request.broker_id.0),
            epoch: BrokerEpoch(request.broker_epoch),
            metadata_offset: request.current_metadata_offset,
            want_fence: request.want_fence,
            want_shutdown: request.want_shut_down,
            offline: request.offline_log_dirs,
            cordoned: None,
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

/// Only asked: for a controller that receives it, it is a heartbeat.
impl Travels for DirectoriesOffline {
    type Request = BrokerHeartbeatRequest;

    fn request(&self) -> BrokerHeartbeatRequest {
        BrokerHeartbeatRequest::default()
            .with_broker_id(self.broker.0.into())
            .with_broker_epoch(self.epoch.0)
            .with_offline_log_dirs(self.directories.clone())
    }

    fn of_request(request: BrokerHeartbeatRequest) -> Result<DirectoriesOffline, ErrorCode> {
        let Heartbeat { broker, epoch, offline: directories, .. } = Heartbeat::of_request(request)?;
        Ok(DirectoriesOffline { broker, epoch, directories })
    }

    fn response(_: &BrokerHeartbeatRequest, answer: Self::Answer) -> ResponseOf<Self> {
        Self::refused(answer.err().map_or(ErrorCode::None, |refusal| refusal.code))
    }

    fn refused(code: ErrorCode) -> BrokerHeartbeatResponse {
        Heartbeat::refused(code)
    }

    fn of_response(&self, response: BrokerHeartbeatResponse) -> Result<Self::Answer, NotController> {
        Ok(whole(response.error_code)?.map_err(Refusal::from))
    }
}
