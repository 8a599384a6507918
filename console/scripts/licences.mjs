// Fails if a package that is part of the build has a licence that deny.toml does not allow.
import { readFileSync } from "node:fs";

const root = new URL("..", import.meta.url);
const read = (path) => readFileSync(new URL(path, root), "utf8");
const allowed = new Set(read("../deny.toml").split("allow = [")[1].split("]")[0].match(/"[^"]+"/g).map((text) => text.slice(1, -1)));
const { packages } = JSON.parse(read("package-lock.json"));
const wrong = Object.entries(packages)
  .filter(([path, entry]) => path !== "" && !entry.dev && !allowed.has(entry.license))
  .map(([path, entry]) => `${path}: ${entry.license}`);
if (wrong.length > 0) {
  console.error(`licences that deny.toml does not allow:\n${wrong.join("\n")}`);
  process.exit(1);
}
