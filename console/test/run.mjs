// Drives the console in Chromium against a server of the tests: node run.mjs FIXTURE PICTURES [PART-OF-A-NAME].
//
// Every screen in both languages and colour schemes, at 360 and 1440 pixels, without violations that axe finds; the roles;
// hostile texts; a session that ends in the middle of a form; the keyboard. One process and one browser for all of them.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { releaseScreens, releaseSteps } from "./releases.mjs";

const [, , file, pictures, only = ""] = process.argv;
const fixture = JSON.parse(readFileSync(file, "utf8"));
const { url, world, accounts } = fixture;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
mkdirSync(pictures, { recursive: true });

const browser = await chromium.launch({
  executablePath: process.env.MEED_TEST_CHROMIUM,
  // A test may run as root, whom Chromium gives no sandbox.
  args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
});
let failures = 0;

async function step(name, run) {
  if (!name.includes(only)) return;
  const begun = Date.now();
  try {
    await run();
    console.log(`ok   ${name} (${Date.now() - begun} ms)`);
  } catch (error) {
    failures += 1;
    console.log(`FAIL ${name}\n${error.stack}`);
  }
}

/** A window of a new browser profile, and what went wrong in it. */
async function open(options = {}) {
  const context = await browser.newContext({ baseURL: url, locale: "en-US", timezoneId: "Asia/Seoul", ...options });
  context.setDefaultTimeout(15_000);
  const page = await context.newPage();
  await page.clock.setFixedTime(new Date(fixture.now));
  const faults = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => {
    const text = message.text();
    // The browser reports each refused request; the tests of refusals cause some.
    if (message.type() === "error" && !text.startsWith("Failed to load resource")) faults.push(text);
  });
  return { context, page, faults };
}

async function logIn(page, role, path = "/console/") {
  await page.goto(path);
  await page.locator("input[type=email]").fill(accounts[role].email);
  await page.locator("input[type=password]").fill(accounts[role].password);
  await page.locator("button[type=submit]").click();
  await page.locator("nav").waitFor();
}

/** The screen is there and reads nothing more. */
async function settled(page) {
  await page.locator("main h1").first().waitFor();
  await page.waitForLoadState("networkidle");
  const reading = page.locator("main [role=status]:has-text('…')");
  for (const until = Date.now() + 15_000; (await reading.count()) > 0; ) {
    assert.ok(Date.now() < until, "the screen still reads");
    await page.waitForTimeout(50);
  }
}

const SCREENS = {
  home: "/console/",
  why: `/console/why?user=${world.user}&event=${world.events.rejected}`,
  claims: "/console/claims",
  claim: `/console/claims/${world.claims.granted}`,
  held: `/console/claims/${world.claims.held}`,
  users: "/console/users",
  user: `/console/users/${world.user}`,
  events: "/console/events",
  event: `/console/events/${world.events.granted}`,
  newEvent: "/console/events/new",
  editEvent: `/console/events/${world.events.granted}/edit`,
  rewards: "/console/rewards",
  reward: `/console/rewards/${world.reward}`,
  plugins: "/console/plugins",
  plugin: "/console/plugins/rejecting/1.2.3",
  webhooks: "/console/webhooks",
  webhook: `/console/webhooks/${fixture.endpoint}`,
  audit: "/console/audit",
  settings: "/console/settings",
  missing: "/console/nowhere",
  ...releaseScreens(world),
};

async function checkAxe(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] }));
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html.slice(0, 160)} (${node.failureSummary?.slice(0, 200)})`).slice(0, 3).join(" | ")}`);
  assert.deepEqual(found, []);
}

await step("no page before the login shows data, and a wrong password says so", async () => {
  const { context, page, faults } = await open();
  await page.goto(SCREENS.claims);
  await page.locator("input[type=email]").fill(accounts.ADMIN.email);
  await page.locator("input[type=password]").fill("wrong horse battery");
  await page.locator("button[type=submit]").click();
  await page.getByText("The e-mail or the password is wrong").waitFor();
  assert.equal(await page.locator("nav").count(), 0);
  await checkAxe(page);
  await page.screenshot({ path: join(pictures, "login.png") });
  assert.deepEqual(faults, []);
  await context.close();
});

/** Width, colours and language change while the screen is open. Contrasts depend on the colours, targets on the width. */
const LOOKS = [1440, 360].flatMap((width) =>
  ["light", "dark"].flatMap((scheme) => ["en", "ko"].map((language) => ({ width, scheme, language }))),
);

