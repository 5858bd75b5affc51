//! Who is recognised, and what each role may call: tokens, JWTs, certificates, every method with every role,
//! and how fast a caller may ask.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bank::auth::{
    Authentication, Caller, Expected, Jwt, KeySource, Rate, Rates, RemoteKeys, Unidentified,
};
use bank::grpc::peer::Peer;
use bank::grpc::proto::bank_service_client::BankServiceClient;
use bank::grpc::proto::bank_service_server::BankServiceServer;
use bank::grpc::proto::operation::Operation as Kind;
use bank::grpc::proto::operation_result::Result as Outcome;
use bank::grpc::{Access, Admission, Capacity, Service, edge, proto};
use bank::ledger::{RequestId, Sequence};
use bank::server::Options;
use bank::store::{RecordKey, Store};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use prost::Message;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::support::callers::{
    AUDIENCE, CallerFile, ISSUER, IssuerKey, claims, client_of, entry, key_set, token,
};
use crate::support::methods::{call, is_allowed, methods};
use crate::support::raw::framed;
use crate::support::{
    Details, ManualClock, TestServer, create, create_with, deposit, memory_store,
};

#[tokio::test]
async fn every_method_with_every_role() {
    let roles = ["reader", "teller", "admin"];
    let mut entries = Vec::new();
    for role in roles {
        entries.push(entry(role, role, &[]));
        entries.push(entry(&format!("confined-{role}"), role, &["own:"]));
    }
    let file = CallerFile::new(&entries);
    let server = file.serve().await;
    let channel = server.channel().await;
    let mut cells = 0;
    for (path, need) in methods() {
        for token in [None, Some("wrong-token"), Some(""), Some("a.b.c")] {
            let outcome = call(&channel, &path, token).await;
            if need == "nothing" {
                assert_ne!(
                    outcome.err().map(|it| it.code()),
                    Some(Code::Unauthenticated),
                    "{path}"
                );
                continue;
            }
            let status = outcome.expect_err(&path);
            assert_eq!(status.code(), Code::Unauthenticated, "{path} {token:?}");
            assert_eq!(Details::of(&status).reason, "UNAUTHENTICATED");
            cells += 1;
        }
        for role in roles {
            for confined in [false, true] {
                let name = if confined { format!("confined-{role}") } else { role.to_owned() };
                let outcome = call(&channel, &path, Some(&token(&name))).await;
                if is_allowed(&path, need, role, confined) {
                    let code = outcome.err().map(|status| status.code());
                    let denied = [Some(Code::Unauthenticated), Some(Code::PermissionDenied)];
                    assert!(!denied.contains(&code), "{path} for {name}: {code:?}");
                } else {
                    let status = outcome.expect_err(&format!("{path} for {name}"));
                    assert_eq!(status.code(), Code::PermissionDenied, "{path} for {name}");
                    assert_eq!(Details::of(&status).reason, "PERMISSION_DENIED");
                }
                cells += 1;
            }
        }
    }
    assert_eq!(cells, 25 * 10 + 2 * 6);
}

/// What has no row in the table is nobody's, and a stranger isn't told whether there is such a method.
#[tokio::test]
async fn what_is_no_method_is_denied_to_everybody() {
    let file = CallerFile::new(&[entry("admin", "admin", &[])]);
    let server = file.serve().await;
    let channel = server.channel().await;
    for path in ["/bank.v1.BankService/Nothing", "/bank.v2.BankService/Deposit", "/x.Y/Z"] {
        let status = call(&channel, path, None).await.expect_err(path);
        assert_eq!(status.code(), Code::Unauthenticated, "{path}");
        let status = call(&channel, path, Some(&token("admin"))).await.expect_err(path);
        assert_eq!(status.code(), Code::PermissionDenied, "{path}");
    }
    let open = TestServer::start().await;
    let status = call(&open.channel().await, "/x.Y/Z", None).await.expect_err("there is none");
    assert_eq!(status.code(), Code::Unimplemented);
}

