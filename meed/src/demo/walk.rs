//! The output of a demo: addresses, accounts, and a tour of the API to copy and paste.

use std::net::SocketAddr;
use std::path::Path;

use super::people::{ACCOUNTS, APPROVER, OPERATOR, USER};
use super::seed::Demo;
use meed_host::config::ConsoleAt;

/// `admin`: the admin listener, and where the console is.
pub(super) fn print(listen: SocketAddr, admin: (Option<SocketAddr>, ConsoleAt), demo: &Demo, plugins: &Path) {
    // The unspecified address is not a destination.
    let listen = match listen {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => SocketAddr::from(([127, 0, 0, 1], v4.port())),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, v6.port())),
        listen => listen,
    };
    let meed = std::env::current_exe().map_or_else(|_| "meed".to_owned(), |path| path.display().to_string());
    let module = plugins.join("activity-count.wasm");
    let ((_, user, user_password), (_, operator, operator_password)) = (USER, OPERATOR);
    println!("Meed is up.\n");
    let (admin, console) = admin;
    match (console, admin) {
        (ConsoleAt::On, _) => println!("  console     http://{listen}/console/"),
        (ConsoleAt::Admin, Some(admin)) => println!("  console     http://{admin}/console/"),
        (ConsoleAt::Off, _) | (ConsoleAt::Admin, None) => {}
    }
    println!("  API         http://{listen}");
    println!("  Swagger UI  http://{listen}/swagger/");
    if let Some(admin) = admin {
        println!("  metrics     http://{admin}/metrics, /tasks");
    }
    println!("\nAccounts (published: `meed serve` refuses this database)\n");
    for (role, email, password) in ACCOUNTS {
        println!("  {:<9} {email:<22} {password}", role.to_string());
    }
    println!(
        "\nIn the console, {} finds a release that waits for the approval of a second person, with its",
        APPROVER.1
    );
    println!("backtest, and everybody 30 days of claims, a plugin in quarantine and a webhook that was not delivered.");
    println!("\nEvents\n");
    println!("  {}  Complete 7 quests", demo.quests);
    println!("  {}  7-day login streak", demo.streak);
    println!("  {}  The first 10,000 get a coupon", demo.coupons);
    println!(
        r#"
A tour to copy and paste into another terminal (a second tour starts where the first one ended)

# Log in, as the user and as the operator.
API=http://{listen}
login() {{
  curl -sS $API/auth/login -H 'Content-Type: application/json' -d "{{\"email\": \"$1\", \"password\": \"$2\"}}" |
    sed 's/.*"accessToken":"\([^"]*\)".*/\1/'
}}
USER_TOKEN=$(login {user} {user_password})
OPERATOR_TOKEN=$(login {operator} {operator_password})

# Check the progress: 5 of 7 quests.
curl -sS $API/events/{quests}/progress -H "Authorization: Bearer $USER_TOKEN"; echo

# Claim too early: rejected, with reasons.
curl -sS $API/reward-requests -H "Authorization: Bearer $USER_TOKEN" \
  -H 'Content-Type: application/json' -d '{{"eventId": "{quests}"}}'; echo

# Report activities: the game reports two more quests.
curl -sS $API/activities -H "Authorization: Bearer $OPERATOR_TOKEN" -H 'Content-Type: application/json' -d '[
  {{"source": "game", "id": "walk-1", "userId": "{user_id}", "kind": "quest.completed"}},
  {{"source": "game", "id": "walk-2", "userId": "{user_id}", "kind": "quest.completed"}}]'; echo

# Claim again: granted.
CLAIM=$(curl -sS $API/reward-requests -H "Authorization: Bearer $USER_TOKEN" \
  -H 'Content-Type: application/json' -d '{{"eventId": "{quests}"}}'); echo "$CLAIM"
REQUEST=$(echo "$CLAIM" | grep -o '"\(id\|rewardRequestId\)":"[^"]*"' | head -n 1 | cut -d '"' -f 4)

# Replay the receipt offline: the same plugin and facts give the same decision.
curl -sS $API/reward-requests/$REQUEST/receipt -H "Authorization: Bearer $USER_TOKEN" > receipt.json
curl -sS $API/.well-known/receipt-keys.json > receipt-keys.json
"{meed}" replay receipt.json --plugin "{module}" --keys receipt-keys.json
"#,
        quests = demo.quests,
        user_id = demo.user_id,
        module = module.display(),
    );
}