// Pictures do not depend on the database, so one engine is enough.
const everyLook = fixture.everyLook ? step : () => {};
await everyLook("every screen in both languages and colour schemes, wide and narrow", async () => {
  const { context, page, faults } = await open();
  await logIn(page, "ADMIN");
  const slips = [];
  for (const [name, path] of Object.entries(SCREENS)) {
    await page.goto(path);
    await settled(page);
    for (const { width, scheme, language } of LOOKS) {
      const look = `${name}-${width}-${scheme}-${language}`;
      try {
        await page.setViewportSize({ width, height: 900 });
        await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
        await page.locator(".top select").first().selectOption(language);
        assert.equal(await page.evaluate(() => document.documentElement.lang), language);
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        assert.ok(overflow <= 0, `wider than the window by ${overflow} px`);
        assert.equal(await page.locator("main .problem").count(), 0, await page.locator("main").innerText());
        if ((width === 1440) === (language === "en")) await checkAxe(page);
      } catch (error) {
        slips.push(`${look}: ${error.message}`);
      }
      await page.screenshot({ path: join(pictures, `${look}.png`), fullPage: true });
    }
    assert.equal(await page.evaluate(() => globalThis.hacked), undefined);
  }
  assert.deepEqual(slips, []);
  assert.deepEqual(faults, []);
  await context.close();
});

await step("hostile texts are texts", async () => {
  const { context, page, faults } = await open();
  await logIn(page, "ADMIN");
  for (const [name, least] of Object.entries({ user: 2, event: 2, newEvent: 1, reward: 1, plugin: 1, why: 1, home: 1, releases: 1, release: 2, editRelease: 1, backtest: 1 })) {
    await page.goto(SCREENS[name]);
    await settled(page);
    const shown = await page.getByText(world.hostile).count();
    assert.ok(shown >= least, `${name} shows ${shown} of ${least}`);
  }
  await page.goto(SCREENS.webhook);
  await settled(page);
  const answer = world.hostile.slice(0, 40);
  assert.ok((await page.locator("main").innerText()).includes(answer), "the answer of the receiver");
  assert.equal(await page.locator("img").count(), 0);
  assert.equal(await page.evaluate(() => globalThis.hacked), undefined);
  assert.deepEqual(faults, []);
  await context.close();
});

await step("each role sees what it may do", async () => {
  const seen = {};
  for (const role of ["OPERATOR", "AUDITOR", "ADMIN"]) {
    const { context, page } = await open();
    await logIn(page, role);
    seen[role] = await page.locator("nav a").allInnerTexts();
    await page.goto(SCREENS.plugin);
    await settled(page);
    assert.equal(await page.getByRole("button", { name: "Disable" }).count(), role === "AUDITOR" ? 0 : 1, role);
    await page.goto(SCREENS.held);
    await settled(page);
    assert.equal(await page.getByRole("button", { name: "Approve" }).count(), role === "AUDITOR" ? 0 : 1, role);
    await page.goto("/console/audit");
    await settled(page);
    assert.equal(await page.locator("main table").count(), role === "OPERATOR" ? 0 : 1, role);
    for (const name of ["user", "why", "claims", "users"]) {
      await page.goto(SCREENS[name]);
      await settled(page);
      assert.equal(await page.locator("main .problem").count(), 0, `${role} ${name}: ${await page.locator("main").innerText()}`);
    }
    await context.close();
  }
  assert.ok(seen.ADMIN.includes("Audit log") && seen.AUDITOR.includes("Audit log") && !seen.OPERATOR.includes("Audit log"));
});

await step("no token is in reach of a script", async () => {
  const { context, page } = await open();
  await logIn(page, "ADMIN");
  const kept = await page.evaluate(() => JSON.stringify([document.cookie, { ...localStorage }, { ...sessionStorage }]));
  assert.ok(kept.startsWith('["",'), kept);
  assert.ok(!/token|eyJ|session/i.test(kept), kept);
  const cookies = await context.cookies();
  assert.deepEqual(cookies.map(({ httpOnly, secure, sameSite }) => [httpOnly, secure, sameSite]), cookies.map(() => [true, true, "Strict"]));
  await context.close();
});

await step("a receipt is verified in the browser, and a changed one is not", async () => {
  const { context, page } = await open();
  await logIn(page, "AUDITOR", SCREENS.claim);
  await settled(page);
  await page.getByRole("button", { name: "Verify in this browser" }).click();
  await page.getByText("Verified in this browser:").waitFor();
  await page.route("**/receipt", async (route) => {
    const response = await route.fetch();
    const signed = await response.json();
    signed.receipt.slot += 1;
    await route.fulfill({ response, json: signed });
  });
  await page.reload();
  await settled(page);
  await page.getByRole("button", { name: "Verify in this browser" }).click();
  await page.getByText("The receipt is not authentic").waitFor();
  await context.close();
});

