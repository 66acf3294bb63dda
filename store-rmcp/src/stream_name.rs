//! The names of a session's streams.
//!
//! A request's stream is `request/<uuid>/<request id>`: unique although a request ID is not (two
//! instances, or a client that counts from 1 again), and any instance can read from it which
//! request to answer when its owner died.

use mcp_event_store_core::{Result, StreamId};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use rmcp::model::RequestId;
use uuid::Uuid;

const REQUEST: &str = "request/";
const STANDALONE: &str = "standalone";

/// Stream IDs hold no control characters. Beyond ASCII everything is escaped anyway.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// The stream that a GET without `Last-Event-ID` reads.
pub(crate) fn standalone() -> Result<StreamId> {
    StreamId::new(STANDALONE)
}

/// A new stream for `request`. The ID is kept as JSON, so that `7` and `"7"` stay apart.
pub(crate) fn for_request(request: &RequestId) -> Result<StreamId> {
    let json = request.clone().into_json_value().to_string();
    let escaped = utf8_percent_encode(&json, ESCAPED);
    StreamId::new(format!("{REQUEST}{}/{escaped}", Uuid::new_v4()))
}

/// The request whose stream this is; `None` for the standalone stream and foreign names.
pub(crate) fn request_of(stream: &StreamId) -> Option<RequestId> {
    let (_, escaped) = stream.as_str().strip_prefix(REQUEST)?.split_once('/')?;
    let json = percent_decode_str(escaped).decode_utf8().ok()?;
    serde_json::from_str(&json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_comes_back_from_its_stream_name() {
        let texts = ["7", "", "a/b", "100%", "line\nbreak", "\u{7f}\u{85}", "héllo", "\"quoted\""];
        let ids = texts.map(|text| RequestId::String(text.into()));
        for id in ids.into_iter().chain([RequestId::Number(7), RequestId::Number(-1)]) {
            let name = for_request(&id).unwrap();
            assert_eq!(request_of(&name), Some(id));
        }
    }

    #[test]
    fn two_requests_with_one_id_get_two_streams() {
        let id = RequestId::Number(1);
        assert_ne!(for_request(&id).unwrap(), for_request(&id).unwrap());
    }

    #[test]
    fn a_request_id_too_long_for_a_name_is_refused() {
        assert!(for_request(&RequestId::String("x".repeat(600).into())).is_err());
    }

    #[test]
    fn other_names_belong_to_no_request() {
        assert_eq!(request_of(&standalone().unwrap()), None);
        assert_eq!(request_of(&StreamId::new("request/only-one-part").unwrap()), None);
    }
}
