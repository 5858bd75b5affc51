//! The way to the engine: its address, TLS, pools of connections, and what its errors mean.
//!
//! **Invariants:** a password is never shown; a connection on which something went wrong is closed, not
//! given back, since a transaction may be open on it; nothing waits without a limit.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Config, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long making a connection may take: who can't be reached by then counts as down.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(800);

/// Where the engine is, and how to use it.
#[derive(Clone)]
pub struct EngineSettings {
    config: Config,
    /// The certificates of who may vouch for the engine, PEM; without them the system's are taken.
    pub certificates: Option<Vec<u8>>,
    /// How many connections reads may use, 1 or more; two more write, and one feels the pulse.
    pub connections: usize,
    /// How long a transaction or a read may take.
    pub timeout: Duration,
    /// Whether statements are prepared once a connection. Off for poolers that can't keep them.
    pub prepared: bool,
}

impl EngineSettings {
    /// Reads a URL `postgres://user:password@host:port/database`, or the `key=value` form of libpq. The
    /// connection is encrypted, and the engine's certificate checked, unless `sslmode=disable` is given or
    /// the engine is on this machine and no `sslmode` is given.
    ///
    /// # Errors
    ///
    /// One phrase that says what is wrong with it; never a part of it.
    pub fn parse(url: &str) -> Result<Self, String> {
        // What libpq calls by these names is what `require` does here.
        let known = url.replace("sslmode=verify-full", "sslmode=require");
        let known = known.replace("sslmode=verify-ca", "sslmode=require");
        let mut config: Config =
            known.parse().map_err(|_| "must be a URL postgres://USER@HOST:PORT/DATABASE")?;
        if config.get_hosts().is_empty() {
            return Err("must name a host".to_owned());
        }
        if config.get_user().is_none() {
            return Err("must name a user".to_owned());
        }
        if config.get_ssl_mode() == SslMode::Prefer {
            let is_local = config.get_hosts().iter().all(is_local);
            config.ssl_mode(if is_local { SslMode::Disable } else { SslMode::Require });
        }
        if config.get_application_name().is_none() {
            config.application_name("bank");
        }
        config.connect_timeout(CONNECT_TIMEOUT);
        Ok(Self {
            config,
            certificates: None,
            connections: 8,
            timeout: Duration::from_secs(5),
            prepared: true,
        })
    }
}

impl std::fmt::Debug for EngineSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// Where it is, without the password.
impl std::fmt::Display for EngineSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hosts: Vec<String> = self.config.get_hosts().iter().map(host_name).collect();
        let ports: Vec<String> = self.config.get_ports().iter().map(u16::to_string).collect();
        let user = self.config.get_user().unwrap_or_default();
        let database = self.config.get_dbname().unwrap_or(user);
        let port = if ports.is_empty() { "5432".to_owned() } else { ports.join(",") };
        write!(f, "postgres://{user}@{}:{port}/{database}", hosts.join(","))
    }
}

fn host_name(host: &Host) -> String {
    match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    }
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => ["localhost", "127.0.0.1", "::1"].contains(&name.as_str()),
    }
}

/// Why something could not be done at the engine.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It can't be reached, or went away.
    Lost(String),
    /// Somebody else was in the way: the same again may succeed.
    InTheWay(String),
    /// It has no room.
    Full(String),
    /// It said no, and would say so again.
    Broken(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Lost(text) | Self::InTheWay(text) | Self::Full(text) | Self::Broken(text)) =
            self;
        f.write_str(text)
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        let text = full_text(&error);
        let Some(db) = error.as_db_error() else { return Self::Lost(text) };
        let code = db.code();
        // The classes are those of https://www.postgresql.org/docs/current/errcodes-appendix.html
        match code.code() {
            _ if *code == SqlState::DISK_FULL => Self::Full(text),
            _ if *code == SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN => Self::Lost(text),
            _ if *code == SqlState::LOCK_NOT_AVAILABLE || *code == SqlState::QUERY_CANCELED => {
                Self::InTheWay(text)
            }
            _ if *code == SqlState::READ_ONLY_SQL_TRANSACTION => Self::Lost(text),
            // So a statement says that a row is not what it was taken for.
            _ if *code == SqlState::DIVISION_BY_ZERO => Self::InTheWay(text),
            // Who may not come in, and a database that isn't there.
            class if class.starts_with("28") || class.starts_with("3D") => Self::Broken(text),
            class if class.starts_with("40") => Self::InTheWay(text),
            class if class.starts_with("08") || class.starts_with("57P") => Self::Lost(text),
            class if class.starts_with("53") => Self::Lost(text),
            _ if db.parsed_severity() != Some(Severity::Error) => Self::Lost(text),
            _ => Self::Broken(text),
        }
    }
}