await step("a support person asks why, from the palette, with the keyboard alone", async () => {
  const { context, page, faults } = await open();
  await logIn(page, "OPERATOR");
  await settled(page);
  await page.keyboard.press("Control+k");
  await page.keyboard.type("why");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Why did this customer not get it?" }).waitFor();
  await page.locator("input[name=user]").focus();
  await page.keyboard.type(world.user);
  await page.keyboard.press("Tab");
  await page.keyboard.type(world.events.rejected);
  await page.keyboard.press("Enter");
  await page.getByText("The user would not get the rewards.").waitFor();
  await page.getByText("too-few").first().waitFor();
  assert.deepEqual(faults, []);
  await context.close();
});

await step("filters are in the URL", async () => {
  const { context, page } = await open();
  await logIn(page, "OPERATOR", SCREENS.claims);
  await settled(page);
  await page.locator("tbody tr").nth(2).waitFor();
  await page.locator("select[name=status]").selectOption("REJECTED");
  await page.getByRole("button", { name: "Search" }).click();
  await page.waitForURL("**/console/claims?status=REJECTED");
  await page.locator("tbody tr").nth(1).waitFor({ state: "detached" });
  await page.locator("tbody tr").first().waitFor();
  assert.equal(await page.locator("tbody tr").count(), 1);
  await page.goBack();
  await page.locator("tbody tr").nth(2).waitFor();
  await context.close();
});