/// Who calls and what it may do come before all else that may be wrong: the form, the deadline, the end.
#[tokio::test]
async fn who_calls_is_settled_before_anything_else() {
    let file = CallerFile::new(&[entry("eye", "reader", &[])]);
    let store = Arc::new(memory_store(&ManualClock::new()));
    let draining = CancellationToken::new();
    draining.cancel();
    for (token, code) in
        [(None, Code::Unauthenticated), (Some("eye-token"), Code::PermissionDenied)]
    {
        let mut request = post("Deposit", &proto::DepositRequest::default());
        request.headers_mut().insert("grpc-timeout", "nonsense".parse().expect("a value"));
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().expect("a value");
            request.headers_mut().insert("authorization", value);
        }
        let status = through_edge(&store, file.access(), request, draining.clone()).await;
        assert_eq!(status.code(), code);
    }
}

#[tokio::test]
async fn the_callers_name_stands_in_every_record() {
    let entries = [entry("boss", "admin", &[]), entry("till", "teller", &[])];
    let file = CallerFile::new(&entries);
    let clock = ManualClock::new();
    let store = Arc::new(memory_store(&clock));
    let options = Options { access: file.access(), ..Options::default() };
    let server = TestServer::with_shared(store.clone(), clock, options).await;
    let (mut boss, mut till) = (client_of(&server, "boss").await, client_of(&server, "till").await);
    boss.create_account(create("alice", "USD")).await.expect("it opens");
    let request =
        proto::DepositRequest { request_id: "r".to_owned(), ..deposit("alice", 5, "USD") };
    till.deposit(request.clone()).await.expect("it is posted");
    let again = boss.deposit(request).await.expect("it is a repeat").into_inner();
    assert!(again.replayed, "the caller is no part of what makes a repeat");
    let kept = proto::WithdrawRequest {
        request_id: "w".to_owned(),
        account_id: "alice".to_owned(),
        amount: Some(crate::support::money(50, "USD")),
        ..Default::default()
    };
    till.withdraw(kept).await.expect_err("it is too much");
    let one = |it: proto::DepositRequest| proto::Operation { operation: Some(Kind::Deposit(it)) };
    let operations = vec![one(deposit("alice", 1, "USD")), one(deposit("alice", 2, "USD"))];
    for atomic in [true, false] {
        let batch = proto::ExecuteBatchRequest { operations: operations.clone(), atomic };
        boss.execute_batch(batch).await.expect("it is done");
    }
    let message = proto::ExecuteStreamRequest {
        operation: Some(one(deposit("alice", 3, "USD"))),
        correlation_id: 1,
    };
    let results = till.execute_stream(tokio_stream::iter([message])).await.expect("it begins");
    results.into_inner().message().await.expect("it goes on").expect("it goes on");

    let mut callers = Vec::new();
    for number in 1.. {
        let key = RecordKey::Sequence(Sequence::new(number));
        let Some(linked) = store.record(&key).await.expect("it can be read") else { break };
        callers.push(linked.record.request.caller.expect("it is there").to_string());
    }
    assert_eq!(callers, ["boss", "till", "till", "boss", "boss", "boss", "boss", "till"]);
    let key = RecordKey::RequestId(RequestId::parse("r").expect("an id"));
    let first = store.record(&key).await.expect("it can be read").expect("it is there");
    assert_eq!(first.record.request.caller.expect("it is there").as_str(), "till");
}