impl From<PoolError> for Trouble {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => error.into(),
            other => Self::Lost(other.to_string()),
        }
    }
}

fn full_text(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} ({})", db.message(), db.code().code());
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// A statement, with the types of its parameters.
#[derive(Debug)]
pub(super) struct Sql {
    pub(super) text: &'static str,
    pub(super) types: &'static [Type],
}

/// A statement that can be sent at once.
#[derive(Clone)]
pub(super) enum Ready {
    Prepared(tokio_postgres::Statement),
    Text(&'static Sql),
}

/// The engine, as one process sees it.
pub(super) struct Engine {
    readers: Pool,
    writers: Pool,
    /// One connection that nothing else may keep busy.
    pulse: Pool,
    prepared: bool,
    pub(super) timeout: Duration,
}

/// How many connections write.
const WRITERS: usize = 2;

impl Engine {
    /// Makes ready to connect; does not connect yet.
    pub(super) fn new(settings: &EngineSettings) -> Result<Self, String> {
        let pool = |size| -> Result<Pool, String> {
            Pool::builder(manager(settings)?)
                .max_size(size)
                .timeouts(Timeouts {
                    wait: Some(settings.timeout),
                    create: Some(CONNECT_TIMEOUT),
                    recycle: Some(CONNECT_TIMEOUT),
                })
                .runtime(Runtime::Tokio1)
                .build()
                .map_err(|error| error.to_string())
        };
        Ok(Self {
            readers: pool(settings.connections)?,
            writers: pool(WRITERS)?,
            pulse: pool(1)?,
            prepared: settings.prepared,
            timeout: settings.timeout,
        })
    }

    /// A connection to read with.
    pub(super) async fn reader(&self) -> Result<Session, Trouble> {
        self.session(&self.readers).await
    }

    /// A connection to write with.
    pub(super) async fn writer(&self) -> Result<Session, Trouble> {
        self.session(&self.writers).await
    }

    async fn session(&self, pool: &Pool) -> Result<Session, Trouble> {
        Ok(Session { client: Some(pool.get().await?), prepared: self.prepared })
    }

    /// Does some work with a connection to read with, within the time that it may take.
    pub(super) async fn read<T>(
        &self,
        work: impl AsyncFnOnce(&Session) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let all = async {
            let session = self.reader().await?;
            let result = work(&session).await?;
            session.give_back();
            Ok(result)
        };
        within(self.timeout, all).await
    }

    /// Asks for a sign of life, within a limit, whatever else is going on.
    pub(super) async fn pulse(
        &self,
        sql: &'static Sql,
        limit: Duration,
    ) -> Result<Vec<Row>, Trouble> {
        let all = async {
            let session = self.session(&self.pulse).await?;
            let rows = session.one(sql, &[]).await?;
            session.give_back();
            Ok(rows)
        };
        within(limit, all).await
    }
}

/// Waits for the engine, within a limit.
pub(super) async fn within<T, E: From<Trouble>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => Err(Trouble::Lost("the engine did not answer in time".to_owned()).into()),
    }
}

fn manager(settings: &EngineSettings) -> Result<Manager, String> {
    let config = settings.config.clone();
    let how = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    if config.get_ssl_mode() == SslMode::Disable {
        return Ok(Manager::from_config(config, NoTls, how));
    }
    let mut roots = RootCertStore::empty();
    if let Some(pem) = &settings.certificates {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| error.to_string())?;
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        if roots.is_empty() {
            return Err("there is no certificate in the file".to_owned());
        }
    } else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Manager::from_config(config, MakeRustlsConnect::new(tls), how))
}

