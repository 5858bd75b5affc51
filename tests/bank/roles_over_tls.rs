//! Roles by certificates, over the whole way: who is on the other side of a connection is what its handshake
//! has proved, and what it may call is what the file of callers says of that name.

use std::time::Duration;

use bank::grpc::proto;
use bank::grpc::proto::bank_service_client::BankServiceClient;
use bank::server::{Options, Tls, TlsFiles};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

use crate::support::callers::{CallerFile, entry, token};
use crate::support::certificates::{Authority, Issued, Mounted};
use crate::support::methods::{call, is_allowed, methods};
use crate::support::{
    Details, ManualClock, TestServer, create, deposit, memory_store, transfer, withdraw,
};

/// A bank that asks for certificates and knows some of their names.
struct Guarded {
    server: TestServer,
    authority: Authority,
    _files: Mounted,
}

impl Guarded {
    async fn start(entries: &[String]) -> Self {
        let authority = Authority::new();
        let Issued { certificate, key, .. } = authority.server();
        let files = Mounted::new(&[
            ("tls.crt", &certificate),
            ("tls.key", &key),
            ("ca.crt", &authority.pem),
        ]);
        let tls = TlsFiles {
            certificate: files.path("tls.crt"),
            key: files.path("tls.key"),
            client_ca: Some(files.path("ca.crt")),
        };
        let tls = Tls::load(tls, Duration::from_secs(3600)).expect("they are good");
        let access = CallerFile::new(entries).access();
        let options = Options { tls: Some(tls), access, ..Options::default() };
        let clock = ManualClock::new();
        let server = TestServer::over_with(memory_store(&clock), clock, options).await;
        Self { server, authority, _files: files }
    }

    /// A connection of whoever has this name in a certificate of the CA.
    async fn connect(&self, name: &str) -> Channel {
        let Issued { certificate, key, .. } =
            self.authority.client(&format!("spiffe://bank.test/{name}"));
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.authority.pem))
            .identity(Identity::from_pem(certificate, key));
        Endpoint::from_shared(format!("https://localhost:{}", self.server.address.port()))
            .and_then(|endpoint| endpoint.tls_config(tls))
            .expect("it is well formed")
            .connect()
            .await
            .expect("it is trusted")
    }

    async fn client(&self, name: &str) -> BankServiceClient<Channel> {
        BankServiceClient::new(self.connect(name).await)
    }
}

#[track_caller]
fn assert_denied(status: &Status, code: Code, reason: &str, what: &str) {
    assert_eq!(status.code(), code, "{what}: {status:?}");
    assert_eq!(Details::of(status).reason, reason, "{what}");
}

/// Every method with the certificate of every role, of one that is confined, and of one whom nobody knows.
#[tokio::test]
async fn every_method_with_every_certificate() {
    const CALLERS: [(&str, &str, bool); 5] = [
        ("eye", "reader", false),
        ("till", "teller", false),
        ("boss", "admin", false),
        ("shop", "teller", true),
        ("branch", "admin", true),
    ];
    let prefixes = |is_confined| if is_confined { &["shop:"][..] } else { &[] };
    let entries = CALLERS.map(|(name, role, is_confined)| entry(name, role, prefixes(is_confined)));
    let bank = Guarded::start(&entries).await;
    let mut known = Vec::new();
    for (name, role, is_confined) in CALLERS {
        known.push((name, role, is_confined, bank.connect(name).await));
    }
    let stranger = bank.connect("nobody").await;
    for (path, need) in methods() {
        for (name, role, is_confined, channel) in &known {
            let outcome = call(channel, &path, None).await;
            let what = format!("{path} for {name}");
            if is_allowed(&path, need, role, *is_confined) {
                let code = outcome.err().map(|status| status.code());
                let denied = [Some(Code::Unauthenticated), Some(Code::PermissionDenied)];
                assert!(!denied.contains(&code), "{what}: {code:?}");
            } else {
                let status = outcome.expect_err(&what);
                assert_denied(&status, Code::PermissionDenied, "PERMISSION_DENIED", &what);
            }
        }
        let outcome = call(&stranger, &path, None).await;
        if need == "nothing" {
            let code = outcome.err().map(|status| status.code());
            assert_ne!(code, Some(Code::Unauthenticated), "{path}");
        } else {
            let status = outcome.expect_err(&path);
            assert_denied(&status, Code::Unauthenticated, "UNAUTHENTICATED", &path);
        }
    }
}

