//! `bank healthcheck`: one question to a running bank, for containers and scripts.

use tokio::time::timeout;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::failure::root_cause;
use crate::config::HealthcheckSettings;
use crate::grpc::proto::bank_service_server::SERVICE_NAME;

/// Asks a running bank for its health.
///
/// # Errors
///
/// One line that says why it isn't serving, as far as can be told.
pub(super) async fn healthcheck(settings: HealthcheckSettings) -> Result<(), String> {
    let endpoint = settings.target.endpoint.clone();
    let status = timeout(settings.timeout, ask(settings.target.endpoint))
        .await
        .map_err(|_| {
            format!(
                "{endpoint} did not answer within {}",
                humantime::format_duration(settings.timeout)
            )
        })?
        .map_err(|error| format!("{endpoint}: {error}"))?;
    match status {
        ServingStatus::Serving => Ok(()),
        ServingStatus::Unknown | ServingStatus::NotServing | ServingStatus::ServiceUnknown => {
            Err(format!("{endpoint} is {}", status.as_str_name()))
        }
    }
}

async fn ask(endpoint: tonic::transport::Uri) -> Result<ServingStatus, String> {
    let channel = Endpoint::from(endpoint)
        .connect()
        .await
        .map_err(|error| format!("can't connect: {}", root_cause(&error)))?;
    let request = HealthCheckRequest { service: SERVICE_NAME.to_owned() };
    let answer = HealthClient::new(channel)
        .check(request)
        .await
        .map_err(|status| status.message().to_owned())?;
    Ok(answer.into_inner().status())
}
