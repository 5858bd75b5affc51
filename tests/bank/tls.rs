//! TLS: who is let in, who is trusted, and certificates that are renewed while the bank runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bank::grpc::proto;
use bank::grpc::proto::bank_service_client::BankServiceClient;
use bank::server::{Options, Tls, TlsFiles};
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    AlertDescription, ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::support::certificates::{Authority, Issued, Mounted, expired, not_yet_valid};
use crate::support::process::{Running, bank, run};
use crate::support::{TestServer, create};

/// How often a server of the tests looks for new certificates.
const INTERVAL: Duration = Duration::from_millis(10);

const TELLER: &str = "spiffe://cluster/ns/pay/sa/teller";

/// The files of a server: its certificate, and the CA of its clients if they need one.
fn files<'a>(server: &'a Issued, client_ca: Option<&'a Authority>) -> Vec<(&'a str, &'a str)> {
    let mut files = vec![("tls.crt", &*server.certificate), ("tls.key", &*server.key)];
    files.extend(client_ca.map(|ca| ("ca.crt", &*ca.pem)));
    files
}

async fn serve(mounted: &Mounted, is_client_ca_given: bool) -> TestServer {
    let files = TlsFiles {
        certificate: mounted.path("tls.crt"),
        key: mounted.path("tls.key"),
        client_ca: is_client_ca_given.then(|| mounted.path("ca.crt")),
    };
    let tls = Some(Tls::load(files, INTERVAL).expect("they are good"));
    TestServer::start_with(Options { tls, ..Options::default() }).await
}

fn endpoint(server: &TestServer, trusted: &Authority, identity: Option<&Issued>) -> Endpoint {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&trusted.pem));
    if let Some(Issued { certificate, key, .. }) = identity {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    Endpoint::from_shared(format!("https://localhost:{}", server.address.port()))
        .and_then(|endpoint| endpoint.tls_config(tls))
        .expect("it is well formed")
}

async fn client(
    server: &TestServer,
    trusted: &Authority,
    identity: Option<&Issued>,
) -> BankServiceClient<Channel> {
    let channel = endpoint(server, trusted, identity).connect().await.expect("it is trusted");
    BankServiceClient::new(channel)
}

