//! Every method that is served, and calls of any of them.

use std::collections::BTreeMap;

use bank::grpc::proto;
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::client::Grpc;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::callers::WithToken;

/// What every method needs, as the README says it.
const NEEDS: [(&str, &[&str]); 5] = [
    (
        "admin",
        &["CreateAccount", "UpdateAccount", "FreezeAccount", "UnfreezeAccount", "CloseAccount"],
    ),
    (
        "teller",
        &[
            "Deposit",
            "Withdraw",
            "Transfer",
            "ReverseTransaction",
            "PlaceHold",
            "CaptureHold",
            "ReleaseHold",
            "ExecuteBatch",
            "ExecuteStream",
        ],
    ),
    (
        "reader",
        &[
            "GetAccount",
            "ListAccounts",
            "GetBalance",
            "ListTransactions",
            "GetTransaction",
            "GetHold",
            "ListHolds",
            "WatchTransactions",
            "GetTrialBalance",
        ],
    ),
    ("anyone", &["ServerReflectionInfo"]),
    ("nothing", &["Check", "Watch"]),
];

/// Every method that is served, as a path, and what it needs.
pub(crate) fn methods() -> BTreeMap<String, &'static str> {
    let sets = [
        proto::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let mut methods = BTreeMap::new();
    for set in sets {
        for file in FileDescriptorSet::decode(set).expect("it is one").file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let need = NEEDS.iter().find(|(_, names)| names.contains(&method.name()));
                    let (need, _) = need.unwrap_or_else(|| panic!("nothing is said of {path}"));
                    methods.insert(path, *need);
                }
            }
        }
    }
    methods
}

/// Calls any method with an empty message. A stream that begins is left again.
pub(crate) async fn call(channel: &Channel, path: &str, token: Option<&str>) -> Result<(), Status> {
    let with_token = WithToken(token.map(ToOwned::to_owned));
    let mut client = Grpc::new(InterceptedService::new(channel.clone(), with_token));
    client.ready().await.expect("it is there");
    let messages = Request::new(tokio_stream::iter([()]));
    let path = path.parse().expect("it is a path");
    client.streaming(messages, path, ProstCodec::<(), ()>::default()).await.map(|_| ())
}

/// Whether a caller of a role may call a method that needs something; the totals are about everybody's accounts.
pub(crate) fn is_allowed(path: &str, need: &str, role: &str, is_confined: bool) -> bool {
    let rank = |name: &str| ["reader", "teller", "admin"].iter().position(|it| *it == name);
    let is_total = path.ends_with("/GetTrialBalance");
    rank(need) <= rank(role) && !(is_confined && is_total)
}
