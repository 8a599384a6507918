import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import { Meed, MeedError, verifyReceipt, verifyWebhook } from "@meed/client";

const { MEED_URL = "", MEED_KEY = "", MEED_EVENT = "", WEBHOOK_SECRET = "", PORT = "8080" } = process.env;
const meed = new Meed({ url: MEED_URL, key: MEED_KEY });
const keys = await meed.receiptKeys(); // Better: keep them in a file that you trust.
const handled = new Set<string>(); // Better: a table, written together with the delivery.

/** A customer paid for an order: records the purchase and claims the reward. */
async function paid(order: { id: string; customer: string; cents: number }) {
  const externalUserId = order.customer;
  await meed.upsertUser(externalUserId);
  await meed.record({ source: "shop", id: order.id, externalUserId, kind: "shop.purchase", amount: order.cents });
  try {
    const request = await meed.claim({ eventId: MEED_EVENT, externalUserId });
    if (request.status !== "GRANTED") return { granted: false, why: request.reasons.map(({ message }) => message) };
    const { receipt } = await verifyReceipt(await meed.receipt(request.id), keys);
    return { granted: true, awards: receipt?.awards };
  } catch (error) {
    if (error instanceof MeedError && error.code === "already-granted") return { granted: false, why: ["Granted before"] };
    throw error;
  }
}

/** Meed granted something: hands it out, once. */
async function webhook(headers: Record<string, string | string[] | undefined>, body: string) {
  const event = await verifyWebhook(headers, body, WEBHOOK_SECRET);
  if (event.type === "reward.granted" && !handled.has(event.id)) {
    for (const grant of event.data.grants) console.log(`deliver ${grant.quantity} × ${grant.reward.type}`);
  }
  handled.add(event.id);
}

createServer(async (request, response) => {
  try {
    const body = await text(request);
    const answer = request.url === "/meed" ? await webhook(request.headers, body) : await paid(JSON.parse(body));
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer ?? {}));
  } catch (error) {
    response.writeHead(500).end(String(error));
  }
}).listen(Number(PORT), "127.0.0.1", () => console.log("the shop is open"));
