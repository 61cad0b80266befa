//! Pages of lists: `{"items":[…],"next":"<cursor>"|null}`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use im_protocol::WireError;
use im_protocol::limits::{ANSWER_BYTES, LIST_DEFAULT, LIST_MAX};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A page.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    items: Vec<T>,
    /// Ask with this `cursor` for what comes next; null at the end.
    next: Option<String>,
}

/// Which page.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// `next` of the page before.
    pub(super) cursor: Option<String>,
    /// Items at most: 50 if absent, 200 at most.
    #[param(maximum = 200, default = 50)]
    pub(super) limit: Option<u64>,
}

impl PageQuery {
    /// The key after which the page begins.
    pub(super) fn after(&self) -> Result<Option<String>, WireError> {
        self.cursor.as_deref().map(decode).transpose()
    }

    /// The key after which the page begins, as an id.
    pub(super) fn after_id<T: std::str::FromStr>(&self) -> Result<Option<T>, WireError> {
        self.after()?.map(|key| key.parse().map_err(|_| unknown_cursor())).transpose()
    }

    /// Items on the page.
    pub(super) fn limit(&self) -> u32 {
        clamp(self.limit)
    }

    /// Items to ask the store for: one more than the page has tells whether there is a next one.
    pub(super) fn ask(&self) -> u32 {
        self.limit() + 1
    }
}

impl<T: Serialize> Page<T> {
    /// A page of what [`PageQuery::ask`] brought; `key` is what the next page begins after. It ends at 256 KiB, with at
    /// least one item.
    pub(super) fn new<U>(found: Vec<U>, query: &PageQuery, key: impl Fn(&U) -> String, view: impl Fn(U) -> T) -> Self {
        let limit = query.limit() as usize;
        let total = found.len();
        let mut items = Vec::with_capacity(total.min(limit));
        let (mut bytes, mut last) = (0, None);
        for item in found.into_iter().take(limit) {
            let this = key(&item);
            let item = view(item);
            bytes += serde_json::to_vec(&item).map_or(0, |json| json.len() + 1);
            if bytes > ANSWER_BYTES && !items.is_empty() {
                break;
            }
            last = Some(this);
            items.push(item);
        }
        let next = last.filter(|_| items.len() < total).map(|key| encode(&key));
        Self { items, next }
    }

    /// A list that is never longer than one page.
    pub(super) fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }

    /// A page whose end the chat knows.
    pub(super) fn cut(items: Vec<T>, next: Option<String>) -> Self {
        Self { items, next: next.map(|key| encode(&key)) }
    }
}

/// A list's length as asked, clamped.
pub(super) fn clamp(limit: Option<u64>) -> u32 {
    let limit = limit.unwrap_or(u64::from(LIST_DEFAULT)).clamp(1, u64::from(LIST_MAX));
    u32::try_from(limit).unwrap_or(LIST_MAX)
}

fn encode(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

fn decode(cursor: &str) -> Result<String, WireError> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| unknown_cursor())?;
    String::from_utf8(bytes).map_err(|_| unknown_cursor())
}

fn unknown_cursor() -> WireError {
    WireError::invalid_field("cursor", "is not one that this server gave")
}

#[cfg(test)]
mod tests {
    use im_protocol::UserId;

    use super::*;

    fn query(limit: u64) -> PageQuery {
        PageQuery { cursor: None, limit: Some(limit) }
    }

    fn page(found: &[&str], limit: u64) -> Page<String> {
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        Page::new(found, &query(limit), Clone::clone, |item| item)
    }

    #[test]
    fn a_page_ends_at_its_limit_and_says_where_to_go_on() {
        let first = page(&["a", "b", "c"], 2);
        assert_eq!(first.items, ["a", "b"]);
        let next = PageQuery { cursor: first.next, limit: None };
        assert_eq!(next.after().unwrap().as_deref(), Some("b"));
        assert_eq!(page(&["a", "b"], 2).next, None);
        assert_eq!(page(&[], 2).next, None);
    }

    #[test]
    fn a_page_ends_at_256_kib_with_at_least_one_item() {
        let large = "x".repeat(200_000);
        let both = page(&[&large, &large], 2);
        assert_eq!(both.items.len(), 1);
        assert!(both.next.is_some());
        let huge = "x".repeat(300_000);
        assert_eq!(page(&[&huge], 2).items.len(), 1);
    }

    #[test]
    fn limits_are_clamped() {
        for (asked, got) in [(None, 50), (Some(0), 1), (Some(7), 7), (Some(u64::MAX), 200)] {
            assert_eq!(clamp(asked), got);
        }
    }

    #[test]
    fn a_cursor_that_is_not_ours_is_an_invalid_field() {
        for cursor in ["?", "YSBi", "_w"] {
            let query = PageQuery { cursor: Some(cursor.to_owned()), limit: None };
            let error = query.after_id::<UserId>().unwrap_err();
            assert_eq!(error.field.as_deref(), Some("cursor"), "{cursor}");
        }
    }
}
