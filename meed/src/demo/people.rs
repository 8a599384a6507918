//! Who takes part in the demo: accounts with published passwords, the shop's server, and its customers.

use anyhow::Context as _;
use serde_json::{Value, json};
use uuid::Uuid;

use super::past::{Past, id};
use crate::user;
use meed_host::auth::Role;

/// Role, e-mail and password.
pub(super) type Account = (Role, &'static str, &'static str);

/// The user of the tour.
pub(super) const USER: Account = (Role::User, "user@meed.example", "user-demo-password");
pub(super) const OPERATOR: Account = (Role::Operator, "operator@meed.example", "operator-demo-password");
/// Approves what the first operator proposes.
pub(super) const APPROVER: Account = (Role::Operator, "approver@meed.example", "approver-demo-password");
const AUDITOR: Account = (Role::Auditor, "auditor@meed.example", "auditor-demo-password");
const ADMIN: Account = (Role::Admin, "admin@meed.example", "admin-demo-password");

pub(super) const ACCOUNTS: [Account; 5] = [USER, OPERATOR, APPROVER, AUDITOR, ADMIN];

/// Customers of the shop, in addition to the user of the tour.
pub(super) const CUSTOMERS: u32 = 40;
const REGIONS: &[&str] = &["KR", "JP", "US", "DE"];

pub(super) struct People {
    /// The user of the tour.
    pub user: Uuid,
    /// The service key of the shop's server, which reports purchases and claims for customers.
    pub shop: String,
    /// By number.
    pub customers: Vec<Uuid>,
}

/// What the shop calls the customer with this number.
pub(super) fn external_id(customer: u32) -> String {
    format!("customer-{}", 1001 + customer)
}

/// Creates everybody, as of the clock of the past.
pub(super) async fn create(past: &Past) -> anyhow::Result<People> {
    for (role, email, password) in ACCOUNTS {
        user::create(&past.app.users, email, password.into(), role)
            .await
            .with_context(|| format!("create the account {email}; a demo requires an empty database"))?;
    }
    let key = json!({
        "name": "shop", "sources": ["shop"],
        "scopes": ["activities:write", "claims:read", "claims:write", "users:write"],
    });
    let admin = past.log_in(ADMIN).await?;
    let key = admin.post("/service-keys", &key).await?;
    let shop = key["secret"].as_str().context("a service key has a secret")?.to_owned();

    let user = id(&past.log_in(USER).await?.get("/users/me").await?)?;
    let attributes = json!({"level": 12, "region": "KR"});
    let operator = past.log_in(OPERATOR).await?;
    operator.put(&format!("/users/{user}/attributes"), &attributes).await?;
    let customers: Vec<Value> = (0..CUSTOMERS)
        .zip(REGIONS.iter().cycle())
        .map(|(customer, region)| {
            let attributes = json!({"level": 1 + customer * 7 % 30, "region": region});
            json!({"externalId": external_id(customer), "attributes": attributes})
        })
        .collect();
    let created = past
        .caller(shop.clone())
        .post("/users/external", &customers.into())
        .await?;
    let items = created["items"].as_array().context("an item for each customer")?;
    let customers = items.iter().map(id).collect::<Result<_, _>>()?;
    Ok(People { user, shop, customers })
}
