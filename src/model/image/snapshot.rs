//! An image as records, and back: what a snapshot of the metadata log holds.

use super::Image;
use crate::record::MetadataRecord;

impl Image {
    /// The whole image as records.
    pub fn records(&self) -> Vec<MetadataRecord> {
        Vec::new()
    }
}
