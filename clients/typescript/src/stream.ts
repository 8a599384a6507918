/** Records any number of activities in parts, each a request of its own that is safe to repeat. */

import { MeedError } from "./errors.js";
import type { CallOptions, Transport } from "./transport.js";
import type { IngestionProgress } from "./types.js";

const MAX_LINES = 1000;
/** So that one request takes neither much memory nor much time. */
const MAX_CHARACTERS = 1 << 20;

type Interrupted = { through: number; code: string; detail: string };

export async function* recordLines(
  transport: Transport,
  activities: Iterable<object> | AsyncIterable<object>,
  options: CallOptions & { firstLine?: number | undefined },
): AsyncGenerator<IngestionProgress, void, undefined> {
  const total = { through: (options.firstLine ?? 1) - 1, recorded: 0, duplicates: 0, rejected: 0 };
  for await (const { lines, isLast } of parts(activities)) {
    const call = {
      signal: options.signal,
      isSafe: true,
      query: { firstLine: total.through + 1 },
      headers: { "content-type": "application/x-ndjson", prefer: "handling=lenient" },
      rawBody: lines.map((line) => `${line}\n`).join(""),
    };
    let part: IngestionProgress;
    try {
      part = await transport.send("POST", "/activities", call, readProgress);
    } catch (error) {
      if (error instanceof MeedError) error.through = total.through;
      throw error;
    }
    total.through += lines.length;
    total.recorded += part.recorded;
    total.duplicates += part.duplicates;
    total.rejected += part.rejected;
    yield { ...total, errors: part.errors, done: isLast };
  }
}

/** One activity per line; the last part is known as such, and may be empty only if there are no activities. */
async function* parts(
  activities: Iterable<object> | AsyncIterable<object>,
): AsyncGenerator<{ lines: string[]; isLast: boolean }, void, undefined> {
  let [lines, characters]: [string[], number] = [[], 0];
  for await (const activity of activities) {
    const line = JSON.stringify(activity);
    if (lines.length >= MAX_LINES || (lines.length > 0 && characters + line.length > MAX_CHARACTERS)) {
      yield { lines, isLast: false };
      [lines, characters] = [[], 0];
    }
    lines.push(line);
    characters += line.length;
  }
  if (lines.length > 0) yield { lines, isLast: true };
}

/** The last line of the response, with the errors of all lines. */
function readProgress(text: string, response: Response): IngestionProgress {
  const interrupted = (code: string, detail: string) =>
    new MeedError({
      status: response.status,
      code,
      detail,
      requestId: response.headers.get("x-request-id") ?? undefined,
    });
  let lines: (IngestionProgress | Interrupted)[] = [];
  try {
    const texts = text.split("\n").filter((line) => line !== "");
    lines = texts.map((line) => JSON.parse(line) as IngestionProgress | Interrupted);
  } catch {
    // The last line is cut off.
  }
  const last = lines.at(-1);
  if (last && "code" in last) throw interrupted(last.code, last.detail);
  if (!last?.done) throw interrupted("stream-interrupted", "The response ended before the server had read all lines.");
  const errors = lines.flatMap((line) => ("errors" in line ? line.errors : []));
  return { ...last, errors };
}
