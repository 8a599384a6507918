// Releases, backtests and the time slider in a browser: the stories of an operator and of an approver, what an auditor sees, two
// people at once, and a server that cannot be reached for a while.
import assert from "node:assert/strict";

const OWN = "You wrote this release, so another person must approve it.";
const button = (page, name) => page.getByRole("button", { name, exact: true });

export function releaseScreens(world) {
  return {
    releases: "/console/releases",
    release: `/console/releases/${world.release}`,
    newRelease: `/console/releases/new?event=${world.events.rejected}&backtest=${world.backtest}`,
    editRelease: `/console/releases/${world.release}/edit`,
    chooseEvent: "/console/releases/new",
    backtests: "/console/backtests",
    backtest: `/console/backtests/${world.backtest}`,
    newBacktest: `/console/backtests/new?event=${world.events.rejected}`,
  };
}

export async function releaseSteps({ step, open, logIn, settled, world }) {
  const screens = releaseScreens(world);

  await step("an auditor reads releases and backtests, and has no button that changes one", async () => {
    const { context, page, faults } = await open();
    await logIn(page, "AUDITOR", screens.release);
    await settled(page);
    await page.getByRole("heading", { name: "Conversation" }).waitFor();
    const writes = ["Approve exactly this", "Reject", "Withdraw", "Send", "Hold", "Resume", "Roll back", "Waive the backtest", "Submit for review", "Make it live now", "Start the ramp"];
    for (const name of writes) assert.equal(await button(page, name).count(), 0, name);
    assert.equal(await page.locator("main textarea").count(), 0);
    assert.equal(await page.getByRole("link", { name: "Edit", exact: true }).count(), 0);
    await page.goto(screens.backtest);
    await settled(page);
    await page.getByRole("heading", { name: "Coverage" }).waitFor();
    assert.equal(await page.getByRole("link", { name: "Propose this as a release" }).count(), 0);
    for (const name of ["newRelease", "editRelease", "newBacktest"]) {
      await page.goto(screens[name]);
      await page.getByText("There is no such screen").waitFor();
    }
    assert.deepEqual(faults, []);
    await context.close();
  });

  await step("an operator proposes, another person looks at the evidence and approves, and the ramp is held and rolled back", async () => {
    const [author, approver] = [await open(), await open()];
    await logIn(author.page, "OPERATOR", screens.backtest);
    await author.page.getByRole("link", { name: "Propose this as a release" }).click();
    // Nothing is sent before it says what changes.
    await button(author.page, "Submit for review").click();
    await author.page.getByText("Say what changes, and why.").first().waitFor();
    const title = author.page.getByLabel("What changes, and why");
    await title.fill("Proposed in the browser");
    await button(author.page, "Compare, then 10 and 50 percent").click();
    await button(author.page, "Submit for review").click();
    await author.page.getByRole("heading", { name: "Proposed in the browser" }).waitFor();
    await settled(author.page);
    await author.page.getByText(OWN).waitFor();
    assert.ok(await button(author.page, "Approve exactly this").isDisabled());
    const path = new URL(author.page.url()).pathname;

    await logIn(approver.page, "ADMIN");
    await settled(approver.page);
    await approver.page.getByRole("link", { name: "Proposed in the browser" }).click();
    await settled(approver.page);
    // The evidence: from a number of the report to a user, and to why at that instant.
    await approver.page.getByRole("link", { name: /^[1-9]\d* users$/ }).first().click();
    await approver.page.waitForURL("**/console/backtests/*?flip=gained");
    await settled(approver.page);
    await approver.page.getByRole("link", { name: "Ask why" }).first().click();
    await approver.page.waitForURL("**/console/why?*known=then*");
    await approver.page.locator(".verdict").waitFor();
    await approver.page.goto(path);
    await settled(approver.page);

    // The author edits what the approver looks at.
    await author.page.getByRole("link", { name: "Edit", exact: true }).click();
    await author.page.getByLabel("What changes, and why").fill("Edited in the browser");
    await button(author.page, "Save").click();
    await author.page.getByRole("heading", { name: "Edited in the browser" }).waitFor();
    await button(approver.page, "Approve exactly this").click();
    await approver.page.getByText("The release is not what you looked at; load it again").waitFor();
    assert.ok(await button(approver.page, "Approve exactly this").isDisabled());
    await button(approver.page, "Load it again").click();
    await approver.page.getByRole("heading", { name: "Edited in the browser" }).waitFor();
    await button(approver.page, "Approve exactly this").click();
    await approver.page.locator(".badge", { hasText: "Approved" }).first().waitFor();

    await author.page.goto(path);
    await settled(author.page);
    await button(author.page, "Start the ramp").click();
    await author.page.locator(".badge", { hasText: "Ramping" }).first().waitFor();
    await settled(author.page);
    await author.page.getByRole("heading", { name: "Divergences" }).waitFor();

    // The approver's page is from before the start: an action says that the state is another one, and the reason stays typed.
    await approver.page.goto(path);
    await settled(approver.page);
    await button(approver.page, "Hold").click();
    const dialog = approver.page.getByRole("dialog");
    await dialog.locator("textarea").fill(world.hostile);
    await button(dialog, "Hold").click();
    await dialog.waitFor({ state: "detached" });
    await approver.page.locator(".badge", { hasText: "Held" }).first().waitFor();
    assert.ok((await approver.page.getByText(world.hostile).count()) >= 2, "the reason is a text");
    await button(author.page, "Hold").click();
    const late = author.page.getByRole("dialog");
    await late.locator("textarea").fill("too late");
    await button(late, "Hold").click();
    await late.getByText("The release is in another state by now").waitFor();
    assert.equal(await late.locator("textarea").inputValue(), "too late");
    await button(late, "Close").click();
    await button(author.page, "Load it again").click();
    await author.page.getByText("You wrote this release, so another person must resume it.").waitFor();
    assert.ok(await button(author.page, "Resume").isDisabled());
    await button(author.page, "Roll back").click();
    await author.page.getByRole("dialog").locator("textarea").fill("Back to what was live");
    await button(author.page.getByRole("dialog"), "Roll back").click();
    await author.page.locator(".badge", { hasText: "Rolled back" }).first().waitFor();
    for (const { context, page, faults } of [author, approver]) {
      assert.equal(await page.evaluate(() => globalThis.hacked), undefined);
      assert.deepEqual(faults, []);
      await context.close();
    }
  });

  await step("a server that cannot be reached for a while loses no comment", async () => {
    const { context, page } = await open();
    await logIn(page, "OPERATOR", screens.release);
    await settled(page);
    const comment = page.getByLabel("Comment", { exact: true });
    await comment.fill("typed while the server was away");
    await context.setOffline(true);
    await button(page, "Send").click();
    await page.getByText("The server cannot be reached").first().waitFor();
    assert.equal(await comment.inputValue(), "typed while the server was away");
    await context.setOffline(false);
    await button(page, "Send").click();
    await page.locator("td", { hasText: "typed while the server was away" }).waitFor();
    assert.equal(await comment.inputValue(), "");
    await context.close();
  });

  await step("a backtest is started, paused, resumed and cancelled", async () => {
    const { context, page, faults } = await open();
    await logIn(page, "OPERATOR", screens.newBacktest);
    await page.getByLabel("Sample").fill("a few");
    await button(page, "Start the backtest").click();
    await page.locator('[role="alert"]').first().waitFor();
    await page.getByLabel("Sample").fill("");
    await button(page, "Start the backtest").click();
    await page.waitForURL(/\/console\/backtests\/[0-9a-f-]{36}$/);
    await button(page, "Pause").click();
    await button(page, "Go on").click();
    await button(page, "Pause").waitFor();
    await button(page, "Cancel the backtest").click();
    await page.locator(".badge", { hasText: "Cancelled" }).waitFor();
    assert.deepEqual(faults, []);
    await context.close();
  });

  await step("the verdict follows the time slider, with the keyboard", async () => {
    const { context, page, faults } = await open();
    await logIn(page, "OPERATOR", `/console/why?user=${world.user}&event=${world.events.rejected}`);
    await settled(page);
    const slider = page.getByRole("slider");
    await slider.focus();
    const before = await slider.inputValue();
    for (let press = 0; press < 5; press += 1) await page.keyboard.press("ArrowLeft");
    assert.equal(Number(await slider.inputValue()), Number(before) - 5);
    await page.waitForURL(/[?&]at=/);
    await page.locator(".verdict").waitFor();
    const at = new URL(page.url()).searchParams.get("at");
    await page.locator(`dd time[datetime="${at}"]`).first().waitFor();
    // The focus stays, so the next key moves it on; and the way through time is no history of the browser.
    assert.ok(await slider.evaluate((element) => element === document.activeElement));
    // From tick to tick: the next one is an activity or a claim, and is named.
    await button(page, "Next tick").click();
    await page.locator(".slider .actions .hint").filter({ hasText: /\S/ }).waitFor();
    await page.waitForURL((url) => url.searchParams.get("at") !== at);
    await page.locator(".verdict").waitFor();
    assert.deepEqual(faults, []);
    await context.close();
  });
}
