//! Connections against a peer that follows a script. What a real broker does is told in `protocol-tests`.

use crate::connection::{Connection, Options};
use crate::{ClientError, Request};
use bytes::{BufMut, Bytes, BytesMut};
use ottla_protocol::messages::api_versions_response::ApiVersion;
use ottla_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, ListGroupsRequest, ListGroupsResponse,
};
use ottla_protocol::quorum::{QuorumMessageRequest, QuorumMessageResponse};
use ottla_protocol::{Encodable, ErrorCode};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the peer does with the next request.
#[derive(Clone)]
enum Act {
    /// Takes it and says nothing.
    Read,
    /// Answers a request that was read, by its place among those, with a body.
    Answer(usize, Bytes),
    /// Sends bytes as they are.
    Say(&'static [u8]),
}
use Act::{Answer, Read, Say};

/// A request as the peer saw it: key, version, correlation id.
type Seen = (i16, i16, i32);

/// Carries the script out on one connection, then closes it and returns what was asked.
async fn peer(acts: Vec<Act>) -> (String, tokio::task::JoinHandle<std::io::Result<Vec<Seen>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let script = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        let mut seen: Vec<Seen> = Vec::new();
        for act in acts {
            match act {
                Read => seen.push(read(&mut stream).await?),
                Answer(which, body) => {
                    let mut frame = BytesMut::new();
                    frame.put_i32(4 + body.len() as i32);
                    frame.put_i32(seen[which].2);
                    frame.put(body);
                    stream.write_all(&frame).await?;
                }
                Say(bytes) => stream.write_all(bytes).await?,
            }
        }
        Ok(seen)
    });
    (address, script)
}

async fn read(stream: &mut TcpStream) -> std::io::Result<Seen> {
    let mut frame = vec![0; stream.read_i32().await? as usize];
    stream.read_exact(&mut frame).await?;
    let two = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
    Ok((two(0), two(2), i32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]])))
}

fn body(message: &impl Encodable, version: i16) -> Bytes {
    let mut body = BytesMut::new();
    message.encode(&mut body, version).expect("a message");
    body.freeze()
}

/// An ApiVersions answer that tells one range, of ApiVersions itself.
fn versions(error: ErrorCode, max: i16, version: i16) -> Bytes {
    let own = ApiVersion::default().with_api_key(ApiVersionsRequest::KEY).with_max_version(max);
    body(&ApiVersionsResponse::default().with_error_code(error.code()).with_api_keys(vec![own]), version)
}

/// Runs the negotiation; `versions` are those that the client asked in, one after another.
async fn check_negotiation(story: &str, acts: Vec<Act>, asked: &[i16], succeeds: bool) {
    let (address, script) = peer(acts).await;
    let connection = Connection::connect(&address).await.expect("a peer");
    let result = connection.versions().await;
    assert_eq!(result.is_ok(), succeeds, "{story}: {result:?}");
    let seen = script.await.expect("no panic").expect("a script");
    assert_eq!(seen.iter().map(|seen| seen.1).collect::<Vec<_>>(), asked, "{story}");
}

#[tokio::test]
async fn negotiation_falls_back_to_what_the_peer_knows() {
    use ErrorCode::{None as Fine, UnsupportedVersion as Refused};
    let newest = 4;
    let at_once = vec![Read, Answer(0, versions(Fine, 4, newest))];
    check_negotiation("the newest", at_once, &[4], true).await;
    let older = vec![Read, Answer(0, versions(Refused, 2, 0)), Read, Answer(1, versions(Fine, 2, 2))];
    check_negotiation("a peer that tells its range", older, &[4, 2], true).await;
    let mut nothing = ApiVersionsResponse::default();
    nothing.error_code = Refused.code();
    let silent = vec![Read, Answer(0, body(&nothing, 0)), Read, Answer(1, versions(Fine, 0, 0))];
    check_negotiation("a peer that tells none", silent, &[4, 0], true).await;
    let liar = vec![Read, Answer(0, versions(Refused, 9, 0)), Read, Answer(1, versions(Fine, 3, 3))];
    check_negotiation("a peer that claims to know what it refused", liar, &[4, 3], true).await;
    check_negotiation("a peer that hangs up", vec![Read], &[4], false).await;
    let never = vec![Read, Answer(0, body(&nothing, 0)), Read, Answer(1, body(&nothing, 0))];
    check_negotiation("a peer that refuses all", never, &[4, 0], false).await;
}

