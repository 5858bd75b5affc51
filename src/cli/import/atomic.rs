//! All lines or none, as one batch.

use std::collections::HashMap;

use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

use super::super::Failure;
use super::super::output::tell;
use super::super::remote::Remote;
use super::report::Report;
use super::source::Lines;
use crate::grpc::proto::ExecuteBatchRequest;

/// How many operations a batch takes.
const MOST: usize = 8192;
const NOTHING_DONE: &str = "nothing was done: it is all lines or none";

/// Executes all lines, or none. Lines that are malformed or refused are told to the report.
pub(super) async fn execute(
    bank: &Remote,
    mut lines: Lines,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut numbers = Vec::new();
    let mut operations = Vec::new();
    let mut malformed = false;
    while let Some(line) = lines.next()? {
        match line.operation {
            Ok(operation) => {
                numbers.push(line.number);
                operations.push(operation);
            }
            Err(text) => {
                malformed = true;
                report.malformed(line.number, text)?;
            }
        }
        if operations.len() > MOST {
            return Err(Failure::Misused(format!(
                "the file has more than the {MOST} lines that can be all or none"
            )));
        }
    }
    if malformed {
        report.left_out(operations.len());
        tell(NOTHING_DONE);
        return Ok(());
    }
    if operations.is_empty() {
        return Ok(());
    }
    let request = ExecuteBatchRequest { operations, atomic: true };
    let answer =
        bank.call(request, async |mut bank, request| bank.execute_batch(request).await).await;
    match answer {
        Ok(answer) => {
            for (number, result) in numbers.into_iter().zip(answer.results) {
                report.result(number, result)?;
            }
            Ok(())
        }
        Err(Failure::Call(status, form)) => {
            let refused = refused_lines(&status, &numbers);
            if refused.is_empty() {
                return Err(Failure::Call(status, form));
            }
            report.left_out(numbers.len() - refused.len());
            for (number, status) in refused {
                report.refused(number, &status)?;
            }
            tell(NOTHING_DONE);
            Ok(())
        }
        Err(other) => Err(other),
    }
}

/// The lines for which a batch was refused: those with violations, or else the one whose operation is named.
fn refused_lines(status: &Status, numbers: &[u64]) -> Vec<(u64, Status)> {
    let details = status.get_error_details();
    let Some(info) = details.error_info() else { return Vec::new() };
    let violations = details.bad_request().map_or(&[][..], |it| &it.field_violations);
    if violations.is_empty() {
        let index = info.metadata.get("operation_index").and_then(|index| index.parse().ok());
        let number = index.and_then(|index: usize| numbers.get(index));
        return number.map(|number| (*number, status.clone())).into_iter().collect();
    }
    violations
        .iter()
        .filter_map(|violation| {
            let (index, field) = violation.field.strip_prefix("operations[")?.split_once(']')?;
            let number = numbers.get(index.parse::<usize>().ok()?)?;
            let mut details = ErrorDetails::with_error_info(
                info.reason.clone(),
                info.domain.clone(),
                HashMap::new(),
            );
            details.add_bad_request_violation(
                field.trim_start_matches('.'),
                violation.description.clone(),
            );
            let status = Status::with_error_details(status.code(), status.message(), details);
            Some((*number, status))
        })
        .collect()
}
