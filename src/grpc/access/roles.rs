//! The one table of what each method needs. A method without a row is denied to everybody.

use crate::auth::Role;

/// What a caller needs for a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: anybody may call it, also without credentials.
    Nothing,
    /// To be somebody, whatever the role.
    Anyone,
    /// A role, or one above it.
    Role(Role),
}

impl Need {
    pub(super) fn is_met_by(self, role: Role) -> bool {
        match self {
            Self::Nothing | Self::Anyone => true,
            Self::Role(needed) => needed <= role,
        }
    }

    /// Whether it is what a mutation needs: whoever reads alone needs less.
    pub(super) fn is_of_a_mutation(self) -> bool {
        match self {
            Self::Nothing | Self::Anyone => false,
            Self::Role(needed) => needed > Role::Reader,
        }
    }
}

const READER: Need = Need::Role(Role::Reader);
const TELLER: Need = Need::Role(Role::Teller);
const ADMIN: Need = Need::Role(Role::Admin);

/// A reversal is a teller's: it moves no more than a transfer back could. What a batch or a stream holds
/// are tellers' operations, all of them.
const TABLE: [(&str, Need); 27] = [
    ("/bank.v1.BankService/CreateAccount", ADMIN),
    ("/bank.v1.BankService/UpdateAccount", ADMIN),
    ("/bank.v1.BankService/FreezeAccount", ADMIN),
    ("/bank.v1.BankService/UnfreezeAccount", ADMIN),
    ("/bank.v1.BankService/CloseAccount", ADMIN),
    ("/bank.v1.BankService/Deposit", TELLER),
    ("/bank.v1.BankService/Withdraw", TELLER),
    ("/bank.v1.BankService/Transfer", TELLER),
    ("/bank.v1.BankService/ReverseTransaction", TELLER),
    ("/bank.v1.BankService/PlaceHold", TELLER),
    ("/bank.v1.BankService/CaptureHold", TELLER),
    ("/bank.v1.BankService/ReleaseHold", TELLER),
    (EXECUTE_BATCH, TELLER),
    ("/bank.v1.BankService/ExecuteStream", TELLER),
    ("/bank.v1.BankService/GetAccount", READER),
    ("/bank.v1.BankService/ListAccounts", READER),
    ("/bank.v1.BankService/GetBalance", READER),
    ("/bank.v1.BankService/ListTransactions", READER),
    ("/bank.v1.BankService/GetTransaction", READER),
    ("/bank.v1.BankService/GetHold", READER),
    ("/bank.v1.BankService/ListHolds", READER),
    ("/bank.v1.BankService/WatchTransactions", READER),
    ("/bank.v1.BankService/GetTrialBalance", READER),
    ("/grpc.health.v1.Health/Check", Need::Nothing),
    ("/grpc.health.v1.Health/Watch", Need::Nothing),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Need::Anyone),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Need::Anyone),
];

/// The path of the method whose operations count one by one.
pub(super) const EXECUTE_BATCH: &str = "/bank.v1.BankService/ExecuteBatch";

/// The method at a path, and what it needs.
pub(super) fn needed(path: &str) -> Option<(&'static str, Need)> {
    TABLE.iter().find(|(method, _)| *method == path).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::grpc::proto::FILE_DESCRIPTOR_SET;

    /// Every method that is served, from the descriptors.
    fn methods() -> BTreeSet<String> {
        let sets = [
            FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let files = sets.into_iter().flat_map(|set| {
            FileDescriptorSet::decode(set).expect("it is a set of descriptors").file
        });
        let mut methods = BTreeSet::new();
        for file in files {
            for service in &file.service {
                for method in &service.method {
                    let path = [file.package(), ".", service.name(), "/", method.name()].concat();
                    methods.insert(format!("/{path}"));
                }
            }
        }
        methods
    }

    #[test]
    fn every_method_has_one_row_and_every_row_a_method() {
        let rows: BTreeSet<String> = TABLE.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(rows, methods());
        assert_eq!(rows.len(), TABLE.len(), "a method stands there twice");
    }

    #[test]
    fn only_health_is_open() {
        for (path, need) in TABLE {
            let is_health = path.starts_with("/grpc.health.v1.Health/");
            assert_eq!(need == Need::Nothing, is_health, "{path}");
        }
        assert_eq!(needed("/bank.v1.BankService/Deposit/"), None);
        assert_eq!(needed("/bank.v1.BankService/deposit"), None);
    }
}
