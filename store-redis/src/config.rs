//! What can be tuned of Redis.

use std::path::PathBuf;
use std::time::Duration;

use mcp_event_store_core::{BackendFields, Config, Field, Kind, Off, Value};

const SECTION: &str = "redis";

static KEY_PREFIX: Field = Field {
    section: SECTION,
    key: "key_prefix",
    kind: Kind::Text("mcp:"),
    default: Value::Text("mcp:"),
    off: Off::Refused("every key needs a name; write a short text that no other program uses"),
    doc: "What every key and channel begins with: several stores can share a server.",
};

static ASSUME_APPENDFSYNC: Field = Field {
    section: SECTION,
    key: "assume_appendfsync",
    kind: Kind::Choice(&["always", "everysec", "no"]),
    default: Value::Off,
    off: Off::Allowed,
    doc: "What the server promises where it may not be asked, such as a managed service.",
};

static WAIT_REPLICAS: Field = Field {
    section: SECTION,
    key: "wait_replicas",
    kind: Kind::Count,
    default: Value::Off,
    off: Off::Allowed,
    doc: "Replicas that must have an event before it is acknowledged.",
};

static WAIT_TIMEOUT: Field = Field {
    section: SECTION,
    key: "wait_timeout",
    kind: Kind::Duration,
    default: Value::Duration(Duration::from_secs(1)),
    off: Off::Refused("a replica may never answer; use a short time"),
    doc: "How long to wait for `wait_replicas` before the outcome counts as unknown.",
};

static CONNECT_TIMEOUT: Field = Field {
    section: SECTION,
    key: "connect_timeout",
    kind: Kind::Duration,
    default: Value::Duration(Duration::from_secs(5)),
    off: Off::Refused("a server may never answer; use a short time"),
    doc: "How long one attempt to connect may take.",
};

static RESPONSE_TIMEOUT: Field = Field {
    section: SECTION,
    key: "response_timeout",
    kind: Kind::Duration,
    default: Value::Duration(Duration::from_secs(10)),
    off: Off::Refused("a server may never answer; use a short time"),
    doc: "How long to wait for an answer before the connection counts as lost.",
};

static RETRY_FOR: Field = Field {
    section: SECTION,
    key: "retry_for",
    kind: Kind::Duration,
    default: Value::Duration(Duration::from_secs(5)),
    off: Off::Refused("a server may never come back; use a short time"),
    doc: "How long an operation is tried again, where nothing can be done twice by it.",
};

static CA_FILE: Field = Field {
    section: SECTION,
    key: "ca_file",
    kind: Kind::Text("/etc/ssl/redis-ca.pem"),
    default: Value::Off,
    off: Off::Allowed,
    doc: "Certificates (PEM) to trust instead of the system's, for rediss:// URLs.",
};

static CLIENT_NAME: Field = Field {
    section: SECTION,
    key: "client_name",
    kind: Kind::Text("mcp-event-store"),
    default: Value::Text("mcp-event-store"),
    off: Off::Allowed,
    doc: "What `CLIENT LIST` calls the connections; no spaces.",
};

/// The fields of `[redis]`.
pub const FIELDS: BackendFields = BackendFields {
    section: SECTION,
    schemes: &[
        "redis",
        "rediss",
        "redis+cluster",
        "rediss+cluster",
        "redis+sentinel",
        "rediss+sentinel",
    ],
    fields: &[
        KEY_PREFIX,
        ASSUME_APPENDFSYNC,
        WAIT_REPLICAS,
        WAIT_TIMEOUT,
        CONNECT_TIMEOUT,
        RESPONSE_TIMEOUT,
        RETRY_FOR,
        CA_FILE,
        CLIENT_NAME,
    ],
};

/// When a server writes its append-only file to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendFsync {
    /// Before it answers.
    Always,
    /// Every second.
    EverySec,
    /// When the operating system likes.
    No,
}

/// What can be tuned of Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisOptions {
    /// What every key and channel begins with.
    pub key_prefix: String,
    /// What the server promises where it may not be asked.
    pub assume_appendfsync: Option<AppendFsync>,
    /// Replicas that must have an event before it is acknowledged.
    pub wait_replicas: Option<u64>,
    /// How long to wait for them.
    pub wait_timeout: Duration,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// How long to wait for an answer.
    pub response_timeout: Duration,
    /// How long an operation is tried again, where nothing can be done twice by it.
    pub retry_for: Duration,
    /// Certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// What `CLIENT LIST` calls the connections.
    pub client_name: Option<String>,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self::from(&Config::default())
    }
}

impl From<&Config> for RedisOptions {
    fn from(config: &Config) -> Self {
        let duration = |field| config.get(field).duration().unwrap_or_default();
        let text = |field| config.get(field).text().map(str::to_owned);
        Self {
            key_prefix: text(&KEY_PREFIX).unwrap_or_default(),
            assume_appendfsync: match config.get(&ASSUME_APPENDFSYNC).choice() {
                Some("always") => Some(AppendFsync::Always),
                Some("everysec") => Some(AppendFsync::EverySec),
                Some(_) => Some(AppendFsync::No),
                None => None,
            },
            wait_replicas: config.get(&WAIT_REPLICAS).integer(),
            wait_timeout: duration(&WAIT_TIMEOUT),
            connect_timeout: duration(&CONNECT_TIMEOUT),
            response_timeout: duration(&RESPONSE_TIMEOUT),
            retry_for: duration(&RETRY_FOR),
            ca_file: config.get(&CA_FILE).text().map(PathBuf::from),
            client_name: text(&CLIENT_NAME),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_come_from_the_fields() {
        let options = RedisOptions::default();
        assert_eq!(options.key_prefix, "mcp:");
        assert_eq!((options.wait_replicas, options.assume_appendfsync), (None, None));
        assert_eq!(options.retry_for, Duration::from_secs(5));
    }

    #[test]
    fn a_url_sets_any_field() {
        let url = "redis+sentinel://h/m?key_prefix=a:&assume_appendfsync=always&wait_replicas=2";
        let config = Config::builder().backend(FIELDS).url(url).load().unwrap();
        let options = RedisOptions::from(&config);
        assert_eq!(options.key_prefix, "a:");
        assert_eq!(options.assume_appendfsync, Some(AppendFsync::Always));
        assert_eq!(options.wait_replicas, Some(2));
    }
}
