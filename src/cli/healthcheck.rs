//! `bank healthcheck`: one question to a running bank, for containers and scripts.

use tokio::time::timeout;
use tonic::Status;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::connect;
use super::failure::cause_of;
use super::trust::Distrust;
use crate::config::HealthcheckSettings;
use crate::grpc::proto::bank_service_server::SERVICE_NAME;

/// Asks a running bank for its health.
///
/// # Errors
///
/// One line that says why it isn't serving, as far as can be told.
pub(super) async fn healthcheck(settings: HealthcheckSettings) -> Result<(), String> {
    let endpoint = settings.target.endpoint.clone();
    let (channel, refused) = connect::channel(&settings.target, |endpoint| endpoint)?;
    let status = timeout(settings.timeout, ask(channel))
        .await
        .map_err(|_| {
            format!(
                "{endpoint} did not answer within {}",
                humantime::format_duration(settings.timeout)
            )
        })?
        .map_err(|status| match refused.why() {
            Some(Distrust::Ours(why) | Distrust::Theirs(why)) => format!("{endpoint}: {why}"),
            None => format!("{endpoint}: {}", cause_of(&status)),
        })?;
    match status {
        ServingStatus::Serving => Ok(()),
        ServingStatus::Unknown | ServingStatus::NotServing | ServingStatus::ServiceUnknown => {
            Err(format!("{endpoint} is {}", status.as_str_name()))
        }
    }
}

async fn ask(channel: Channel) -> Result<ServingStatus, Status> {
    let request = HealthCheckRequest { service: SERVICE_NAME.to_owned() };
    let answer = HealthClient::new(channel).check(request).await?;
    Ok(answer.into_inner().status())
}
