/** The shop of the README. */

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createHmac, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { test } from "node:test";

import { fixture } from "./support.js";

const SECRET = `whsec_${Buffer.from("the secret of the shop's endpoint").toString("base64")}`;

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address ? address.port : 0;
}

function start(port: number): { shop: ChildProcess; lines: AsyncIterator<string> } {
  const example = new URL("../examples/shop.js", import.meta.url).pathname;
  const env = { MEED_URL: fixture.url, MEED_KEY: fixture.key, MEED_EVENT: fixture.event, WEBHOOK_SECRET: SECRET, PORT: `${port}` };
  const shop = spawn(process.execPath, [example], { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "inherit"] });
  return { shop, lines: createInterface({ input: shop.stdout! })[Symbol.asyncIterator]() };
}

test("the shop of the README records, claims, verifies and delivers", async () => {
  const port = await freePort();
  const { shop, lines } = start(port);
  try {
    assert.equal((await lines.next()).value, "the shop is open");
    const post = async (path: string, body: string, headers: Record<string, string> = {}) => {
      const response = await fetch(`http://127.0.0.1:${port}${path}`, { method: "POST", body, headers });
      return [response.status, await response.text()] as const;
    };
    const order = { id: randomUUID(), customer: `typescript-shop-${process.pid}-${Date.now()}`, cents: 2500 };
    const [status, granted] = await post("/orders", JSON.stringify(order));
    assert.deepEqual([status, JSON.parse(granted).granted, JSON.parse(granted).awards[0].quantity], [200, true, 1]);
    const again = JSON.parse((await post("/orders", JSON.stringify(order)))[1]);
    assert.deepEqual(again, { granted: false, why: ["Granted before"] });

    const id = randomUUID();
    const data = { grants: [{ quantity: 3, reward: { type: "COUPON" } }] };
    const message = JSON.stringify({ specversion: "1.0", id, type: "reward.granted", data });
    const time = `${Math.floor(Date.now() / 1000)}`;
    const signature = createHmac("sha256", Buffer.from(SECRET.slice(6), "base64")).update(`${id}.${time}.${message}`);
    const headers = { "webhook-id": id, "webhook-timestamp": time, "webhook-signature": `v1,${signature.digest("base64")}` };
    // The second delivery of a message changes nothing.
    for (let delivery = 0; delivery < 2; delivery++) assert.equal((await post("/meed", message, headers))[0], 200);
    assert.equal((await post("/meed", `${message} `, headers))[0], 500);
    assert.equal((await lines.next()).value, "deliver 3 × COUPON");
    shop.kill();
    assert.equal((await lines.next()).done, true, "the shop delivered twice");
  } finally {
    shop.kill();
  }
});

test("the README shows this shop", () => {
  const read = (path: string) => readFileSync(new URL(path, import.meta.url), "utf8");
  assert.ok(read("../../README.md").includes(`\`\`\`ts\n${read("../../examples/shop.ts")}\`\`\`\n`));
});