#[tokio::test]
async fn a_changed_file_counts_at_once_and_a_bad_one_changes_nothing() {
    let file = CallerFile::new(&[entry("old", "admin", &[])]);
    let server = file.serve().await;
    let (mut old, mut new) = (client_of(&server, "old").await, client_of(&server, "new").await);
    old.create_account(create("alice", "USD")).await.expect("it opens");
    let status = new.deposit(deposit("alice", 1, "USD")).await.expect_err("it is not known");
    assert_eq!(status.code(), Code::Unauthenticated);

    // Streams of the old caller, which are under way.
    let request = proto::WatchTransactionsRequest::default();
    let mut feed = old.watch_transactions(request).await.expect("it begins").into_inner();
    feed.message().await.expect("it goes on").expect("it goes on");
    let (operations, arriving) = tokio::sync::mpsc::channel(4);
    let arriving = tokio_stream::wrappers::ReceiverStream::new(arriving);
    let mut pipe = old.execute_stream(arriving).await.expect("it begins").into_inner();
    let one = proto::ExecuteStreamRequest {
        operation: Some(proto::Operation {
            operation: Some(Kind::Deposit(deposit("alice", 1, "USD"))),
        }),
        correlation_id: 1,
    };
    operations.send(one.clone()).await.expect("it is read");
    pipe.message().await.expect("it goes on").expect("it goes on");

    assert!(!file.change("[[caller]]\nname = "), "it is bad");
    old.deposit(deposit("alice", 1, "USD")).await.expect("what it said before stands");
    assert!(file.change(&entry("new", "teller", &[])));
    new.deposit(deposit("alice", 1, "USD")).await.expect("it is known now");
    let status = old.deposit(deposit("alice", 1, "USD")).await.expect_err("it is known no more");
    assert_eq!(status.code(), Code::Unauthenticated);

    operations.send(one).await.expect("it is read");
    let status = pipe.message().await.expect_err("its token is gone");
    assert_eq!(Details::of(&status).reason, "UNAUTHENTICATED");
    let status = loop {
        match feed.message().await {
            Ok(message) => assert!(message.is_some()),
            Err(status) => break status,
        }
    };
    assert_eq!(Details::of(&status).reason, "UNAUTHENTICATED");
}

#[tokio::test]
async fn certificates_are_known_by_their_names() {
    let file = CallerFile::new(&[entry("till", "teller", &[]), entry("eye", "reader", &[])]);
    let store = Arc::new(memory_store(&ManualClock::new()));
    let request = |names: &[&str], bearer: Option<&str>| {
        let mut request = post("Deposit", &deposit("alice", 5, "USD"));
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        request.extensions_mut().insert(Peer { address: None, names });
        if let Some(bearer) = bearer {
            let value = format!("Bearer {bearer}").parse().expect("a value");
            request.headers_mut().insert("authorization", value);
        }
        request
    };
    let (till, eye) = ("spiffe://bank.test/till", "spiffe://bank.test/eye");
    for (names, bearer, code) in [
        // The account isn't there: it was let in.
        (&[till][..], None, Code::NotFound),
        (&["till.bank.test", till], None, Code::NotFound),
        (&[eye], None, Code::PermissionDenied),
        (&[], None, Code::Unauthenticated),
        (&["spiffe://bank.test/tillx"], None, Code::Unauthenticated),
        (&["spiffe://bank.test/"], None, Code::Unauthenticated),
        (&[till, eye], None, Code::Unauthenticated),
        // A token counts alone.
        (&[eye], Some("till-token"), Code::NotFound),
        (&[till], Some("eye-token"), Code::PermissionDenied),
        (&[till], Some("wrong"), Code::Unauthenticated),
    ] {
        let request = request(names, bearer);
        let status = through_edge(&store, file.access(), request, CancellationToken::new()).await;
        assert_eq!(status.code(), code, "{names:?} {bearer:?}: {status:?}");
    }
}

fn expected() -> Expected {
    Expected { issuer: ISSUER.to_owned(), audience: AUDIENCE.to_owned() }
}

fn with_keys_of(content: &str) -> Authentication {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("keys.json");
    std::fs::write(&path, content).expect("it can be written");
    let keys = KeySource::file(&path, &expected()).expect("they are keys");
    Authentication::new(None, Some(Jwt::new(keys)))
}

async fn identify(
    authentication: &Authentication,
    token: &str,
) -> Result<Arc<Caller>, Unidentified> {
    authentication.identify(Some(token), &[]).await
}

