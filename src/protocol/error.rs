//! Placeholder.
pub enum ErrorCode {}