/// A day of four callers: each does what is its own, and is kept from what is not.
#[tokio::test]
async fn a_certificate_is_good_for_its_role_and_its_accounts() {
    let bank = Guarded::start(&[
        entry("eye", "reader", &[]),
        entry("till", "teller", &[]),
        entry("boss", "admin", &[]),
        entry("shop", "teller", &["shop:"]),
    ])
    .await;
    let mut boss = bank.client("boss").await;
    for account in ["alice", "shop:1", "shop:2"] {
        boss.create_account(create(account, "USD")).await.expect("it opens");
    }
    let mut till = bank.client("till").await;
    till.deposit(deposit("alice", 100, "USD")).await.expect("it is posted");
    till.transfer(transfer("alice", "shop:1", 60, "USD")).await.expect("it is paid");
    let denied = "PERMISSION_DENIED";
    let status = till.create_account(create("bob", "USD")).await.expect_err("it is a teller");
    assert_denied(&status, Code::PermissionDenied, denied, "till opens");

    let balance = |account_id: &str| proto::GetBalanceRequest {
        account_id: account_id.to_owned(),
        as_of_time: None,
    };
    let mut eye = bank.client("eye").await;
    let seen = eye.get_balance(balance("alice")).await.expect("it reads").into_inner();
    assert_eq!(seen.balance.expect("it is set").posted, 40);
    let status = eye.deposit(deposit("alice", 1, "USD")).await.expect_err("it is a reader");
    assert_denied(&status, Code::PermissionDenied, denied, "eye pays in");

    let mut shop = bank.client("shop").await;
    shop.transfer(transfer("shop:1", "shop:2", 10, "USD")).await.expect("both are its own");
    shop.withdraw(withdraw("shop:2", 10, "USD")).await.expect("it is its own");
    let paid = shop.transfer(transfer("shop:1", "alice", 10, "USD")).await;
    assert_denied(&paid.expect_err("not its own"), Code::PermissionDenied, denied, "shop pays");
    for account in ["alice", "nobody"] {
        let status = shop.get_balance(balance(account)).await.expect_err("it is not its own");
        assert_denied(&status, Code::PermissionDenied, denied, account);
    }
    let seen = shop.get_balance(balance("shop:1")).await.expect("it reads").into_inner();
    assert_eq!(seen.balance.expect("it is set").posted, 50);

    let mut nobody = bank.client("nobody").await;
    let status = nobody.get_balance(balance("alice")).await.expect_err("nobody knows it");
    assert_denied(&status, Code::Unauthenticated, "UNAUTHENTICATED", "nobody reads");
}

/// Where there is a token too, it counts alone: a certificate adds nothing to what it is good for.
#[tokio::test]
async fn a_token_counts_alone_beside_a_certificate() {
    let bank = Guarded::start(&[entry("boss", "admin", &[]), entry("eye", "reader", &[])]).await;
    let path = "/bank.v1.BankService/Deposit";
    let boss = bank.connect("boss").await;
    let status = call(&boss, path, Some(&token("eye"))).await.expect_err("it is a reader's");
    assert_denied(&status, Code::PermissionDenied, "PERMISSION_DENIED", "a reader's token");
    let status = call(&boss, path, Some("wrong-token")).await.expect_err("nobody knows it");
    assert_denied(&status, Code::Unauthenticated, "UNAUTHENTICATED", "a wrong token");
    let eye = bank.connect("eye").await;
    let status = call(&eye, path, Some(&token("boss"))).await.expect_err("it says nothing");
    assert_denied(&status, Code::InvalidArgument, "INVALID_REQUEST", "an admin's token");
}
