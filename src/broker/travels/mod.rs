//! How a broker's own questions travel to the active controller: by which request of Kafka's, and back. A file for each
//! question has both directions, so that broker and controller cannot disagree. Nothing here knows connections.

mod controllers;
mod directories;
mod heartbeat;
pub(crate) mod metadata_fetch;
pub(crate) mod metadata_snapshot;
mod producer_ids;
mod proposals;
mod registration;
#[cfg(test)]
mod tests;

use ottla_client::Request;
use ottla_core::controller::{Command, NotController, Reply};
use ottla_core::question::Question;
use ottla_protocol::ErrorCode;

pub(crate) use registration::Introduction;

/// A question that travels as a request.
pub(crate) trait Travels: Question<Command = Command, Reply = Reply> {
    type Request: Request;

    fn request(&self) -> Self::Request;

    /// The question that a request asks; an error is the answer to it.
    fn of_request(request: Self::Request) -> Result<Self, ErrorCode>;

    /// The answer to this question as a response.
    fn response(asked: &Self::Request, answer: Self::Answer) -> ResponseOf<Self>;

    /// A response that refuses everything.
    fn refused(code: ErrorCode) -> ResponseOf<Self>;

    /// The answer that a response has.
    fn of_response(&self, response: ResponseOf<Self>) -> Result<Self::Answer, NotController>;
}

pub(crate) type ResponseOf<Q> = <<Q as Travels>::Request as Request>::Response;

/// Whether a response is of the active controller, and what it refuses altogether.
fn whole(code: i16) -> Result<Result<(), ErrorCode>, NotController> {
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(Ok(())),
        ErrorCode::NotController => Err(NotController),
        code => Ok(Err(code)),
    }
}
