//! Transactions that are being verified with their coordinator before their first batch is appended (KIP-890). Without
//! this a late batch could open a transaction that nobody ends. It must never ask a coordinator itself.

use std::collections::HashMap;

use ottla_model::VerificationGuard;
use ottla_protocol::ErrorCode;
use ottla_protocol::batch::BatchHeader;

use super::error::Refused;

#[derive(Debug, Default)]
pub(super) struct Verifications {
    /// Value of `transaction.partition.verification.enable`.
    pub required: bool,
    pending: HashMap<i64, Pending>,
    given: u64,
}

#[derive(Debug)]
pub(super) struct Pending {
    /// Passed to the append. If the transaction has ended in between, the log refuses the batch.
    guard: VerificationGuard,
    since_ms: i64,
    supports_epoch_bump: bool,
    /// The lowest sequence that was seen. A batch above it would leave a hole that its producer could never fill
    /// (KAFKA-14920).
    lowest_sequence: i32,
    epoch: i16,
}

impl Verifications {
    pub fn start(
        &mut self,
        producer_id: i64,
        epoch: i16,
        sequence: i32,
        epoch_bump: bool,
        now_ms: i64,
    ) -> VerificationGuard {
        let pending = self.pending.entry(producer_id).or_insert_with(|| {
            self.given += 1;
            let guard = VerificationGuard(self.given);
            Pending {
                guard,
                since_ms: now_ms,
                supports_epoch_bump: epoch_bump,
                lowest_sequence: sequence,
                epoch,
            }
        });
        if epoch > pending.epoch {
            // Perhaps another process, of another kind: Kafka goes on as with the first one.
            (pending.epoch, pending.lowest_sequence) = (epoch, sequence);
            pending.supports_epoch_bump = epoch_bump;
        } else if epoch == pending.epoch {
            pending.lowest_sequence = pending.lowest_sequence.min(sequence);
        }
        pending.guard
    }

    /// Checks a transactional batch whose producer has no open transaction here.
    pub fn check(&self, header: &BatchHeader, guard: Option<VerificationGuard>) -> Result<(), Refused> {
        let shown =
            guard.is_some() && guard == self.pending.get(&header.producer_id).map(|pending| pending.guard);
        if !self.required || header.is_control() || shown {
            return Ok(());
        }
        let message =
            format!("The batch of producer {} is not part of an open transaction", header.producer_id);
        Err(Refused::new(ErrorCode::InvalidTxnState, message))
    }

    pub fn check_sequence(&self, header: &BatchHeader, unseen: bool) -> Result<(), Refused> {
        let Some(pending) = self.pending.get(&header.producer_id) else { return Ok(()) };
        let first = header.base_sequence;
        if (pending.supports_epoch_bump && first != 0 && unseen) || first > pending.lowest_sequence {
            let message = format!(
                "Sequence {first} of producer {} comes before {}, which is being verified",
                header.producer_id, pending.lowest_sequence
            );
            return Err(Refused::new(ErrorCode::OutOfOrderSequenceNumber, message));
        }
        Ok(())
    }

    /// To be called when a transactional batch or a marker is about to be written. Returns what is not being verified any more.
    pub fn settled(&mut self, producer_id: i64, epoch: i16, control: bool) -> Option<Pending> {
        // With epoch bumps, a marker of the pending epoch has ended the transaction before the one that is being
        // verified.
        let next_began = |pending: &Pending| pending.supports_epoch_bump && control && epoch == pending.epoch;
        match self.pending.get(&producer_id) {
            Some(pending) if !next_began(pending) => self.pending.remove(&producer_id),
            _ => None,
        }
    }

    /// The batch was not written.
    pub fn restore(&mut self, producer_id: i64, pending: Pending) {
        self.pending.insert(producer_id, pending);
    }

    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.pending.retain(|_, pending| now_ms.saturating_sub(pending.since_ms) < expiration_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_ends_what_a_process_without_epoch_bumps_verifies_in_place_of_one_with_them() {
        let mut verifications = Verifications { required: true, ..Verifications::default() };
        let guard = verifications.start(1, 10, 0, true, 0);
        assert_eq!(verifications.start(1, 12, 0, false, 1), guard);
        verifications.settled(1, 12, true);
        assert!(verifications.pending.is_empty());
    }
}