#[tokio::test]
async fn a_jwt_says_who_it_is_about() {
    for algorithm in [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256] {
        let (key, other) = (IssuerKey::new("k", algorithm), IssuerKey::new("o", algorithm));
        let authentication = with_keys_of(&key_set(&[&other, &key]));
        let token = key.sign(&claims(json!({ "aud": ["others", AUDIENCE] })));
        let caller = identify(&authentication, &token).await.expect("it is good");
        assert_eq!((caller.name.as_str(), caller.role.name()), ("somebody", "teller"));
        assert!(caller.reach.includes("anything"));

        let confined = claims(json!({ "bank_role": "admin", "bank_account_prefixes": ["own:"] }));
        let caller = identify(&authentication, &key.sign(&confined)).await.expect("it is good");
        assert_eq!(caller.role.name(), "admin");
        assert!(caller.reach.includes("own:1") && !caller.reach.includes("other:1"));
    }
    // One that names no key is of the only one that there is.
    let key = IssuerKey::new("k", Algorithm::ES256);
    let unnamed = key.sign_with(&Header::new(Algorithm::ES256), &claims(json!({})));
    assert!(identify(&with_keys_of(&key_set(&[&key])), &unnamed).await.is_ok());
    let two = key_set(&[&key, &IssuerKey::new("o", Algorithm::ES256)]);
    assert!(identify(&with_keys_of(&two), &unnamed).await.is_err());
}

#[tokio::test]
async fn a_jwt_that_is_not_right_proves_nothing() {
    let key = IssuerKey::new("k", Algorithm::ES256);
    let rsa = IssuerKey::new("rsa", Algorithm::RS256);
    let authentication = with_keys_of(&key_set(&[&key, &rsa]));
    let now = jsonwebtoken::get_current_timestamp();
    let good = key.sign(&claims(json!({})));
    assert!(identify(&authentication, &good).await.is_ok());

    // Signed with a secret that everybody knows: the public key.
    let with_public_key_as_secret = |secret: &[u8], id: &str| {
        let header = Header { kid: Some(id.to_owned()), ..Header::new(Algorithm::HS256) };
        let secret = EncodingKey::from_secret(secret);
        jsonwebtoken::encode(&header, &claims(json!({})), &secret).expect("it can be signed")
    };
    let part = |value: &serde_json::Value| {
        data_encoding::BASE64URL_NOPAD.encode(value.to_string().as_bytes())
    };
    let unsigned = |algorithm: &str| {
        let header = json!({ "alg": algorithm, "typ": "JWT", "kid": "k" });
        format!("{}.{}.", part(&header), part(&claims(json!({}))))
    };
    let signature = good.rsplit('.').next().expect("it has three parts");
    let altered = {
        let payload = part(&claims(json!({ "bank_role": "admin" })));
        let header = good.split('.').next().expect("it has three parts");
        format!("{header}.{payload}.{signature}")
    };
    let named = |id: &str| Header { kid: Some(id.to_owned()), ..Header::new(Algorithm::ES256) };
    let critical = Header { crit: Some(vec!["exp".to_owned()]), ..named("k") };
    let other = IssuerKey::new("k", Algorithm::ES256);
    let stranger = IssuerKey::new("stranger", Algorithm::ES256);
    let modulus = rsa.public()["n"].as_str().expect("it has one").to_owned();
    for (what, token) in [
        ("expired", key.sign(&claims(json!({ "exp": now - 31 })))),
        ("expires never", key.sign(&claims(json!({ "exp": null })))),
        ("expires sometime", key.sign(&claims(json!({ "exp": "tomorrow" })))),
        ("not valid yet", key.sign(&claims(json!({ "nbf": now + 60 })))),
        ("for others", key.sign(&claims(json!({ "aud": "others" })))),
        ("for nobody", key.sign(&claims(json!({ "aud": null })))),
        ("of another issuer", key.sign(&claims(json!({ "iss": "https://issuer.test/" })))),
        ("of no issuer", key.sign(&claims(json!({ "iss": null })))),
        ("about nobody", key.sign(&claims(json!({ "sub": null })))),
        ("about a line break", key.sign(&claims(json!({ "sub": "a\nb" })))),
        ("of another key of that name", other.sign(&claims(json!({})))),
        ("of an unknown key", stranger.sign(&claims(json!({})))),
        (
            "of a key of another kind",
            rsa.sign_with(
                &Header { kid: Some("k".to_owned()), ..Header::new(Algorithm::RS256) },
                &claims(json!({})),
            ),
        ),
        ("with a critical header", key.sign_with(&critical, &claims(json!({})))),
        ("altered", altered),
        ("cut", good[..good.len() - 1].to_owned()),
        ("without its signature", good[..=good.rfind('.').expect("it has")].to_owned()),
        ("alg none", unsigned("none")),
        ("alg None", unsigned("None")),
        ("alg ES256 without a signature", unsigned("ES256")),
        ("HS256 with x", with_public_key_as_secret(b"x", "k")),
        ("HS256 with the key", with_public_key_as_secret(key.public().to_string().as_bytes(), "k")),
        ("HS256 with the modulus", with_public_key_as_secret(modulus.as_bytes(), "rsa")),
        (
            "HS256 with the modulus' bytes",
            with_public_key_as_secret(
                &data_encoding::BASE64URL_NOPAD.decode(modulus.as_bytes()).expect("it is base64"),
                "rsa",
            ),
        ),
        ("no JWT", "bank_token".to_owned()),
        ("dots", "..".to_owned()),
        ("four parts", format!("{good}.x")),
        ("nothing", String::new()),
    ] {
        let outcome = identify(&authentication, &token).await;
        assert!(matches!(outcome, Err(Unidentified::Refused(_))), "{what}: {outcome:?}");
    }
    // A little off is no matter between clocks.
    for changes in [json!({ "exp": now - 10 }), json!({ "nbf": now + 10 })] {
        assert!(identify(&authentication, &key.sign(&claims(changes))).await.is_ok());
    }
    // It is known who it is, but not that it may do anything.
    for changes in [
        json!({ "bank_role": null }),
        json!({ "bank_role": "root" }),
        json!({ "bank_role": ["admin"] }),
        json!({ "bank_account_prefixes": "own:" }),
        json!({ "bank_account_prefixes": [] }),
        json!({ "bank_account_prefixes": ["own:", 1] }),
        json!({ "bank_account_prefixes": [""] }),
    ] {
        let outcome = identify(&authentication, &key.sign(&claims(changes.clone()))).await;
        assert!(matches!(outcome, Err(Unidentified::Unentitled(..))), "{changes}: {outcome:?}");
    }
}

