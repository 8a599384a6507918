/** HTTP with retries: what is safe to repeat is repeated after network errors and overload, as the server asks. */

import { MeedError } from "./errors.js";
import type { Problem } from "./types.js";

/** A service key or an access token, or a function that returns the current one. */
export type Key = string | (() => string | Promise<string>);

export interface TransportOptions {
  url: string;
  key?: Key | undefined;
  /** How often a call is repeated; 4 by default. */
  retries?: number | undefined;
  /** The time limit of one attempt, in milliseconds; 30,000 by default. */
  timeoutMs?: number | undefined;
  /** The longest pause before a repetition, in milliseconds; 30,000 by default. If the server asks for more, the call fails. */
  maxPauseMs?: number | undefined;
  /** Another `fetch`, such as one with a proxy. */
  fetch?: typeof fetch | undefined;
}

export interface CallOptions {
  /** Ends the call, also between two attempts. */
  signal?: AbortSignal | undefined;
}

type Query = Record<string, string | number | boolean | undefined>;

export interface RequestOptions extends CallOptions {
  query?: Query | undefined;
  headers?: Record<string, string> | undefined;
  /** Sent as JSON. */
  body?: unknown;
  /** Sent as it is; `headers` has its `content-type`. */
  rawBody?: string | undefined;
  /** Whether the call may be repeated; by default that of a GET. */
  isSafe?: boolean | undefined;
}

/** Reads the text of a successful response; it may throw a `MeedError`. */
export type Read<T> = (text: string, response: Response) => T;

/** The same with the response itself, within the time limit of an attempt. */
type ReadResponse<T> = (response: Response) => Promise<T>;

const FIRST_PAUSE_MS = 200;
const RETRYABLE_STATUS = new Set([0, 429, 502, 503, 504]);
const RETRYABLE_CODES = new Set(["body-timeout", "overloaded", "stream-interrupted", "timed-out", "unavailable"]);
/** After these, nothing was done. */
const NOTHING_DONE = new Set(["rate-limited", "overloaded"]);

export class Transport {
  readonly #options: { retries: number; timeoutMs: number; maxPauseMs: number; fetch: typeof fetch };
  readonly #url: string;
  readonly #key: Key | undefined;

  constructor({ url, key, retries = 4, timeoutMs = 30_000, maxPauseMs = 30_000, fetch: own }: TransportOptions) {
    this.#url = new URL(url).href.replace(/\/+$/, "");
    this.#key = key;
    this.#options = { retries, timeoutMs, maxPauseMs, fetch: own ?? ((...request) => fetch(...request)) };
  }

  send<T>(method: string, path: string, options: RequestOptions, read: Read<T>): Promise<T> {
    return this.#send(method, path, options, async (response) => read(await response.text(), response));
  }

  /** A response whose body takes as long as the server wants. */
  open(path: string, options: RequestOptions): Promise<Response> {
    return this.#send("GET", path, options, async (response) => response);
  }

  async #send<T>(method: string, path: string, options: RequestOptions, read: ReadResponse<T>): Promise<T> {
    const isSafe = options.isSafe ?? method === "GET";
    for (let attempt = 0; ; attempt++) {
      const error = await this.#attempt(method, path, options, read).catch((error: unknown) => {
        options.signal?.throwIfAborted();
        if (error instanceof MeedError) return { error };
        const detail = `${method} ${this.#url}${path} got no response: ${describe(error)}`;
        return { error: new MeedError({ status: 0, code: "unreachable", detail, cause: error }) };
      });
      if ("value" in error) return error.value;
      const pause = this.#pause(error.error, attempt, isSafe);
      if (pause === undefined) throw error.error;
      await sleep(pause, options.signal);
    }
  }

  async #attempt<T>(
    method: string,
    path: string,
    options: RequestOptions,
    read: ReadResponse<T>,
  ): Promise<{ value: T }> {
    const headers = new Headers({ accept: "application/json, application/x-ndjson", ...options.headers });
    const key = typeof this.#key === "function" ? await this.#key() : this.#key;
    if (key !== undefined) headers.set("authorization", `Bearer ${key}`);
    let body = options.rawBody;
    if (options.body !== undefined) {
      headers.set("content-type", "application/json");
      body = JSON.stringify(options.body);
    }
    const limit = new AbortController();
    const { timeoutMs } = this.#options;
    const late = () => limit.abort(new DOMException(`no response within ${timeoutMs} ms`, "TimeoutError"));
    const timer = setTimeout(late, timeoutMs);
    try {
      const response = await this.#options.fetch(`${this.#url}${path}${search(options.query)}`, {
        method,
        headers,
        signal: options.signal ? AbortSignal.any([options.signal, limit.signal]) : limit.signal,
        // A followed redirect would turn a POST into a GET.
        redirect: "manual",
        ...(body === undefined ? {} : { body }),
      });
      if (!response.ok) throw failure(response, await response.text());
      return { value: await read(response) };
    } finally {
      clearTimeout(timer);
    }
  }

  /** In milliseconds; `undefined`: no further attempt. */
  #pause(error: MeedError, attempt: number, isSafe: boolean): number | undefined {
    const { retries, maxPauseMs } = this.#options;
    const isRetryable = RETRYABLE_STATUS.has(error.status) || RETRYABLE_CODES.has(error.code);
    if (attempt >= retries || !isRetryable || !(isSafe || NOTHING_DONE.has(error.code))) return undefined;
    // Jitter, so that clients that failed together do not return together.
    const pause = FIRST_PAUSE_MS * 2 ** attempt * (0.5 + Math.random() / 2);
    const asked = (error.retryAfter ?? 0) * 1000;
    return asked > maxPauseMs ? undefined : Math.max(asked, Math.min(pause, maxPauseMs));
  }
}

/** One segment of a path. */
export function segment(text: string): string {
  // Every URL parser drops these two, also when they are percent-encoded.
  if (text === "." || text === "..") throw new TypeError(`${text} cannot be part of a path`);
  return encodeURIComponent(text);
}

export function readJson<T>(text: string, response: Response): T {
  try {
    return JSON.parse(text) as T;
  } catch (cause) {
    const detail = `${response.url} answered ${response.status} without JSON: is this the URL of Meed?`;
    throw new MeedError({ status: response.status, code: "unexpected-response", detail, cause });
  }
}

function search(query: Query = {}): string {
  const entries = Object.entries(query).filter(([, value]) => value !== undefined);
  return entries.length === 0 ? "" : `?${new URLSearchParams(entries.map(([name, value]) => [name, `${value}`]))}`;
}

function failure(response: Response, text: string): MeedError {
  const { status, headers } = response;
  const common = {
    status,
    requestId: headers.get("x-request-id") ?? undefined,
    retryAfter: seconds(headers.get("retry-after")),
  };
  if (headers.get("content-type")?.startsWith("application/problem+json")) {
    try {
      const problem = JSON.parse(text) as Problem;
      const { code, detail, errors } = problem;
      return new MeedError({ ...common, code, detail, errors, problem, requestId: problem.requestId ?? common.requestId });
    } catch {
      // Cut off
    }
  }
  const detail = `${response.url} answered ${status} without a problem: is there a proxy before Meed?`;
  return new MeedError({ ...common, code: "unexpected-response", detail });
}

/** `Retry-After`: seconds or a date. */
function seconds(value: string | null): number | undefined {
  if (value === null) return undefined;
  const number = /^[0-9]+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isNaN(number) ? undefined : Math.max(0, number);
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  return cause instanceof Error ? `${error.message} (${cause.message})` : error.message;
}

export function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted) stop();
  });
}