/// Connects below HTTP/2.
async fn handshake(
    server: &TestServer,
    trusted: &Authority,
    identity: Option<&Issued>,
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(trusted.pem.as_bytes()).expect("it is a certificate"))
        .expect("it is a CA");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("they are known")
        .with_root_certificates(roots);
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some(Issued { certificate, key, .. }) => {
            let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
                .collect::<Result<_, _>>()
                .expect("it is a certificate");
            let key = PemObject::from_pem_slice(key.as_bytes()).expect("it is a key");
            config.with_client_auth_cert(chain, key).expect("they belong together")
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("localhost").expect("it is a name");
    let stream = TcpStream::connect(server.address).await?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// The certificate that a server shows to a new connection.
async fn shown(server: &TestServer, trusted: &Authority, identity: Option<&Issued>) -> Vec<u8> {
    let stream =
        handshake(server, trusted, identity, rustls::ALL_VERSIONS).await.expect("it is trusted");
    let chain = stream.get_ref().1.peer_certificates().expect("it shows one");
    chain[0].to_vec()
}

/// With which alert a server ends a connection: in TLS 1.3 it comes after the handshake.
async fn alert(
    server: &TestServer,
    trusted: &Authority,
    identity: Option<&Issued>,
    versions: &[&'static SupportedProtocolVersion],
) -> Option<AlertDescription> {
    let ended = async {
        let mut stream = handshake(server, trusted, identity, versions).await?;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
        stream.read(&mut [0; 100]).await.map(|_| ())
    };
    let error = ended.await.err()?;
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

#[tokio::test]
async fn calls_are_encrypted_in_tls_1_2_and_1_3() {
    let authority = Authority::new();
    let mounted = Mounted::new(&files(&authority.server(), None));
    let server = serve(&mounted, false).await;
    let mut client = client(&server, &authority, None).await;
    client.create_account(create("alice", "USD")).await.expect("it is served");

    for (version, number) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let stream = handshake(&server, &authority, None, &[version]).await.expect("it is known");
        let (_, session) = stream.get_ref();
        assert_eq!(session.protocol_version(), Some(number));
        assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
    }
    // Nothing is told to who doesn't encrypt.
    let plain = server.endpoint().connect().await;
    let told = match plain {
        Err(_) => false,
        Ok(channel) => {
            let request = proto::GetAccountRequest { account_id: "alice".to_owned() };
            BankServiceClient::new(channel).get_account(request).await.is_ok()
        }
    };
    assert!(!told);
}

#[tokio::test]
async fn a_client_does_not_trust_whom_it_should_not() {
    let authority = Authority::new();
    let named_otherwise = authority.issue(ServerAuth, |params| {
        params.subject_alt_names =
            vec![rcgen::SanType::DnsName("bank.example".try_into().expect("it is ASCII"))];
    });
    for (issued, trusted) in
        [(authority.server(), &Authority::new()), (named_otherwise, &authority)]
    {
        let mounted = Mounted::new(&files(&issued, None));
        let server = serve(&mounted, false).await;
        assert!(endpoint(&server, trusted, None).connect().await.is_err());
    }
}

#[tokio::test]
async fn only_clients_of_the_ca_are_let_in() {
    let authority = Authority::new();
    let mounted = Mounted::new(&files(&authority.server(), Some(&authority)));
    let server = serve(&mounted, true).await;
    let teller = authority.client(TELLER);
    let mut client = client(&server, &authority, Some(&teller)).await;
    client.create_account(create("alice", "USD")).await.expect("it is let in");

    let other_authority = Authority::new();
    for version in rustls::ALL_VERSIONS {
        for (what, identity, expected) in [
            ("none", None, AlertDescription::CertificateRequired),
            ("other CA", Some(other_authority.client(TELLER)), AlertDescription::UnknownCA),
            (
                "expired",
                Some(authority.issue(ClientAuth, expired)),
                AlertDescription::CertificateExpired,
            ),
            (
                "of the future",
                Some(authority.issue(ClientAuth, not_yet_valid)),
                AlertDescription::CertificateExpired,
            ),
            (
                "for servers",
                Some(authority.issue(ServerAuth, |_| {})),
                AlertDescription::UnsupportedCertificate,
            ),
        ] {
            let alert = alert(&server, &authority, identity.as_ref(), &[version]).await;
            assert_eq!(alert, Some(expected), "{what} {:?}", version.version);
        }
    }
    client
        .get_account(proto::GetAccountRequest { account_id: "alice".to_owned() })
        .await
        .expect("it is let in still");
}

#[test]
fn files_that_can_not_be_used_are_named_at_the_start() {
    let authority = Authority::new();
    let server = authority.server();
    let other = authority.server();
    let old = authority.issue(ServerAuth, expired);
    let future = authority.issue(ServerAuth, not_yet_valid);
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let cut = &server.certificate[..server.certificate.len() - 30];
    let cases: [(&str, [&str; 3], &[&str]); 11] = [
        ("empty", ["", &server.key, &authority.pem], &["tls.crt", "no certificate"]),
        ("key", [&server.key, &server.key, &authority.pem], &["tls.crt", "no certificate"]),
        ("cut off", [cut, &server.key, &authority.pem], &["tls.crt"]),
        ("garbage", [garbage, &server.key, &authority.pem], &["tls.crt"]),
        ("no key", [&server.certificate, "", &authority.pem], &["tls.key", "no private key"]),
        (
            "no key",
            [&server.certificate, &server.certificate, &authority.pem],
            &["tls.key", "no private key"],
        ),
        (
            "other key",
            [&server.certificate, &other.key, &authority.pem],
            &["tls.key", "not the key of", "tls.crt"],
        ),
        (
            "expired",
            [&old.certificate, &old.key, &authority.pem],
            &["tls.crt", "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"],
        ),
        ("future", [&future.certificate, &future.key, &authority.pem], &["tls.crt", "2990-01-01"]),
        ("no CA", [&server.certificate, &server.key, ""], &["ca.crt", "no certificate"]),
        ("no CA", [&server.certificate, &server.key, garbage], &["ca.crt"]),
    ];
    for (what, [certificate, key, ca], words) in cases {
        let mounted = Mounted::new(&[("tls.crt", certificate), ("tls.key", key), ("ca.crt", ca)]);
        let output = run(&mut serve_command(&mounted, true));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{what}: {text}");
        assert_eq!(text.lines().count(), 1, "{what}: {text}");
        for word in words {
            assert!(text.contains(word), "{what}: {word} is not in: {text}");
        }
        assert!(!text.contains(key.lines().nth(1).unwrap_or("no key")), "{what}: {text}");
    }
    let mounted = Mounted::new(&files(&server, None));
    let output = run(&mut serve_command(&mounted, true));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("ca.crt can't be read"), "{text}");
}

#[test]
fn settings_that_do_not_go_together_end_with_64() {
    for (arguments, words) in [
        (&["serve", "--tls-cert", "a"][..], &["--tls-key"][..]),
        (&["serve", "--tls-key", "a"], &["--tls-cert"]),
        (&["serve", "--tls-client-ca", "a"], &["--tls-cert"]),
        (&["serve", "--tls-reload-interval", "0s"], &["--tls-reload-interval"]),
        (&["serve", "--listen", "0.0.0.0:0"], &["0.0.0.0", "--tls-cert", "--insecure"]),
        (
            &["serve", "--listen", "[::]:0", "--tls-cert", "a", "--tls-key", "b"],
            &["[::]", "--tls-client-ca", "--insecure"],
        ),
        (&["balance", "alice", "--tls-ca", "a"], &["http://127.0.0.1:50051", "https://"]),
        (&["balance", "alice", "--tls-cert", "a"], &["--tls-key"]),
        (&["balance", "alice", "--tls-name", "not a name"], &["--tls-name"]),
        (&["balance", "alice", "--endpoint", "https://a", "--tls-ca", "/none"], &["/none"]),
    ] {
        let output = run(&mut bank(arguments));
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{arguments:?}: {text}");
        for word in words {
            assert!(text.contains(word), "{word} is not in: {text}");
        }
    }
}

#[test]
fn who_says_so_may_listen_to_everybody() {
    for (name, value) in [("BANK_INSECURE", "true"), ("BANK_LOG_FORMAT", "text")] {
        let mut command = bank(&["serve", "--listen", "0.0.0.0:0"]);
        command.env(name, value);
        if name != "BANK_INSECURE" {
            command.arg("--insecure");
        }
        let running = Running::start(&mut command);
        let endpoint = running.endpoint().replace("0.0.0.0", "127.0.0.1");
        let healthy = run(&mut bank(&["healthcheck", "--endpoint", &endpoint]));
        assert_eq!(healthy.status.code(), Some(0), "{healthy:?}");
        running.kill();
    }
}

fn serve_command(mounted: &Mounted, is_client_ca_given: bool) -> std::process::Command {
    let mut command = bank(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("BANK_TLS_CERT", mounted.path("tls.crt"));
    command.env("BANK_TLS_KEY", mounted.path("tls.key"));
    command.env("BANK_TLS_RELOAD_INTERVAL", "10ms");
    if is_client_ca_given {
        command.env("BANK_TLS_CLIENT_CA", mounted.path("ca.crt"));
    }
    command
}

/// Sixteen callers, and as many that connect anew for every call, while the certificates change again and
/// again: no call fails, and new connections see what is new.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_renewed_under_load() {
    let authority = Authority::new();
    let mut mounted = Mounted::new(&files(&authority.server(), Some(&authority)));
    let server = Arc::new(serve(&mounted, true).await);
    let teller = authority.client(TELLER);
    let authority = Arc::new(authority);
    let mut first = client(&server, &authority, Some(&teller)).await;
    first.create_account(create("alice", "USD")).await.expect("it opens");

    let is_over = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicUsize::new(0));
    let mut callers = Vec::new();
    for number in 0..16 {
        let (server, authority, teller) = (server.clone(), authority.clone(), teller.clone());
        let (is_over, calls) = (is_over.clone(), calls.clone());
        callers.push(tokio::spawn(async move {
            let mut client = client(&server, &authority, Some(&teller)).await;
            while !is_over.load(Ordering::Relaxed) {
                if number % 2 == 0 {
                    client = self::client(&server, &authority, Some(&teller)).await;
                }
                let request = proto::GetAccountRequest { account_id: "alice".to_owned() };
                client.get_account(request).await.expect("it is answered");
                calls.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for _ in 0..5 {
        let renewed = authority.server();
        mounted.renew(&files(&renewed, Some(&authority)));
        while shown(&server, &authority, Some(&teller)).await != renewed.der {}
    }
    is_over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("no call has failed");
    }
    assert!(calls.load(Ordering::Relaxed) > 16);
}

/// With another CA for the clients, those of the old one can't connect any more; a connection that is there
/// goes on.
#[tokio::test]
async fn the_ca_of_the_clients_is_renewed_as_well() {
    let authority = Authority::new();
    let certificate = authority.server();
    let mut mounted = Mounted::new(&files(&certificate, Some(&authority)));
    let server = serve(&mounted, true).await;
    let old = authority.client(TELLER);
    let mut connected = client(&server, &authority, Some(&old)).await;
    connected.create_account(create("alice", "USD")).await.expect("it is let in");

    let other_authority = Authority::new();
    let new = other_authority.client(TELLER);
    let is_refused = |identity: Issued| {
        let (server, authority) = (&server, &authority);
        async move {
            let versions = [&rustls::version::TLS12];
            alert(server, authority, Some(&identity), &versions).await
                == Some(AlertDescription::UnknownCA)
        }
    };
    assert!(is_refused(new.clone()).await);
    mounted.renew(&files(&certificate, Some(&other_authority)));
    while is_refused(new.clone()).await {}
    assert!(is_refused(old).await);
    client(&server, &authority, Some(&new))
        .await
        .create_account(create("bob", "USD"))
        .await
        .expect("it is let in");
    connected.create_account(create("carol", "USD")).await.expect("it goes on");
}

/// Whatever is wrong with a renewal is told once; the old certificate stays, and the next one that is good is
/// taken.
#[test]
fn a_bad_renewal_changes_nothing() {
    let authority = Authority::new();
    let good = authority.server();
    let mut mounted = Mounted::new(&files(&good, None));
    let mut running = Running::start(&mut serve_command(&mounted, false));
    running.wait_for("valid_until");
    let clients = Mounted::new(&[("ca.crt", &authority.pem)]);
    let endpoint = running.secure_endpoint();
    let is_served = || {
        let ca = clients.text("ca.crt");
        let output = run(&mut bank(&["healthcheck", "--endpoint", &endpoint, "--tls-ca", &ca]));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    };
    is_served();

    let old = authority.issue(ServerAuth, expired);
    let other = authority.server();
    for (certificate, key, word) in [
        (&*other.certificate, &*good.key, "not the key"),
        (&old.certificate, &old.key, "valid only"),
        ("", &good.key, "no certificate"),
    ] {
        mounted.renew(&[("tls.crt", certificate), ("tls.key", key)]);
        let lines = running.wait_for("can't be renewed");
        assert!(lines.last().is_some_and(|line| line.contains(word)), "{lines:?}");
        let told = lines.iter().filter(|line| line.contains("renewed")).count();
        assert_eq!(told, 1, "{lines:?}");
        is_served();
    }
    // Some of it may be missing for a moment, too.
    mounted.renew(&[("tls.crt", &good.certificate)]);
    let lines = running.wait_for("can't be renewed");
    assert!(lines.last().is_some_and(|line| line.contains("tls.key can't be read")), "{lines:?}");
    is_served();

    // It is the certificate of another CA that is shown now.
    let other_authority = Authority::new();
    mounted.renew(&files(&other_authority.server(), None));
    let lines = running.wait_for("was renewed");
    assert!(!lines.iter().any(|line| line.contains("can't be renewed")), "{lines:?}");
    let ca = clients.text("ca.crt");
    let output = run(&mut bank(&["healthcheck", "--endpoint", &endpoint, "--tls-ca", &ca]));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    running.kill();
}

/// Our own commands call a bank with TLS, and say what is wrong when they can't.
#[test]
fn the_commands_call_a_bank_with_tls() {
    let authority = Authority::new();
    let teller = authority.client(TELLER);
    let stranger = Authority::new().client(TELLER);
    let old = authority.issue(ClientAuth, expired);
    let clients = Mounted::new(&[
        ("ca.crt", &authority.pem),
        ("other_ca.crt", &Authority::new().pem),
        ("teller.crt", &teller.certificate),
        ("teller.key", &teller.key),
        ("stranger.crt", &stranger.certificate),
        ("stranger.key", &stranger.key),
        ("old.crt", &old.certificate),
        ("old.key", &old.key),
        ("empty", ""),
    ]);
    let mounted = Mounted::new(&files(&authority.server(), Some(&authority)));
    let running = Running::start(&mut serve_command(&mounted, true));
    let endpoint = running.secure_endpoint();
    let by_name = endpoint.replace("127.0.0.1", "localhost");
    let call = |line: &str, endpoint: &str, ca: &str, certificate: &str, name: Option<&str>| {
        let arguments: Vec<&str> = line.split(' ').collect();
        let mut command = bank(&arguments);
        command.env("BANK_ENDPOINT", endpoint).env("BANK_CLIENT_TLS_CA", clients.path(ca));
        if !certificate.is_empty() {
            command.env("BANK_CLIENT_TLS_CERT", clients.path(&format!("{certificate}.crt")));
            command.env("BANK_CLIENT_TLS_KEY", clients.path(&format!("{certificate}.key")));
        }
        if let Some(name) = name {
            command.env("BANK_CLIENT_TLS_NAME", name);
        }
        let output = run(&mut command);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    for endpoint in [&endpoint, &by_name] {
        assert_eq!(
            call("healthcheck", endpoint, "ca.crt", "teller", None),
            (Some(0), String::new())
        );
    }
    let create = "account create alice --currency USD --request-id r1";
    assert_eq!(call(create, &endpoint, "ca.crt", "teller", None).0, Some(0));
    let named = call("balance alice", &endpoint, "ca.crt", "teller", Some("localhost"));
    assert_eq!(named, (Some(0), String::new()));

    for (ca, certificate, name, code, word) in [
        ("other_ca.crt", "teller", None, 1, "--tls-ca"),
        ("ca.crt", "teller", Some("bank.example"), 1, "bank.example"),
        ("ca.crt", "", None, 5, "--tls-cert"),
        ("ca.crt", "stranger", None, 5, "UnknownCA"),
        ("ca.crt", "old", None, 5, "CertificateExpired"),
        ("empty", "teller", None, 64, "no certificate"),
    ] {
        let (exit_code, said) = call("balance alice", &endpoint, ca, certificate, name);
        assert_eq!(exit_code, Some(code), "{said}");
        assert!(said.contains(word), "{word} is not in: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        let (exit_code, said) = call("healthcheck", &endpoint, ca, certificate, name);
        assert_eq!(exit_code, Some(1), "{said}");
        assert!(said.contains(word), "{word} is not in: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    // The wrong way round, either way.
    let plain = Running::start(&mut bank(&["serve", "--listen", "127.0.0.1:0"]));
    let (code, said) =
        call("balance alice --timeout 1s", &plain.secure_endpoint(), "ca.crt", "", None);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("TLS"), "{said}");
    let insecure = run(
        bank(&["balance", "alice", "--timeout", "1s"]).env("BANK_ENDPOINT", running.endpoint())
    );
    let said = String::from_utf8_lossy(&insecure.stderr).into_owned();
    assert_eq!(insecure.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("https://"), "{said}");
}
