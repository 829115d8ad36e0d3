//! Transactions are verified with their coordinator before they begin here (KIP-890). It must never ask a coordinator: that
//! is for whoever is going to append.

use ottla_model::VerificationGuard;
use ottla_protocol::ErrorCode;

use super::Lane;
use super::ports::{Upcoming, Waiters};

impl<W: Waiters> Lane<W> {
    pub(super) fn verify(
        &mut self,
        now_ms: i64,
        upcoming: &Upcoming,
    ) -> Result<Option<VerificationGuard>, ErrorCode> {
        if self.offline {
            return Err(ErrorCode::KafkaStorageError);
        }
        self.leader()?;
        let Upcoming { producer, base_sequence, bumps_epoch } = *upcoming;
        let guard =
            self.log.start_verification(producer.id, producer.epoch, base_sequence, bumps_epoch, now_ms);
        guard.map_err(|refused| refused.code)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ottla_core::coordinator::Producer;
    use ottla_core::partition::{Acks, Leadership};
    use ottla_log::disk::MemoryDisk;
    use ottla_model::NodeId;
    use ottla_model::config::TopicConfig;
    use ottla_protocol::batch::{BatchBuilder, Compression};
    use ottla_protocol::{LeaderEpoch, ProducerEpoch, ProducerId};

    use super::super::fixtures::{checked, host, open};
    use super::super::ports::{Answered, Append, Input, Output};
    use super::super::{Lane, Role};
    use super::*;

    const PRODUCER: Producer = Producer { id: ProducerId(7), epoch: ProducerEpoch(0) };

    struct Bench {
        lane: Lane<u32>,
        config: Arc<TopicConfig>,
    }

    impl Bench {
        fn new() -> Bench {
            let config = Arc::new(TopicConfig::default());
            let isr = vec![NodeId(1)];
            let leadership =
                Leadership { epoch: LeaderEpoch(0), partition_epoch: 0, replicas: isr.clone(), isr };
            let log = open(&MemoryDisk::new(1), &config);
            Bench { lane: Lane::new(host(1), log, Role::Leader(leadership), config.clone(), 0), config }
        }

        fn verify(&mut self) -> Result<Option<VerificationGuard>, ErrorCode> {
            let upcoming = Upcoming { producer: PRODUCER, base_sequence: 0, bumps_epoch: false };
            let mut out = Vec::new();
            self.lane.step(0, [Input::Verify { token: 1, upcoming }], &mut out);
            match out.pop() {
                Some(Output::Verifying { token: 1, outcome }) => outcome,
                other => panic!("{other:?}"),
            }
        }

        fn append(&mut self, sequence: i32, guard: Option<VerificationGuard>) -> ErrorCode {
            let batch = BatchBuilder::new(Compression::None);
            let mut batch = batch.producer(PRODUCER.id, PRODUCER.epoch, sequence).transactional();
            batch.append(0, None, Some(b"v"), &[]);
            let mut batch = checked(batch, &self.config);
            batch.guard = guard;
            let append = Append {
                token: 2,
                batch,
                acks: Acks::All,
                answered: Answered::WhenSafe,
                checked_against: self.config.clone(),
                deadline_ms: i64::MAX,
            };
            let mut out = Vec::new();
            self.lane.step(0, [Input::Append(append)], &mut out);
            let replies = out.into_iter().find_map(|output| match output {
                Output::Reply { outcome, .. } => Some(outcome),
                _ => None,
            });
            replies.expect("an answer").err().map_or(ErrorCode::None, |refused| refused.code)
        }
    }

    #[test]
    fn a_transaction_begins_only_with_the_guard_of_its_verification() {
        let mut bench = Bench::new();
        assert_eq!(bench.append(0, None), ErrorCode::InvalidTxnState);
        let guard = bench.verify().expect("it leads");
        assert!(guard.is_some());
        assert_eq!(bench.append(0, guard), ErrorCode::None);
        assert_eq!(bench.verify(), Ok(None), "it is open here now");
        assert_eq!(bench.append(1, None), ErrorCode::None);
    }
}
