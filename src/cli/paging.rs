//! Walks a listing page by page.

use super::Failure;
use super::output::tell;
use crate::config::Limit;

/// The largest page that the bank gives.
const PAGE: usize = 1000;

/// Collects the items of a listing up to a limit, and says so when there are more. `page` gets the size
/// and the token of a page, and gives its items and the token of the next one.
pub(super) async fn walk<T>(
    limit: &Limit,
    page: impl AsyncFn(i32, String) -> Result<(Vec<T>, String), Failure>,
) -> Result<Vec<T>, Failure> {
    let most = if limit.limit == 0 { usize::MAX } else { limit.limit };
    let mut items = Vec::new();
    let mut token = String::new();
    while items.len() < most {
        let size = PAGE.min(most - items.len());
        let size = i32::try_from(size).unwrap_or(i32::MAX);
        let (found, next) = page(size, token).await?;
        items.extend(found);
        token = next;
        if token.is_empty() {
            return Ok(items);
        }
    }
    tell(&format!("the first {most} are shown; --limit 0 shows all"));
    Ok(items)
}