/// One that was found good is good no more when its key is taken away, or other claims are wanted of it.
#[tokio::test]
async fn a_jwt_is_not_remembered_for_longer_than_its_key() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("keys.json");
    let (one, two) =
        (IssuerKey::new("one", Algorithm::ES256), IssuerKey::new("two", Algorithm::ES256));
    std::fs::write(&path, key_set(&[&one, &two])).expect("it can be written");
    let keys = KeySource::file(&path, &expected()).expect("they are keys");
    let KeySource::File(file) = keys.clone() else { panic!("it is a file") };
    let authentication = Authentication::new(None, Some(Jwt::new(keys)));
    let token = one.sign(&claims(json!({})));
    for _ in 0..3 {
        assert!(identify(&authentication, &token).await.is_ok());
    }
    std::fs::write(&path, key_set(&[&two])).expect("it can be written");
    assert!(file.look());
    assert!(identify(&authentication, &token).await.is_err());
}

/// Keys that sign by a secret, or not at all, are none.
#[test]
fn keys_that_anybody_could_sign_with_are_left_out() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("keys.json");
    let mut encryption = IssuerKey::new("k", Algorithm::ES256).public();
    encryption["use"] = json!("enc");
    let mut wrong_kind = IssuerKey::new("k", Algorithm::ES256).public();
    wrong_kind["alg"] = json!("HS256");
    for content in [
        "",
        "{}",
        "[]",
        r#"{"keys": []}"#,
        r#"{"keys": [{"kty": "oct", "kid": "k", "alg": "HS256", "k": "c2VjcmV0"}]}"#,
        r#"{"keys": [{"kty": "unknown"}, 5, null]}"#,
        &json!({ "keys": [encryption] }).to_string(),
        &json!({ "keys": [wrong_kind] }).to_string(),
    ] {
        std::fs::write(&path, content).expect("it can be written");
        assert!(KeySource::file(&path, &expected()).is_err(), "{content}");
    }
}

