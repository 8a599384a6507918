// Packs the build, checks the size of its first view, and replaces dist/www if anything changed: the server is compiled again
// when a file there is newer.
import { cpSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const LIMIT = 150_000;
const console_ = new URL("..", import.meta.url).pathname;
const [build, www] = [join(console_, "build"), join(console_, "dist/www")];
const list = (folder) => {
  try {
    const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
    return new Map(entries.filter((entry) => entry.isFile()).map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return [path.slice(folder.length + 1), readFileSync(path)];
    }));
  } catch {
    return new Map();
  }
};
const size = new Map();
for (const [name, content] of list(build)) {
  if (!/\.(js|css|html|svg)$/.test(name)) continue;
  const packed = gzipSync(content, { level: 9 });
  writeFileSync(join(build, `${name}.gz`), packed);
  size.set(name, packed.length);
}
const page = readFileSync(join(build, "index.html"), "utf8");
const first = ["index.html", ...[...page.matchAll(/\/console\/(assets\/[^"]+)/g)].map((match) => match[1])];
const bytes = first.reduce((sum, name) => sum + (size.get(name) ?? 0), 0);
console.log(`console: ${size.size} files; first view ${bytes} bytes with gzip, at most ${LIMIT}`);
if (bytes > LIMIT) process.exit(1);

const [built, published] = [list(build), list(www)];
const isSame = built.size === published.size && [...built].every(([name, content]) => published.get(name)?.equals(content));
if (!isSame) {
  rmSync(www, { recursive: true, force: true });
  cpSync(build, www, { recursive: true });
}