/// Two requests in flight, then the script; what becomes of each.
async fn check_answers(story: &str, acts: Vec<Act>, expected: [Option<&str>; 2]) {
    let (address, script) = peer([vec![Read, Read], acts].concat()).await;
    let options =
        Options { frame_bytes_max: 1_000, request_timeout: Duration::from_millis(300), ..Options::default() };
    let connection = Connection::connect_with(&address, options).await.expect("a peer");
    let request = ListGroupsRequest::default();
    let first = connection.submit(&request, 0).await.expect("sent");
    let second = connection.submit(&request, 0).await.expect("sent");
    for (index, (pending, error)) in [first, second].into_iter().zip(expected).enumerate() {
        match (pending.answer().await, error) {
            (Ok(answer), None) => assert_eq!(answer.error_code, 40 + index as i16, "{story}"),
            (Err(failure), Some(part)) => assert!(failure.to_string().contains(part), "{story}: {failure}"),
            (found, expected) => panic!("{story}: {found:?}, expected {expected:?}"),
        }
    }
    script.await.expect("no panic").expect("a script");
}

/// What voters say to each other has no layout. An answer that is taken for malformed ends the connection, and the messages
/// behind it are lost.
#[tokio::test]
async fn the_answers_of_other_voters_are_read() {
    let answer = |which| Answer(which, body(&QuorumMessageResponse::default(), 0));
    let (address, script) = peer(vec![Read, answer(0), Read, answer(1)]).await;
    let connection = Connection::connect(&address).await.expect("a peer");
    for message in ["one", "two"] {
        let request = QuorumMessageRequest { message: Bytes::from(message) };
        let heard = connection.send(&request, 0).await;
        assert!(heard.is_ok(), "{message}: {heard:?}");
    }
    assert_eq!(script.await.expect("no panic").expect("a script").len(), 2);
}

#[tokio::test]
async fn answers_are_matched_in_order_or_not_at_all() {
    let good = |which: usize| {
        let answer = ListGroupsResponse::default().with_error_code(40 + which as i16);
        Answer(which, body(&answer, 0))
    };
    check_answers("in order", vec![good(0), good(1)], [None, None]).await;
    check_answers("hung up", vec![], [Some("the peer closed it"), Some("the peer closed it")]).await;
    check_answers("hung up between", vec![good(0)], [None, Some("the peer closed it")]).await;
    check_answers("out of turn", vec![good(1), good(0)], [Some("in place of"), Some("in place of")]).await;
    let long = Answer(1, Bytes::from_static(&[0; 900]));
    check_answers("bytes left over", vec![good(0), long], [None, Some("bytes more than the structure has")])
        .await;
    let short = Answer(1, Bytes::from_static(&[0]));
    check_answers("cut short", vec![good(0), short], [None, Some("malformed")]).await;
    let declared = Say(&[0x7f, 0, 0, 0, 1]);
    check_answers("an enormous frame", vec![declared], [Some("allowed are 0 to 1000"); 2]).await;
    check_answers("no correlation id", vec![Say(&[0, 0, 0, 1, 9])], [Some("correlation id"); 2]).await;
    // The peer waits for a third request that never comes.
    check_late(&[good(0), Read]).await;
}

/// An answer that is late ends the connection, since those behind it would be late too.
async fn check_late(acts: &[Act]) {
    let (address, _script) = peer([&[Read, Read], acts].concat()).await;
    let options = Options { request_timeout: Duration::from_millis(100), ..Options::default() };
    let connection = Connection::connect_with(&address, options).await.expect("a peer");
    let request = ListGroupsRequest::default();
    connection.send(&request, 0).await.expect_err("the peer reads two requests before it answers");
    assert!(connection.closed().await.contains("late"));
    let next = connection.send(&request, 0).await;
    assert!(matches!(next, Err(ClientError::Closed { .. })), "{next:?}");
}
