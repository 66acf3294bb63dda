//! Messages between rmcp's types and the JSON that is stored.

use mcp_event_store_core::{Message, RawJson, Result};
use rmcp::model::{
    CustomNotification, CustomRequest, CustomResult, RequestId, ServerJsonRpcMessage,
    ServerNotification, ServerRequest, ServerResult,
};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The message as JSON.
pub(crate) fn encode(message: &ServerJsonRpcMessage) -> Result<Message> {
    RawJson::from_value(message)
}

#[derive(Deserialize)]
struct Envelope {
    id: Option<RequestId>,
    method: Option<String>,
    params: Option<Value>,
    /// `null` is a result, too.
    #[serde(default, deserialize_with = "present")]
    result: Option<Value>,
}

fn present<'de, D: Deserializer<'de>>(value: D) -> std::result::Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

/// A message that rmcp writes again with the same JSON value.
///
/// rmcp's own types are no faithful carriers: they guess a result's type by its fields, so that
/// unknown ones may be lost and `1` may become `1.0`. Its "custom" variants carry any JSON. They
/// write `"params": null` where there are none, so messages without parameters take rmcp's types.
pub(crate) fn decode(message: &Message) -> Result<ServerJsonRpcMessage> {
    let envelope: Envelope = message.to_value()?;
    Ok(match envelope {
        Envelope { id: Some(id), method: None, result: Some(result), .. } => {
            let result = ServerResult::CustomResult(CustomResult(result));
            ServerJsonRpcMessage::response(result, id)
        }
        Envelope { id, method: Some(method), params: Some(params @ Value::Object(_)), .. } => {
            with_params(id, method, params)
        }
        _ => message.to_value()?,
    })
}

fn with_params(id: Option<RequestId>, method: String, params: Value) -> ServerJsonRpcMessage {
    match id {
        Some(id) => ServerJsonRpcMessage::request(
            ServerRequest::CustomRequest(CustomRequest::new(method, Some(params))),
            id,
        ),
        None => ServerJsonRpcMessage::notification(ServerNotification::CustomNotification(
            CustomNotification::new(method, Some(params)),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_message_comes_back_as_the_same_json_value() {
        for json in [
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":null}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":[1,{"a":null}]}"#,
            r#"{"jsonrpc":"2.0","id":"a","result":{"content":[{"type":"text","text":"x","own":1}]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"n":1,"f":1.0,"big":12345678901234567}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[],"_meta":{"k":[1,2]}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"no","data":{"x":1}}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1,"total":3}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"é\n","_meta":{"a":1}}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
            r#"{"jsonrpc":"2.0","id":0,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":0,"method":"roots/list"}"#,
            r#"{"jsonrpc":"2.0","id":5,"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1,"x":{}}}"#,
        ] {
            let stored = RawJson::parse(json).unwrap();
            let sent = serde_json::to_value(decode(&stored).unwrap()).unwrap();
            assert_eq!(sent, stored.to_value::<Value>().unwrap(), "{json}");
        }
    }

    #[test]
    fn what_a_handler_sends_without_parameters_can_be_read_again() {
        let notification = CustomNotification::new("notifications/own", None);
        let notification = ServerNotification::CustomNotification(notification);
        let request = ServerRequest::CustomRequest(CustomRequest::new("own", None));
        for sent in [
            ServerJsonRpcMessage::notification(notification),
            ServerJsonRpcMessage::request(request, RequestId::Number(1)),
        ] {
            let stored = encode(&sent).unwrap();
            let read = decode(&stored).unwrap_or_else(|e| panic!("{}: {e}", stored.get()));
            assert_eq!(encode(&read).unwrap().get(), stored.get());
        }
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        assert!(decode(&RawJson::parse("[]").unwrap()).is_err());
        assert!(decode(&RawJson::parse(r#"{"jsonrpc":"2.0"}"#).unwrap()).is_err());
    }
}
