//! Answers as JSON: protobuf's JSON form, with the names of the API and nothing left out.

use std::sync::LazyLock;

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use prost_types::FileDescriptorSet;
use serde_json::Value;

use super::Failure;
use crate::grpc::proto::FILE_DESCRIPTOR_SET;

/// The API, and the types that details of errors are packed in.
static DESCRIPTORS: LazyLock<Result<DescriptorPool, String>> =
    LazyLock::new(|| descriptors().map_err(|error| error.to_string()));

fn descriptors() -> Result<DescriptorPool, Box<dyn std::error::Error>> {
    let mut pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET)?;
    let errors = FileDescriptorSet::decode(tonic_types::pb::FILE_DESCRIPTOR_SET)?;
    // The API brings google.rpc.Status itself, and a pool takes each type once.
    let details = errors.file.into_iter().filter(|file| file.name().ends_with("details.proto"));
    pool.add_file_descriptor_protos(details)?;
    Ok(pool)
}

/// Makes JSON of a message of the API. The names are in alphabetical order: a message's maps have none of
/// their own, and what is written must not differ from one time to the next.
pub(super) fn of<M: Message + Name>(message: &M) -> Result<Value, Failure> {
    named(&M::full_name(), message)
}

/// Makes JSON of a message of a type that is given by its full name.
pub(super) fn named(full_name: &str, message: &impl Message) -> Result<Value, Failure> {
    let pool = DESCRIPTORS.as_ref().map_err(|error| broken(error))?;
    let descriptor =
        pool.get_message_by_name(full_name).ok_or_else(|| broken(&"its type is not known"))?;
    let mut dynamic = DynamicMessage::new(descriptor);
    dynamic.transcode_from(message).map_err(|error| broken(&error))?;
    let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false);
    dynamic
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|error| broken(&error))
}

fn broken(error: &dyn std::fmt::Display) -> Failure {
    Failure::Failed(format!("the answer can't be written as JSON: {error}"))
}
