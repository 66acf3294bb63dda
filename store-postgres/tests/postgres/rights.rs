//! Roles that may do little: what they need, and what they are told.

use mcp_event_store_core::{Clock, EventStore, Maintenance, SessionId, SessionStore};
use mcp_event_store_core::{Message, Result};
use mcp_event_store_postgres::PostgresBackend;
use url::Url;

use crate::scope::{Scope, append, fresh, stream};

/// A new role, and a scope of the superuser's and one of the role's on the same schema.
async fn role_of(admin: Scope) -> (Scope, Scope, String) {
    let role = fresh("role");
    admin.run(format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'")).await;
    let mut url = Url::parse(&admin.url).unwrap();
    url.set_username(&role).unwrap();
    url.set_password(Some("secret")).unwrap();
    let scope = Scope { url: url.into(), options: admin.options.clone() };
    (admin, scope, role)
}

fn told(opened: Result<PostgresBackend>) -> String {
    opened.unwrap_err().to_string()
}

#[tokio::test]
async fn a_role_needs_no_more_than_its_own_schema() {
    let (admin, scope, role) = role_of(Scope::shared().await).await;
    let without = told(scope.backend(&Clock::system()).await);
    assert!(without.contains("CREATE SCHEMA"), "{without}");
    admin.run(format!("CREATE SCHEMA {} AUTHORIZATION {role}", scope.schema())).await;
    let engine = scope.engine().await;
    works(&engine).await;
    engine.close().await.unwrap();
    admin.run(format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}")).await;
}

/// What docs/postgres.md tells to grant to a role that uses tables of another's.
fn grants(schema: &str, role: &str) -> String {
    format!(
        "GRANT USAGE ON SCHEMA {schema} TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role};
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {role};"
    )
}

#[tokio::test]
async fn a_role_may_use_tables_that_another_made() {
    let (admin, scope, role) = role_of(Scope::shared().await).await;
    admin.engine().await.close().await.unwrap();
    let schema = scope.schema().to_owned();
    let blind = told(scope.backend(&Clock::system()).await);
    assert!(blind.contains("GRANT"), "{blind}");
    admin.run(format!("GRANT USAGE ON SCHEMA {schema} TO {role}")).await;
    admin.run(format!("GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}")).await;
    let reading = told(scope.backend(&Clock::system()).await);
    assert!(reading.contains("GRANT SELECT, INSERT"), "{reading}");
    admin.run(grants(&schema, &role)).await;
    let engine = scope.engine().await;
    works(&engine).await;
    engine.close().await.unwrap();
    admin.run(format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}")).await;
    admin.tear_down().await;
}

/// Every kind of operation.
async fn works(engine: &mcp_event_store_core::Engine<PostgresBackend>) {
    append(engine, &stream("s", "a"), "one").await;
    append(engine, &stream("s", "b"), "one").await;
    let session = SessionId::new("s").unwrap();
    engine.store(&session, Message::parse("{}").unwrap()).await.unwrap();
    assert!(engine.touch(&session).await.unwrap());
    engine.delete_stream(&stream("s", "a")).await.unwrap();
    engine.sweep().await.unwrap();
    let deleted = engine.delete(&session).await.unwrap();
    assert!(deleted.session_record && deleted.streams == 1, "{deleted:?}");
}