/// A place where an issuer publishes its keys.
struct Publisher {
    url: String,
    asked: Arc<AtomicUsize>,
    answer: Arc<std::sync::Mutex<Vec<u8>>>,
}

impl Publisher {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/keys", listener.local_addr().expect("it is bound"));
        let asked = Arc::new(AtomicUsize::new(0));
        let answer: Arc<std::sync::Mutex<Vec<u8>>> = Arc::default();
        let (count, content) = (asked.clone(), answer.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (count, content) = (count.clone(), content.clone());
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                        count.fetch_add(1, Ordering::SeqCst);
                        let answer = content.lock().expect("nobody panicked").clone();
                        // Whoever has read enough may leave.
                        if stream.write_all(&answer).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { url, asked, answer }
    }

    fn publish(&self, status: &str, content: &str) {
        let length = content.len();
        *self.answer.lock().expect("nobody panicked") =
            format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{content}").into_bytes();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn authentication(&self, pause: Duration) -> Arc<Authentication> {
        let keys = RemoteKeys::new(&self.url, None, expected(), pause).expect("it is a URL");
        let jwt = Jwt::new(KeySource::Remote(Arc::new(keys)));
        Authentication::new(None, Some(jwt)).start()
    }
}

#[tokio::test]
async fn published_keys_are_fetched_and_changed() {
    let (one, two) =
        (IssuerKey::new("one", Algorithm::ES256), IssuerKey::new("two", Algorithm::ES256));
    let publisher = Publisher::start().await;
    publisher.publish("200 OK", &key_set(&[&one]));
    let of = |key: &IssuerKey| key.sign(&claims(json!({})));

    // Without a pause an unknown key leads to a fetch.
    let eager = publisher.authentication(Duration::ZERO);
    assert!(identify(&eager, &of(&one)).await.is_ok());
    publisher.publish("200 OK", &key_set(&[&two]));
    assert!(identify(&eager, &of(&one)).await.is_ok(), "nobody has asked for others yet");
    assert!(identify(&eager, &of(&two)).await.is_ok());
    assert!(identify(&eager, &of(&one)).await.is_err(), "it is published no more");
    // What can't be used changes nothing.
    for (status, content) in [
        ("200 OK", "no keys"),
        ("500 Internal Server Error", &key_set(&[&one])),
        ("301 Moved Permanently", ""),
        ("200 OK", &" ".repeat((1 << 20) + 1)),
    ] {
        publisher.publish(status, content);
        assert!(identify(&eager, &of(&one)).await.is_err(), "{status}");
        assert!(identify(&eager, &of(&two)).await.is_ok(), "{status}");
    }
    drop(eager);

    // With one, however many come with unknown keys, there is one fetch.
    publisher.publish("200 OK", &key_set(&[&one]));
    let before = publisher.asked();
    let calm = publisher.authentication(RemoteKeys::PAUSE);
    assert!(identify(&calm, &of(&one)).await.is_ok());
    for _ in 0..100 {
        assert!(identify(&calm, &of(&two)).await.is_err());
    }
    assert_eq!(publisher.asked() - before, 1);
}

