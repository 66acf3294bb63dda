//! TLS as libpq's `sslmode` names it, against a server with a certificate of a test's own
//! authority.

use mcp_event_store_core::{Clock, Error, Maintenance};
use mcp_event_store_test_servers::{Postgres, PostgresOptions as ServerOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::scope::{Scope, append, stream};

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server with a certificate of `authority` for 127.0.0.1.
async fn server(authority: &CertifiedIssuer<'static, KeyPair>) -> Postgres {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let settings = [
        ("ssl", "on"),
        ("ssl_cert_file", "{dir}/server.crt"),
        ("ssl_key_file", "{dir}/server.key"),
    ];
    let options = ServerOptions {
        settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        files: vec![
            ("server.crt".to_owned(), certificate.pem().into_bytes()),
            ("server.key".to_owned(), key.serialize_pem().into_bytes()),
        ],
    };
    Postgres::own_with(options).await.unwrap()
}

/// A scope with this TLS mode and authority.
fn scope(url: &str, mode: &str, authority: Option<&str>) -> Scope {
    let mut scope = Scope::on(url);
    scope.options.sslmode = Some(mode.to_owned());
    scope.options.sslrootcert = authority.map(str::to_owned);
    scope
}

async fn works(scope: Scope, encrypted: bool) {
    let mut scope = scope;
    scope.options.application_name = Some(scope.schema().to_owned());
    let engine = scope.engine().await;
    append(&engine, &stream("s", "a"), "hello").await;
    let plain = format!(
        "SELECT count(*) FILTER (WHERE ssl), count(*) FILTER (WHERE NOT ssl)
         FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = '{}'",
        scope.schema()
    );
    let counted = &scope.integers(plain).await[0];
    assert!(counted[usize::from(encrypted)] == 0 && counted.iter().sum::<i64>() > 0, "{counted:?}");
    engine.close().await.unwrap();
    scope.tear_down().await;
}

#[tokio::test]
async fn tls_modes_do_what_libpq_says() {
    let (ours, another) = (authority("ours"), authority("another"));
    let server = server(&ours).await;
    let folder = TempDir::new().unwrap();
    let file = |name: &str, authority: &CertifiedIssuer<'static, KeyPair>| {
        let path = folder.path().join(name);
        std::fs::write(&path, authority.pem()).unwrap();
        path.display().to_string()
    };
    let (ours, another) = (file("ours.pem", &ours), file("another.pem", &another));
    let url = server.url();
    works(scope(url, "disable", None), false).await;
    works(scope(url, "prefer", None), true).await;
    works(scope(url, "require", None), true).await;
    works(scope(url, "require", Some(&ours)), true).await;
    works(scope(url, "verify-ca", Some(&ours)), true).await;
    works(scope(url, "verify-full", Some(&ours)), true).await;
    // Another name for the same server, which its certificate does not have.
    let by_name = url.replace("127.0.0.1", "localhost");
    works(scope(&by_name, "verify-ca", Some(&ours)), true).await;
    for refused in [
        scope(&by_name, "verify-full", Some(&ours)),
        scope(url, "verify-full", Some(&another)),
        scope(url, "verify-ca", Some(&another)),
        scope(url, "require", Some(&another)),
        scope(url, "verify-full", None),
    ] {
        let error = refused.backend(&Clock::system()).await.unwrap_err();
        assert!(matches!(error, Error::Backend { .. }), "{error:?}");
        assert!(error.to_string().contains("sslmode"), "{error}");
    }
    let missing = scope(url, "verify-full", Some("/no/such/file"));
    let error = missing.backend(&Clock::system()).await.unwrap_err();
    assert!(error.to_string().starts_with("sslrootcert: cannot be read"), "{error}");
}
