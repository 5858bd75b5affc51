//! Generates the Rust code of the protos: the API with its service, and the stored form.
//!
//! `protox` compiles them, so no protoc needs to be installed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

const API: &str = "proto/bank/v1/bank.proto";
const STORED_FORM: &str = "proto/bank/journal/v1/record.proto";

#[allow(clippy::disallowed_methods, reason = "cargo tells a build script where to write")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);

    let api = protox::compile([API], ["proto"])?;
    // Reflection serves the API alone: the stored form is nobody's business.
    fs::write(out_dir.join("bank_descriptor.bin"), api.encode_to_vec())?;
    // The command line finds the descriptor of a message by its name, to print it as JSON.
    let mut named = tonic_prost_build::Config::new();
    named.enable_type_names();
    tonic_prost_build::configure()
        .codec_path("crate::grpc::codec::Codec")
        .extern_path(".google.rpc", "::tonic_types::pb")
        .compile_fds_with_config(api, named)?;

    let stored_form = protox::compile([STORED_FORM], ["proto"])?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .compile_fds(stored_form)?;
    Ok(())
}
