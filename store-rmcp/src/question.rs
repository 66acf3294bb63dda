//! IDs of the requests that a handler sends to its client (sampling, elicitation, roots).
//!
//! rmcp counts them from 0 for every life of a session: on each instance, and again after each
//! restore. An answer that reaches another life than the one that asked would be taken for the
//! answer to a question of its own. So the client sees them with the name of their life before
//! them, and so it does the progress tokens that rmcp adds to them.

use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, GetMeta, NumberOrString, ProgressToken,
    ServerJsonRpcMessage, ServerNotification,
};
use uuid::Uuid;

use crate::error::{Error, Result};

/// The questions of one life of a session.
pub(crate) struct Questions {
    life: String,
}

impl Questions {
    pub(crate) fn new() -> Self {
        Self { life: format!("{:016x}/", Uuid::new_v4().as_u64_pair().0) }
    }

    /// Names what the handler asks, and what it no longer wants to know.
    pub(crate) fn name(&self, message: &mut ServerJsonRpcMessage) {
        match message {
            ServerJsonRpcMessage::Request(request) => {
                request.id = self.named(&request.id);
                let meta = request.request.get_meta_mut();
                if let Some(ProgressToken(token)) = meta.get_progress_token() {
                    meta.set_progress_token(ProgressToken(self.named(&token)));
                }
            }
            ServerJsonRpcMessage::Notification(notification) => {
                if let ServerNotification::CancelledNotification(cancelled) =
                    &mut notification.notification
                    && let Some(id) = &mut cancelled.params.request_id
                {
                    *id = self.named(id);
                }
            }
            _ => {}
        }
    }

    /// Gives the handler its own names back.
    ///
    /// # Errors
    /// [`Error::NotAskedHere`] for an answer to what this life did not ask.
    pub(crate) fn recognise(&self, message: &mut ClientJsonRpcMessage) -> Result<()> {
        match message {
            ClientJsonRpcMessage::Response(response) => self.own(&mut response.id),
            ClientJsonRpcMessage::Error(error) => {
                error.id.as_mut().map_or(Ok(()), |id| self.own(id))
            }
            ClientJsonRpcMessage::Notification(notification) => {
                if let ClientNotification::ProgressNotification(progress) =
                    &mut notification.notification
                {
                    // Progress of another life's question means nothing to this one.
                    let _ = self.own(&mut progress.params.progress_token.0);
                }
                Ok(())
            }
            ClientJsonRpcMessage::Request(_) => Ok(()),
        }
    }

    fn named(&self, id: &NumberOrString) -> NumberOrString {
        let json = id.clone().into_json_value();
        NumberOrString::String(format!("{}{json}", self.life).into())
    }

    fn own(&self, id: &mut NumberOrString) -> Result<()> {
        let NumberOrString::String(named) = &*id else { return Err(Error::NotAskedHere) };
        let json = named.strip_prefix(&self.life).ok_or(Error::NotAskedHere)?;
        *id = serde_json::from_str(json).map_err(|_| Error::NotAskedHere)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rmcp::model::{ClientResult, EmptyResult, PingRequest, ServerRequest};
    use serde_json::{Value, json};

    use super::*;

    fn asked(questions: &Questions, id: i64) -> Value {
        let mut request = ServerRequest::PingRequest(PingRequest::default());
        request.get_meta_mut().set_progress_token(ProgressToken(NumberOrString::Number(id)));
        let mut message = ServerJsonRpcMessage::request(request, NumberOrString::Number(id));
        questions.name(&mut message);
        serde_json::to_value(message).unwrap()
    }

    fn answer(id: &Value) -> ClientJsonRpcMessage {
        let id = serde_json::from_value(id.clone()).unwrap();
        ClientJsonRpcMessage::response(ClientResult::EmptyResult(EmptyResult {}), id)
    }

    #[test]
    fn an_answer_finds_its_question() {
        let questions = Questions::new();
        let named = asked(&questions, 3);
        assert_eq!(named["params"]["_meta"]["progressToken"], named["id"]);
        let mut message = answer(&named["id"]);
        questions.recognise(&mut message).unwrap();
        assert_eq!(serde_json::to_value(message).unwrap()["id"], 3);
    }

    #[test]
    fn an_answer_to_another_lifes_question_is_refused() {
        let (one, other) = (Questions::new(), Questions::new());
        let named = asked(&one, 0);
        assert_ne!(named["id"], asked(&other, 0)["id"]);
        for id in [&named["id"], &json!(0), &json!("0"), &json!(format!("{}x", one.life))] {
            assert!(matches!(other.recognise(&mut answer(id)), Err(Error::NotAskedHere)));
        }
    }

    #[test]
    fn a_question_is_called_off_under_its_name() {
        let questions = Questions::new();
        let json =
            json!({"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":4}});
        let mut message: ServerJsonRpcMessage = serde_json::from_value(json).unwrap();
        questions.name(&mut message);
        let sent = serde_json::to_value(message).unwrap();
        assert_eq!(sent["params"]["requestId"], asked(&questions, 4)["id"]);
    }
}