/// Keys that never could be had are no reason to say that a token is bad.
#[tokio::test]
async fn keys_that_can_not_be_had_are_told_apart() {
    let publisher = Publisher::start().await;
    publisher.publish("503 Service Unavailable", "");
    let authentication = publisher.authentication(RemoteKeys::PAUSE);
    let token = IssuerKey::new("one", Algorithm::ES256).sign(&claims(json!({})));
    assert_eq!(identify(&authentication, &token).await, Err(Unidentified::KeysUnavailable));

    let access = Access { authentication: Some(authentication), ..Access::default() };
    let clock = ManualClock::new();
    let options = Options { access, ..Options::default() };
    let server = TestServer::over_with(memory_store(&clock), clock, options).await;
    let channel = server.channel().await;
    let status = call(&channel, "/bank.v1.BankService/Deposit", Some(&token)).await;
    let status = status.expect_err("it can't be checked");
    assert_eq!(status.code(), Code::Unavailable);
    let details = Details::of(&status);
    assert_eq!(details.reason, "KEYS_UNAVAILABLE");
    assert!(details.all.retry_info().is_some());
}

/// Who never answers is not waited for: time passes only where nothing else can happen.
#[tokio::test(start_paused = true)]
async fn a_publisher_that_does_not_answer_is_given_up() {
    let publisher = Publisher::start().await;
    let authentication = publisher.authentication(RemoteKeys::PAUSE);
    let token = IssuerKey::new("one", Algorithm::ES256).sign(&claims(json!({})));
    assert_eq!(identify(&authentication, &token).await, Err(Unidentified::KeysUnavailable));
}

#[test]
fn keys_come_over_tls_only() {
    for url in ["http://issuer.test/keys", "ftp://127.0.0.1/", "https://", "issuer.test", ""] {
        let keys = RemoteKeys::new(url, None, expected(), RemoteKeys::PAUSE);
        assert!(keys.is_err(), "{url:?}");
    }
    assert!(
        RemoteKeys::new("https://issuer.test/k", Some(b"x"), expected(), Duration::ZERO).is_err()
    );
}

fn slow_rate(burst: u32) -> Arc<Rates> {
    // No test runs into the next hour.
    let burst = NonZeroU32::new(burst).expect("it is above 0");
    let rate = Rate::every(Duration::from_secs(3600), burst).expect("it is above 0");
    Arc::new(Rates::new(rate))
}

#[tokio::test]
async fn a_caller_that_asks_too_fast_is_told_when_to_come_again() {
    let entries = [entry("boss", "admin", &[]), entry("other", "admin", &[])];
    let file = CallerFile::new(&entries);
    let access = Access { rates: Some(slow_rate(3)), ..file.access() };
    let clock = ManualClock::new();
    let store = Arc::new(memory_store(&clock));
    let options = Options { access, ..Options::default() };
    let server = TestServer::with_shared(store.clone(), clock, options).await;
    let (mut boss, mut other) =
        (client_of(&server, "boss").await, client_of(&server, "other").await);
    boss.create_account(create("alice", "USD")).await.expect("it opens");
    // What is denied costs as well.
    boss.create_account(create("", "")).await.expect_err("it is malformed");
    boss.deposit(deposit("alice", 1, "USD")).await.expect("it is the third");
    let request =
        proto::DepositRequest { request_id: "r".to_owned(), ..deposit("alice", 1, "USD") };
    let status = boss.deposit(request.clone()).await.expect_err("it is the fourth");
    assert_eq!(status.code(), Code::ResourceExhausted);
    let details = Details::of(&status);
    assert_eq!(details.reason, "RATE_LIMITED");
    let delay = details.all.retry_info().and_then(|it| it.retry_delay).expect("it is told");
    let (least, most) = (Duration::from_secs(3000), Duration::from_secs(3600));
    assert!((least..=most).contains(&delay), "{delay:?}");

    // Nothing was done, and it is not kept under its request id; health and others go on.
    let key = RecordKey::RequestId(RequestId::parse("r").expect("an id"));
    assert_eq!(store.record(&key).await, Ok(None));
    assert!(!other.deposit(request).await.expect("it has its own").into_inner().replayed);
    let channel = server.channel().await;
    for _ in 0..10 {
        let health = call(&channel, "/grpc.health.v1.Health/Check", None).await;
        health.expect("it is open");
    }
}

