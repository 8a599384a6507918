// The API with types from its document. A request that needs a login or a proof of identity waits for it and is sent again, so
// nothing that was typed is lost.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];
export type Problem = Schemas["Problem"];

/** What a failed request throws. */
export class ProblemError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail);
  }
}

type Need = "login" | "proof";
/** Asks the user for it. True: send the request again. */
let ask: (need: Need) => Promise<boolean> = async () => false;
const asking = new Map<Need, Promise<boolean>>();

export function onNeed(handler: (need: Need) => Promise<boolean>): void {
  ask = handler;
}

/** Requests that fail together ask once. */
function askOnce(need: Need): Promise<boolean> {
  let answer = asking.get(need);
  if (!answer) {
    answer = ask(need).finally(() => asking.delete(need));
    asking.set(need, answer);
  }
  return answer;
}

export async function problemOf(response: Response): Promise<Problem> {
  const type = response.headers.get("content-type") ?? "";
  if (type.startsWith("application/problem+json")) return (await response.clone().json()) as Problem;
  return offline(response.status, response.statusText);
}

function offline(status: number, detail: string): Problem {
  return { type: "", title: "", status, code: status === 0 ? "offline" : "no-problem", detail };
}

async function send(request: Request): Promise<Response> {
  try {
    return await fetch(request);
  } catch (error) {
    throw new ProblemError(offline(0, String(error)));
  }
}

async function fetchAgain(request: Request): Promise<Response> {
  for (;;) {
    const response = await send(request.clone());
    if (response.status !== 401 && response.status !== 403) return response;
    const { code } = await problemOf(response);
    const need = code === "unauthenticated" || code === "invalid-token" ? "login" : code === "step-up-required" ? "proof" : null;
    if (need === null || !(await askOnce(need))) return response;
    // An unread response keeps its connection.
    await response.body?.cancel();
  }
}

export const api = createClient<paths>({ baseUrl: location.origin, fetch: fetchAgain });

/** The body of a response, or its problem. */
export async function ok<T>(call: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  const { data, error, response } = await call;
  if (response.ok) return data as T;
  // The client has read the body already.
  const isProblem = typeof error === "object" && error !== null && "code" in error;
  throw new ProblemError(isProblem ? (error as Problem) : offline(response.status, response.statusText));
}

/** For bodies that are no JSON. */
export async function sendBytes<T>(path: string, type: string, body: BodyInit): Promise<T> {
  const request = new Request(path, { method: "POST", headers: { "content-type": type }, body });
  const response = await fetchAgain(request);
  if (!response.ok) throw new ProblemError(await problemOf(response));
  return (await response.json()) as T;
}
