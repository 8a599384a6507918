//! Shows the codes of grants to their owner.
//!
//! Nothing that is stored with a claim holds a code: they are read here, when a response is made. Must not know: who the
//! owner is; the routes call this for the owner only.

use std::collections::HashMap;

use serde_json::Value;
use uuid::Uuid;

use super::error::ClaimError;
use super::grants::GrantDetail;
use super::model::{Grant, RewardRequest, Status};
use crate::rewards::{Codes, RewardCode};

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct OwnCodes(pub Codes);

impl OwnCodes {
    /// Adds the codes of granted requests.
    pub(super) async fn show<'a>(
        &self,
        requests: impl IntoIterator<Item = &'a mut RewardRequest>,
    ) -> Result<(), ClaimError> {
        let granted = requests.into_iter().filter(|request| request.status == Status::Granted);
        let grants = granted.flat_map(|request| &mut request.grants);
        let mut grants: Vec<&mut Grant> = grants.filter(|grant| grant.reward.codes).collect();
        let mut codes = self.0.of_grants(&ids(&grants)).await?;
        for grant in &mut grants {
            grant.codes = Some(codes.remove(&grant.id).unwrap_or_default());
        }
        Ok(())
    }

    pub(super) async fn show_grant(&self, grant: &mut GrantDetail) -> Result<(), ClaimError> {
        if grant.reward.codes && grant.request_status == Status::Granted {
            let mut codes = self.0.of_grants(&[grant.id]).await?;
            grant.codes = Some(codes.remove(&grant.id).unwrap_or_default());
        }
        Ok(())
    }

    /// Adds the codes to the response to a claim that was just committed. The claim succeeded, so a failure to read them is
    /// no failure of the claim.
    pub(super) async fn show_committed(&self, request: &mut RewardRequest) {
        if let Err(error) = self.show([&mut *request]).await {
            tracing::error!(reward_request.id = %request.id, %error, "the codes of a grant cannot be read");
        }
    }

    /// A stored response with the codes that its grants have now. The first response had the same bytes.
    pub(super) async fn show_stored(&self, response: String) -> Result<String, ClaimError> {
        let grants = grants_with_codes(&response)?;
        if grants.is_empty() {
            return Ok(response);
        }
        let codes = self.0.of_grants(&grants).await?;
        with_codes(response, &grants, &codes)
    }
}

fn ids(grants: &[&mut Grant]) -> Vec<Uuid> {
    grants.iter().map(|grant| grant.id).collect()
}

/// The grants of a stored response that have codes.
fn grants_with_codes(response: &str) -> Result<Vec<Uuid>, ClaimError> {
    if !response.contains("\"codes\":true") {
        return Ok(Vec::new());
    }
    let response: Value = serde_json::from_str(response)?;
    let grants = response["grants"].as_array().into_iter().flatten();
    let with_codes = grants.filter(|grant| grant["reward"]["codes"] == true);
    Ok(with_codes
        .filter_map(|grant| grant["id"].as_str()?.parse().ok())
        .collect())
}

/// Inserts the codes behind the id of each grant, where [`Grant`] has them.
fn with_codes(
    mut response: String,
    grants: &[Uuid],
    codes: &HashMap<Uuid, Vec<RewardCode>>,
) -> Result<String, ClaimError> {
    for grant in grants {
        let id = format!("{{\"id\":\"{grant}\",");
        if let Some(at) = response.find(&id) {
            let own = codes.get(grant).map(Vec::as_slice).unwrap_or_default();
            let member = format!("\"codes\":{},", serde_json::to_string(own)?);
            response.insert_str(at + id.len(), &member);
        }
    }
    Ok(response)
}
