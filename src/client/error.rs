//! What can go wrong for a client, said so that the person at the terminal knows which peer and which call.
//! It must never swallow a broker's own words: its code and message are passed on.

use ottla_protocol::ErrorCode;
use std::io;
use std::time::Duration;

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// The address does not resolve or nobody listens there.
    #[error("cannot connect to {peer}: {reason}")]
    Connect { peer: String, reason: String },

    /// No answer in time. The connection is of no use afterwards, since answers come in order.
    #[error("{peer} did not answer {what} within {} ms", after.as_millis())]
    TimedOut { peer: String, what: String, after: Duration },

    /// The connection ended before the answer came.
    #[error("the connection to {peer} is closed: {reason}")]
    Closed { peer: String, reason: String },

    /// The peer's bytes, or the message that was to be sent, do not fit Kafka's format.
    #[error("{peer}: {what} is malformed: {reason}")]
    Malformed { peer: String, what: String, reason: String },

    /// There is no version of this API that both sides know.
    #[error("{peer} serves no version of {what} that this client knows")]
    Unsupported { peer: String, what: String },

    /// The broker answered with an error.
    #[error("{what}: {} ({}): {message}", code.name(), code.code())]
    Broker { what: String, code: ErrorCode, message: String },
}

impl ClientError {
    /// A broker's error; `message` falls back to the text of the error table.
    pub fn broker(what: impl Into<String>, code: ErrorCode, message: Option<&str>) -> ClientError {
        let message = message.unwrap_or(code.message()).to_string();
        ClientError::Broker { what: what.into(), code, message }
    }

    /// `Ok` for code 0, else the broker's error.
    pub fn check(what: &str, code: i16, message: Option<&str>) -> Result<(), ClientError> {
        match ErrorCode::from_code(code) {
            ErrorCode::None => Ok(()),
            code => Err(ClientError::broker(what, code, message)),
        }
    }

    /// Whether the same call may succeed later, perhaps on another broker.
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::Connect { .. } | ClientError::TimedOut { .. } | ClientError::Closed { .. } => true,
            ClientError::Malformed { .. } | ClientError::Unsupported { .. } => false,
            ClientError::Broker { code, .. } => code.is_retriable(),
        }
    }

    /// The broker's error code, if it was the broker that refused.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Broker { code, .. } => Some(*code),
            _ => None,
        }
    }

    pub(crate) fn connect(peer: &str, error: &io::Error) -> ClientError {
        ClientError::Connect { peer: peer.into(), reason: error.to_string() }
    }
}
