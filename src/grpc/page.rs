//! How much of a listing goes into one answer.
//!
//! Clients refuse messages above 4 MiB unless they are told otherwise, and a thousand transactions with all
//! their labels have 10: such a page comes out short, and the next one begins where it ends.

use prost::Message;

/// How many bytes the items of a page have, at the most: a round figure below what clients take.
const MAX_BYTES: usize = 3 << 20;

/// What each item has beside itself: its tag, and its length in up to 3 bytes.
const FRAME_BYTES: usize = 4;

/// Whether an item of this length fits into a page that has so many bytes already; the first always does.
pub(super) fn has_room(page: usize, item: usize) -> bool {
    page == 0 || page + FRAME_BYTES + item <= MAX_BYTES
}

/// Leaves off what doesn't fit into a page. The index of the last item that is left, if there were more.
pub(super) fn cut<T: Message>(items: &mut Vec<T>) -> Option<usize> {
    let mut bytes = 0;
    let fits = |item: &&T| {
        let length = item.encoded_len();
        let fits = has_room(bytes, length);
        bytes += FRAME_BYTES + length;
        fits
    };
    let count = items.iter().take_while(fits).count();
    let is_cut = count < items.len();
    items.truncate(count);
    is_cut.then(|| count - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::proto::ListAccountsResponse as Page;

    #[test]
    fn a_page_is_as_long_as_fits() {
        let item = |bytes: usize| Page { next_page_token: "x".repeat(bytes), ..Page::default() };
        let cut_of = |mut items: Vec<Page>| (cut(&mut items), items.len());
        assert_eq!(cut_of(vec![]), (None, 0));
        assert_eq!(cut_of(vec![item(4 << 20)]), (None, 1));
        assert_eq!(cut_of(vec![item(4 << 20), item(1)]), (Some(0), 1), "it would never go on");
        let kilobytes = vec![item(1016); 5000];
        assert_eq!(kilobytes[0].encoded_len() + FRAME_BYTES, 1023);
        let fit = MAX_BYTES / 1023;
        assert_eq!(cut_of(kilobytes.clone()), (Some(fit - 1), fit));
        assert_eq!(cut_of(kilobytes[..fit].to_vec()), (None, fit));
    }
}
