// Writes a .gz beside each text file of the build, and fails if the first view is too large.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const LIMIT = 150_000;
const www = new URL("../dist/www", import.meta.url).pathname;
const size = new Map();
for (const name of readdirSync(www, { recursive: true })) {
  if (!/\.(js|css|html|svg)$/.test(name)) continue;
  const packed = gzipSync(readFileSync(join(www, name)), { level: 9 });
  writeFileSync(join(www, `${name}.gz`), packed);
  size.set(name, packed.length);
}
const page = readFileSync(join(www, "index.html"), "utf8");
const first = ["index.html", ...[...page.matchAll(/\/console\/(assets\/[^"]+)/g)].map((match) => match[1])];
const bytes = first.reduce((sum, name) => sum + (size.get(name) ?? 0), 0);
console.log(`console: ${size.size} files; first view ${bytes} bytes with gzip, at most ${LIMIT}`);
if (bytes > LIMIT) process.exit(1);