await step("a session that ends in the middle of a form loses nothing that was typed", async () => {
  const { context, page, faults } = await open();
  await logIn(page, "OPERATOR", SCREENS.user);
  await settled(page);
  await page.getByRole("button", { name: "Replace" }).click();
  await page.locator("textarea").fill('{"level": "typed before the end"}');
  // Another tab logs out.
  const other = await context.newPage();
  await other.goto("/console/");
  await other.getByRole("button", { name: "Log out" }).click();
  await other.locator("input[type=email]").waitFor();
  await page.getByRole("button", { name: "Save" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.locator("input[type=email]").fill(accounts.OPERATOR.email);
  await dialog.locator("input[type=password]").fill(accounts.OPERATOR.password);
  await dialog.getByRole("button", { name: "Log in" }).click();
  await page.locator("dd").getByText("typed before the end").waitFor();
  assert.equal(await page.locator("textarea").count(), 0);
  assert.deepEqual(faults, []);
  await context.close();
});

await step("an operator reviews a held claim, uploads a plugin and restocks a reward", async () => {
  const { context, page, faults } = await open();
  await logIn(page, "OPERATOR", SCREENS.held);
  await settled(page);
  await page.locator("textarea").fill("Checked by telephone");
  await page.getByRole("button", { name: "Approve" }).click();
  await page.locator(".timeline").getByText("Checked by telephone").waitFor();
  await page.goto(SCREENS.plugins);
  await page.locator("input[type=file]").setInputFiles(fixture.module);
  await page.getByText("Accepted:").waitFor({ timeout: 60_000 });
  // Each check of the server is there, and none is left out.
  assert.equal(await page.locator(".checks li").count(), 8);
  assert.equal(await page.locator(".checks .badge.good").count(), 8);
  await page.getByRole("link", { name: "uploaded 1.2.3" }).first().click();
  await page.waitForURL("**/console/plugins/uploaded/1.2.3");
  await page.goto(SCREENS.reward);
  await page.locator("input[type=number]").fill("500");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("of 500 left").waitFor();
  assert.deepEqual(faults, []);
  await context.close();
});

/** Moves the focus with the Tab key alone until the element has it. */
async function tabTo(page, target) {
  for (let presses = 0; presses < 120; presses += 1) {
    if (await target.evaluate((element) => element === document.activeElement)) return;
    await page.keyboard.press("Tab");
  }
  assert.fail(`the keyboard does not reach ${target}`);
}

await step("an operator makes an event with the keyboard alone", async () => {
  const { context, page, faults } = await open();
  await logIn(page, "OPERATOR", SCREENS.newEvent);
  await settled(page);
  // A form that lacks everything says so at once.
  await tabTo(page, page.getByRole("button", { name: "Save, not active" }));
  await page.keyboard.press("Enter");
  await page.getByText("Choose a condition.").first().waitFor();
  await tabTo(page, page.getByLabel("Title", { exact: false }).first());
  await page.keyboard.type("Made by keyboard");
  await tabTo(page, page.locator(".plugin-card").filter({ hasText: "granting" }));
  await page.keyboard.press("Enter");
  await page.getByLabel("Version").waitFor();
  const add = page.locator("table button").first();
  await add.waitFor();
  await tabTo(page, add);
  await page.keyboard.press("Enter");
  for (const [field, date] of [["start", "03012026"], ["end", "04012026"]]) {
    await tabTo(page, page.locator(`[id="field:${encodeURIComponent(`/${field}Date`)}"]`));
    await page.keyboard.type(date);
    await page.keyboard.press("Tab");
    await page.keyboard.type("120000AM");
  }
  await tabTo(page, page.getByRole("button", { name: "Save, not active" }));
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Made by keyboard" }).waitFor();
  await page.waitForURL(/\/console\/events\/[0-9a-f-]{36}$/);
  assert.deepEqual(faults, []);
  await context.close();
});

await step("two operators change one event, and both changes are shown side by side", async () => {
  const { context, page, faults } = await open();
  await logIn(page, "OPERATOR", SCREENS.editEvent);
  await settled(page);
  const other = await context.newPage();
  await other.clock.setFixedTime(new Date(fixture.now));
  await other.goto(SCREENS.editEvent);
  await settled(other);
  const title = (of) => of.locator(`[id="field:${encodeURIComponent("/title")}"]`);
  const tags = (of) => of.locator(`[id="field:${encodeURIComponent("/tags")}"]`);
  await tags(other).fill("theirs");
  await other.getByRole("button", { name: "Save, stays active" }).click();
  await other.waitForURL(`**${SCREENS.event}`);
  await title(page).fill("My title");
  await page.getByRole("button", { name: "Save, stays active" }).click();
  await page.getByRole("heading", { name: "Two changes of the same event" }).waitFor();
  await checkAxe(page);
  await page.screenshot({ path: join(pictures, "conflict.png"), fullPage: true });
  await page.getByRole("button", { name: "Use this choice and save" }).click();
  await page.waitForURL(`**${SCREENS.event}`);
  await page.getByRole("heading", { name: "My title" }).waitFor();
  await page.getByText("theirs").first().waitFor();
  assert.deepEqual(faults, []);
  await context.close();
});

await step("a session that ends in the editor loses nothing that was typed", async () => {
  const { context, page, faults } = await open();
  await logIn(page, "OPERATOR", SCREENS.editEvent);
  await settled(page);
  await page.locator(`[id="field:${encodeURIComponent("/title")}"]`).fill("Typed before the end");
  const other = await context.newPage();
  await other.goto("/console/");
  await other.getByRole("button", { name: "Log out" }).click();
  await other.locator("input[type=email]").waitFor();
  await page.getByRole("button", { name: "Save, stays active" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.locator("input[type=email]").fill(accounts.OPERATOR.email);
  await dialog.locator("input[type=password]").fill(accounts.OPERATOR.password);
  await dialog.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("heading", { name: "Typed before the end" }).waitFor();
  assert.deepEqual(faults, []);
  await context.close();
});

await step("an administrator creates a service key and sees its secret once", async () => {
  const { context, page, faults } = await open();
  await logIn(page, "ADMIN", SCREENS.settings);
  await settled(page);
  const form = page.locator("form").filter({ has: page.getByRole("button", { name: "Create a key" }) });
  await form.locator("input").nth(0).fill("shop");
  await form.locator("input").nth(1).fill("activities:write");
  await form.getByRole("button").click();
  const secret = await page.getByRole("dialog").locator("code").innerText();
  assert.match(secret, /^meed_sk_/);
  await page.getByRole("dialog").getByRole("button", { name: "Close" }).click();
  assert.ok(!(await page.content()).includes(secret));
  assert.deepEqual(faults, []);
  await context.close();
});

await step("a server that is away and comes back", async () => {
  const { context, page } = await open();
  await logIn(page, "AUDITOR", SCREENS.claims);
  await settled(page);
  await context.setOffline(true);
  await page.locator("select[name=status]").selectOption("GRANTED");
  await page.getByRole("button", { name: "Search" }).click();
  await page.getByText("The server cannot be reached").waitFor();
  await context.setOffline(false);
  await page.getByRole("button", { name: "Try again" }).click();
  await page.locator("tbody tr").first().waitFor();
  await context.close();
});

await releaseSteps({ step, open, logIn, settled, world });

await browser.close();
if (failures > 0) {
  console.log(`${failures} failed`);
  process.exit(1);
}
