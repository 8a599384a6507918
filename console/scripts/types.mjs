// Writes src/api/schema.ts from the OpenAPI document that the server's tests keep.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const console = new URL("..", import.meta.url).pathname;
const snapshot = readFileSync(join(console, "../meed/tests/it/snapshots/openapi.snap"), "utf8");
// A snapshot has a head between two lines of dashes.
const document = snapshot.split("\n---\n").slice(1).join("\n---\n");
const folder = mkdtempSync(join(tmpdir(), "meed-openapi-"));
const file = join(folder, "openapi.json");
writeFileSync(file, document);
execFileSync(
  join(console, "node_modules/.bin/openapi-typescript"),
  [file, "--output", join(console, "src/api/schema.ts"), "--default-non-nullable=false"],
  { stdio: ["ignore", "ignore", "inherit"] },
);
rmSync(folder, { recursive: true });
