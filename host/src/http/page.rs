//! Keyset pagination: a page token holds the last key of its page, so that rows that are added between requests neither
//! repeat nor hide others.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::problem::{INVALID_PARAMETER, Problem};

const DEFAULT_SIZE: u32 = 50;
const MAX_SIZE: u32 = 200;

#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct PageParams {
    /// The maximum number of items: 1 to 200, by default 50
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub page_size: Option<u32>,
    /// `nextPageToken` of the previous page
    pub page_token: Option<String>,
}

/// One page of a list, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Present if there are more items: pass it as `pageToken`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

impl PageParams {
    /// The maximum number of rows on the page.
    pub fn size(&self) -> Result<u32, Problem> {
        match self.page_size {
            None => Ok(DEFAULT_SIZE),
            Some(size @ 1..=MAX_SIZE) => Ok(size),
            Some(size) => Err(Problem::new(
                INVALID_PARAMETER,
                format!("pageSize is {size}; it must be 1 to {MAX_SIZE}."),
            )),
        }
    }

    /// The key after which this page starts.
    pub fn after<K: DeserializeOwned>(&self) -> Result<Option<K>, Problem> {
        let Some(token) = &self.page_token else { return Ok(None) };
        URL_SAFE_NO_PAD
            .decode(token)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .map(Some)
            .ok_or_else(|| {
                Problem::new(
                    INVALID_PARAMETER,
                    "pageToken is not a token of this list; start without it.",
                )
            })
    }
}

impl<T> Page<T> {
    /// `rows` holds up to one row more than `size`, which shows whether there is a next page.
    pub fn new<R, K: Serialize>(mut rows: Vec<R>, size: u32, key: impl Fn(&R) -> K, item: impl Fn(R) -> T) -> Self {
        let size = size as usize;
        let more = rows.len() > size;
        rows.truncate(size);
        let last = rows.last().filter(|_| more).map(key);
        let next_page_token = last
            .and_then(|key| serde_json::to_vec(&key).ok())
            .map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        Self {
            items: rows.into_iter().map(item).collect(),
            next_page_token,
        }
    }
}