/// A connection. It is closed unless it is given back: what is open on it then ends with it.
pub(super) struct Session {
    client: Option<Object>,
    prepared: bool,
}

impl Session {
    fn client(&self) -> &Object {
        self.client.as_ref().expect("it is there until it is given back")
    }

    /// Makes a statement ready. The first time on a connection it goes to the engine for it.
    pub(super) async fn ready(&self, sql: &'static Sql) -> Result<Ready, Trouble> {
        if !self.prepared {
            return Ok(Ready::Text(sql));
        }
        let statement = self.client().prepare_typed_cached(sql.text, sql.types).await?;
        Ok(Ready::Prepared(statement))
    }

    /// Runs a statement. What is polled first is sent first, before any answer has come.
    pub(super) async fn query(
        &self,
        ready: &Ready,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Trouble> {
        match ready {
            Ready::Prepared(statement) => Ok(self.client().query(statement, parameters).await?),
            Ready::Text(sql) => {
                let typed: Vec<(&(dyn ToSql + Sync), Type)> =
                    parameters.iter().copied().zip(sql.types.iter().cloned()).collect();
                Ok(self.client().query_typed(sql.text, &typed).await?)
            }
        }
    }

    /// Runs one statement on its own.
    pub(super) async fn one(
        &self,
        sql: &'static Sql,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Trouble> {
        let ready = self.ready(sql).await?;
        self.query(&ready, parameters).await
    }

    /// Whether rows can be copied: a statement that copies has to be prepared.
    pub(super) fn can_copy(&self) -> bool {
        self.prepared
    }

    /// Copies rows into a table, by a statement that says which, and their columns' types.
    pub(super) async fn copy<'a, const COLUMNS: usize>(
        &self,
        sql: &'static Sql,
        types: &[Type],
        rows: impl Iterator<Item = [&'a (dyn ToSql + Sync); COLUMNS]>,
    ) -> Result<(), Trouble> {
        let statement = self.client().prepare_typed_cached(sql.text, sql.types).await?;
        let sink = self.client().copy_in(&statement).await?;
        let mut writer = pin!(BinaryCopyInWriter::new(sink, types));
        for row in rows {
            writer.as_mut().write(&row).await?;
        }
        writer.finish().await?;
        Ok(())
    }

    /// Runs statements without parameters.
    pub(super) async fn batch(&self, text: &str) -> Result<(), Trouble> {
        Ok(self.client().batch_execute(text).await?)
    }

    /// Gives the connection back: nothing is open on it.
    pub(super) fn give_back(mut self) {
        drop(self.client.take());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let settings = EngineSettings::parse("postgres://ann:s3cret@db.example:6432/books");
        let settings = settings.expect("it is a URL");
        assert_eq!(settings.to_string(), "postgres://ann@db.example:6432/books");
        assert!(!format!("{settings:?}").contains("s3cret"));
        for wrong in ["postgres://ann:s3cret@:x/y", "s3cret", "postgres://ann:s3cret@/books?a=b"] {
            let error = EngineSettings::parse(wrong).expect_err("it is wrong");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn what_leaves_the_machine_is_encrypted_unless_told_otherwise() {
        for (url, mode) in [
            ("postgres://a@db.example/b", SslMode::Require),
            ("postgres://a@db.example/b?sslmode=require", SslMode::Require),
            ("postgres://a@db.example/b?sslmode=verify-full", SslMode::Require),
            ("postgres://a@db.example/b?sslmode=disable", SslMode::Disable),
            ("postgres://a@127.0.0.1/b", SslMode::Disable),
            ("postgres://a@localhost/b?sslmode=require", SslMode::Require),
            ("host=/run/postgresql user=a", SslMode::Disable),
        ] {
            let settings = EngineSettings::parse(url).expect(url);
            assert_eq!(settings.config.get_ssl_mode(), mode, "{url}");
        }
    }
}
