//! DescribeUserScramCredentials v0 (KIP-554): who has credentials of which mechanism, as the metadata says.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_protocol::ErrorCode;
use ottla_protocol::api::Operation;
use ottla_protocol::messages::describe_user_scram_credentials_response::{
    CredentialInfo, DescribeUserScramCredentialsResult,
};
use ottla_protocol::messages::{DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse};

use super::answers::text;
use super::context::{AtNode, Begun};

pub(super) fn begin(context: &AtNode<'_>, body: Bytes) -> Begun {
    let node = context.node;
    let request: DescribeUserScramCredentialsRequest = context.read(body)?;
    if let Err(code) = context.check_cluster(Operation::Describe) {
        let response = DescribeUserScramCredentialsResponse::default()
            .with_error_code(code.code())
            .with_error_message(Some(text(code.message())));
        return Ok(context.now(response));
    }
    let image = node.image.load();
    let mut known: BTreeMap<&str, Vec<CredentialInfo>> = BTreeMap::new();
    for credential in image.scram_credentials() {
        let info = CredentialInfo::default()
            .with_mechanism(credential.mechanism)
            .with_iterations(credential.iterations);
        known.entry(&credential.name).or_default().push(info);
    }
    let mut asked: BTreeMap<&str, usize> = BTreeMap::new();
    for user in request.users.iter().flatten() {
        *asked.entry(&user.name).or_default() += 1;
    }
    if asked.is_empty() {
        asked = known.keys().map(|user| (*user, 1)).collect();
    }
    let results = asked.into_iter().map(|(user, times)| {
        let result = DescribeUserScramCredentialsResult::default().with_user(text(user));
        let refuse = |result: DescribeUserScramCredentialsResult, code: ErrorCode, why: &str| {
            result.with_error_code(code.code()).with_error_message(Some(text(&format!("{why}: {user}"))))
        };
        match known.remove(user) {
            _ if times > 1 => {
                refuse(result, ErrorCode::DuplicateResource, "The request names a user more than once")
            }
            Some(infos) => result.with_credential_infos(infos),
            None => refuse(result, ErrorCode::ResourceNotFound, "There is no credential of this user"),
        }
    });
    let results = results.collect();
    let response = DescribeUserScramCredentialsResponse::default().with_results(results);
    Ok(context.now(response))
}
