// Fails if a message is unused, has other arguments in Korean than in English, or was not translated.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

const source = new URL("../src", import.meta.url).pathname;
const parse = (language) => {
  const text = readFileSync(join(source, `messages/${language}.ts`), "utf8");
  return new Map([...text.matchAll(/^ {2}"([^"]+)":\s+"((?:[^"\\]|\\.)*)",$/gm)].map((match) => [match[1], match[2]]));
};
const [en, ko] = [parse("en"), parse("ko")];
// Words that stay Latin: names of formats, protocols and commands.
const LATIN = new Set(
  "Meed ID UUID TOTP API URL CSV JSON SHA-256 Ed25519 wasm curl meed replay Ctrl K UTC KO EN OIDC IP English HTTP".split(" "),
);
const problems = [];
const used = readdirSync(source, { recursive: true })
  .filter((name) => /\.tsx?$/.test(name) && !name.startsWith("messages/"))
  .map((name) => readFileSync(join(source, name), "utf8"))
  .join("\n");
// Keys of these groups are made of a prefix and a value of the API.
const BY_VALUE = /^(status|state|role|reason|outcome|fulfilment|action|period|signature|theme|nav|problem|actor|gate|refusal|entry|arm|divergence|population|skipped|pace|flip|flip-hint|cannot|verdict|search|phase)\./;
for (const [key, text] of en) {
  const other = ko.get(key);
  if (other === undefined) problems.push(`${key}: missing in ko`);
  else {
    const args = (message) => [...message.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort().join();
    if (args(text) !== args(other)) problems.push(`${key}: arguments ${args(text)} in en, ${args(other)} in ko`);
    const words = other.replace(/\{\w+\}/g, "").match(/[A-Za-z][A-Za-z0-9-]*/g) ?? [];
    const latin = words.filter((word) => !LATIN.has(word));
    if (latin.length > 0) problems.push(`${key}: not translated in ko: ${latin.join(" ")}`);
  }
  if (!BY_VALUE.test(key) && !used.includes(`"${key}"`)) problems.push(`${key}: unused`);
}
for (const key of ko.keys()) if (!en.has(key)) problems.push(`${key}: extra in ko`);
if (en.size === 0) problems.push("no messages found");
if (problems.length > 0) {
  console.error(problems.join("\n"));
  process.exit(1);
}
console.log(`console: ${en.size} messages in 2 languages`);
