/** Server-sent events: reads a stream, and opens it again where it broke off. */

import { MeedError } from "./errors.js";
import { type CallOptions, sleep, type Transport } from "./transport.js";

export interface WatchOptions extends CallOptions {
  /** The `id` of the last event that you have; then you get everything after it. */
  lastEventId?: string | undefined;
}

/** An event of a stream. */
export interface Watched<Type extends string, Data> {
  type: Type;
  /** Where to continue; `undefined` before the last of the events after a `reset`. */
  id: string | undefined;
  data: Data;
}

/** After this time without a byte, not even a heartbeat, the connection is dead. */
const SILENCE_MS = 90_000;
const FIRST_RETRY_MS = 2_000;

/** Yields the events with these names, for ever: it ends by the signal, by `break`, or with a `MeedError`. */
export async function* watch<Event extends Watched<string, unknown>>(
  transport: Transport,
  path: string,
  query: Record<string, string | undefined>,
  names: readonly Event["type"][],
  options: WatchOptions,
): AsyncGenerator<Event, never, undefined> {
  let [last, retry] = [options.lastEventId, FIRST_RETRY_MS];
  for (;;) {
    const headers: Record<string, string> = { accept: "text/event-stream" };
    if (last !== undefined) headers["last-event-id"] = last;
    const response = await transport.open(path, { query, headers, signal: options.signal });
    for await (const block of blocks(response, options.signal)) {
      const event = parse(block);
      if (event.id !== undefined) last = event.id;
      if (event.retry !== undefined) retry = event.retry;
      const type = names.find((name) => name === event.type);
      if (type === undefined || event.data === undefined) continue;
      yield { type, id: event.id, data: json(event.data) } as Event;
    }
    options.signal?.throwIfAborted();
    await sleep(retry, options.signal);
  }
}

/** The blocks of lines between empty lines, until the connection ends in any way. */
async function* blocks(response: Response, signal: AbortSignal | undefined): AsyncGenerator<string, void, undefined> {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  if (!reader) return;
  let text = "";
  try {
    for (;;) {
      const { value, done } = await beforeSilence(reader.read());
      if (done) return;
      text += value;
      const complete = text.split("\n\n");
      text = complete.pop() ?? "";
      yield* complete;
    }
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof MeedError) throw error;
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

async function beforeSilence<T>(read: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("the stream is silent")), SILENCE_MS);
  });
  try {
    return await Promise.race([read, silence]);
  } finally {
    clearTimeout(timer);
  }
}

function parse(block: string): { id?: string; type?: string; data?: string; retry?: number } {
  const event: { id?: string; type?: string; data?: string; retry?: number } = {};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    const [name, value] = [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, "")];
    if (name === "id") event.id = value;
    if (name === "event") event.type = value;
    if (name === "data") event.data = event.data === undefined ? value : `${event.data}\n${value}`;
    if (name === "retry" && /^[0-9]+$/.test(value)) event.retry = Number(value);
  }
  return event;
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new MeedError({ status: 200, code: "unexpected-response", detail: "An event is not JSON.", cause });
  }
}
