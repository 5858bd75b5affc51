//! `bank hold ...`

use super::Failure;
use super::movements::{part_of, typed};
use super::output::Output;
use super::paging::walk;
use super::remote::{Remote, request_id};
use crate::config::{
    Call, CaptureHold, HoldCommand, HoldStateName, ListHolds, OneHold, PlaceHold, ReleaseHold,
};
use crate::grpc::proto::{
    CaptureHoldRequest, GetHoldRequest, HoldState, ListHoldsRequest, PlaceHoldRequest,
    ReleaseHoldRequest,
};

pub(super) async fn run(command: HoldCommand) -> Result<(), Failure> {
    match command {
        HoldCommand::Place(call) => place(call).await,
        HoldCommand::Capture(call) => capture(call).await,
        HoldCommand::Release(call) => release(call).await,
        HoldCommand::Get(call) => get(call).await,
        HoldCommand::List(call) => list(call).await,
    }
}

async fn place(Call { what, how }: Call<PlaceHold>) -> Result<(), Failure> {
    let amount = typed(&what.amount)?;
    let ttl = what.ttl.map(prost_types::Duration::try_from).transpose();
    let request = PlaceHoldRequest {
        account_id: what.account_id,
        to_account_id: what.to,
        amount: Some(amount),
        ttl: ttl.map_err(|error| Failure::Misused(format!("--ttl: {error}")))?,
        description: what.remarks.description,
        labels: what.remarks.labels.into_iter().collect(),
        request_id: request_id(what.once),
    };
    let answer = Remote::new(&how)?
        .call(request, async |mut bank, request| bank.place_hold(request).await)
        .await?;
    Output::new(how.output).sheet(&answer)
}

async fn capture(Call { what, how }: Call<CaptureHold>) -> Result<(), Failure> {
    let bank = Remote::new(&how)?;
    let part = part_of(&what.part, "hold", async || {
        let request = GetHoldRequest { hold_id: what.hold_id.clone() };
        let found =
            bank.call(request, async |mut bank, request| bank.get_hold(request).await).await?;
        Ok(found.hold.and_then(|hold| hold.amount))
    })
    .await?;
    let request = CaptureHoldRequest {
        amount: part,
        hold_id: what.hold_id.clone(),
        request_id: request_id(what.once),
    };
    let answer =
        bank.call(request, async |mut bank, request| bank.capture_hold(request).await).await?;
    Output::new(how.output).sheet(&answer)
}

async fn release(Call { what, how }: Call<ReleaseHold>) -> Result<(), Failure> {
    let request = ReleaseHoldRequest { hold_id: what.hold_id, request_id: request_id(what.once) };
    let answer = Remote::new(&how)?
        .call(request, async |mut bank, request| bank.release_hold(request).await)
        .await?;
    Output::new(how.output).sheet(&answer)
}

async fn get(Call { what, how }: Call<OneHold>) -> Result<(), Failure> {
    let request = GetHoldRequest { hold_id: what.hold_id };
    let answer = Remote::new(&how)?
        .call(request, async |mut bank, request| bank.get_hold(request).await)
        .await?;
    Output::new(how.output).sheet(&answer)
}

async fn list(Call { what, how }: Call<ListHolds>) -> Result<(), Failure> {
    let bank = Remote::new(&how)?;
    let state = what.state.map_or(HoldState::Unspecified, |state| match state {
        HoldStateName::Held => HoldState::Held,
        HoldStateName::Captured => HoldState::Captured,
        HoldStateName::Released => HoldState::Released,
        HoldStateName::Expired => HoldState::Expired,
    });
    let holds = walk(&what.limit, async |page_size, page_token| {
        let account_id = what.account_id.clone();
        let request = ListHoldsRequest { account_id, state: state.into(), page_size, page_token };
        let page =
            bank.call(request, async |mut bank, request| bank.list_holds(request).await).await?;
        Ok((page.holds, page.next_page_token))
    })
    .await?;
    Output::new(how.output).rows(&holds)
}