#[tokio::test]
async fn operations_of_batches_and_streams_count_each() {
    let file = CallerFile::new(&[entry("boss", "admin", &[])]);
    let clock = ManualClock::new();
    let access = Access { rates: Some(slow_rate(10)), ..file.access() };
    let options = Options { access, ..Options::default() };
    let server = TestServer::over_with(memory_store(&clock), clock, options).await;
    let mut boss = client_of(&server, "boss").await;
    boss.create_account(create("alice", "USD")).await.expect("it opens");
    let batch = |count| proto::ExecuteBatchRequest {
        operations: vec![
            proto::Operation {
                operation: Some(Kind::Deposit(deposit("alice", 1, "USD")))
            };
            count
        ],
        atomic: false,
    };
    let status = boss.execute_batch(batch(11)).await.expect_err("it never fits");
    let details = Details::of(&status);
    assert_eq!(details.reason, "RATE_LIMITED");
    assert_eq!(details.metadata.get("burst").map(String::as_str), Some("10"));
    assert!(details.all.retry_info().is_none_or(|it| it.retry_delay.is_none()));
    let status = boss.execute_batch(batch(10)).await.expect_err("one is spent");
    assert!(Details::of(&status).all.retry_info().is_some());
    boss.execute_batch(batch(5)).await.expect("it fits");

    // A stream is slowed down instead: it costs one itself, and three operations pass.
    let operations = batch(4).operations.into_iter().zip(1..).map(|(operation, number)| {
        proto::ExecuteStreamRequest { operation: Some(operation), correlation_id: number }
    });
    let (sender, arriving) = tokio::sync::mpsc::channel(1);
    let arriving = tokio_stream::wrappers::ReceiverStream::new(arriving);
    let mut results = boss.execute_stream(arriving).await.expect("it begins").into_inner();
    for (number, operation) in operations.enumerate() {
        sender.send(operation).await.expect("it is read");
        if number < 3 {
            let result = results.message().await.expect("it goes on").expect("it goes on");
            let outcome = result.result.and_then(|it| it.result);
            assert!(matches!(outcome, Some(Outcome::Transaction(_))), "{outcome:?}");
        }
    }
    // The fourth waits, and holds up nobody's end.
    server.shut_down();
    let status = results.message().await.expect_err("it ends");
    assert_eq!(Details::of(&status).reason, "DRAINING");
}

#[tokio::test]
async fn without_authentication_an_address_is_a_caller() {
    let access = Access { rates: Some(slow_rate(2)), ..Access::default() };
    let clock = ManualClock::new();
    let options = Options { access, ..Options::default() };
    let server = TestServer::over_with(memory_store(&clock), clock, options).await;
    let mut client = server.client().await;
    client.create_account(create_with("alice", "USD", 5)).await.expect("it opens");
    // Over another connection as well.
    let mut again = BankServiceClient::new(server.channel().await);
    again.deposit(deposit("alice", 1, "USD")).await.expect("it is the second");
    let status = client.deposit(deposit("alice", 1, "USD")).await.expect_err("it is the third");
    assert_eq!(Details::of(&status).reason, "RATE_LIMITED");
}

fn post(method: &str, message: &impl Message) -> http::Request<Body> {
    let body = http_body_util::Full::new(bytes::Bytes::from(framed(&message.encode_to_vec())));
    http::Request::post(format!("http://bank/bank.v1.BankService/{method}"))
        .header("content-type", "application/grpc")
        .body(Body::new(body))
        .expect("it is well formed")
}

/// Sends a request through everything that stands around a call, without a socket.
async fn through_edge<S: Store>(
    store: &Arc<S>,
    access: Access,
    request: http::Request<Body>,
    draining: CancellationToken,
) -> Status {
    let service = BankServiceServer::new(Service::new(store.clone()));
    let around = edge::Around {
        stage: edge::Stage::Ready,
        access,
        admission: &Admission::new(&Capacity::default()),
        draining,
        observer: Arc::default(),
    };
    let response = edge::serve(service, around, request).await;
    let response = response.unwrap_or_else(|error| match error {});
    Status::from_header_map(response.headers()).expect("it is an error")
}
