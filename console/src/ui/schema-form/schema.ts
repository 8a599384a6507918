// What the form understands of a JSON Schema (2020-12). It validates nothing: the server does, and its answer names the fields.
// A schema comes from a plugin, so nothing in it is trusted: texts are shown as texts, references end after a few steps, and what
// is not understood here is edited as JSON.

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type Schema = { [keyword: string]: unknown };

/** How deep the form follows nested schemas; deeper values are edited as JSON. */
export const MAX_DEPTH = 8;
const MAX_REFS = 16;

export type Choice = { value: Json; label: string };
export type Kind =
  | { kind: "string"; format: string; long: boolean }
  | { kind: "number"; whole: boolean }
  | { kind: "boolean" }
  | { kind: "choice"; choices: Choice[] }
  | { kind: "object"; members: [string, Schema][]; required: Set<string>; others: Schema | undefined }
  | { kind: "array"; items: Schema; choices: Choice[] | undefined }
  | { kind: "json" };

const JSON_ONLY: Kind = { kind: "json" };
/** Keywords that change what a value may be in ways that the form does not show. */
const COMBINING = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "patternProperties", "prefixItems", "$dynamicRef", "$anchor"];

export function isSchema(value: unknown): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function own(of: object, name: string): unknown {
  return Object.hasOwn(of, name) ? (of as Schema)[name] : undefined;
}

/** The schema with its reference replaced; `undefined` if there is no such place in the document. */
export function resolve(schema: unknown, root: Schema): Schema | undefined {
  let found = schema;
  for (let step = 0; step < MAX_REFS; step += 1) {
    if (!isSchema(found)) return undefined;
    const ref = own(found, "$ref");
    if (ref === undefined) return found;
    if (typeof ref !== "string" || !ref.startsWith("#")) return undefined;
    const { $ref: _, ...beside } = found;
    const target = at(root, ref.slice(1));
    if (!isSchema(target)) return undefined;
    found = { ...target, ...beside };
  }
  return undefined;
}

function at(root: Schema, pointer: string): unknown {
  let found: unknown = root;
  for (const part of pointer.split("/").slice(1)) {
    if (typeof found !== "object" || found === null) return undefined;
    found = own(found, unescape(decode(part)));
  }
  return found;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function unescape(part: string): string {
  return part.replaceAll("~1", "/").replaceAll("~0", "~");
}

export function child(pointer: string, name: string | number): string {
  return `${pointer}/${String(name).replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

/** The parts of a JSON Pointer. */
export function partsOf(pointer: string): string[] {
  return pointer.split("/").slice(1).map(unescape);
}

export function kindOf(schema: Schema, root: Schema): Kind {
  const choices = choicesOf(schema);
  if (choices) return { kind: "choice", choices };
  if (COMBINING.some((keyword) => own(schema, keyword) !== undefined)) return JSON_ONLY;
  const type = typeOf(schema);
  switch (type) {
    case "string": {
      const most = schema["maxLength"];
      return { kind: "string", format: text(schema["format"]) ?? "", long: typeof most === "number" && most > 300 };
    }
    case "integer":
    case "number":
      return { kind: "number", whole: type === "integer" };
    case "boolean":
      return { kind: "boolean" };
    case "array":
      return arrayOf(schema, root);
    case "object":
      return objectOf(schema);
    default:
      return JSON_ONLY;
  }
}

/** A type, or a type and null: null is then what an empty field means. */
function typeOf(schema: Schema): unknown {
  const type = schema["type"];
  if (!Array.isArray(type)) return type ?? (isSchema(schema["properties"]) ? "object" : undefined);
  const others = type.filter((name) => name !== "null");
  return others.length === 1 ? others[0] : undefined;
}

function choicesOf(schema: Schema): Choice[] | undefined {
  if (own(schema, "const") !== undefined) return [choice(schema["const"] as Json)];
  const { enum: values, oneOf, anyOf } = schema;
  if (Array.isArray(values) && values.length > 0) return values.map((value: Json) => choice(value));
  const list = oneOf ?? anyOf;
  if (!Array.isArray(list) || list.length === 0) return undefined;
  const isConst = (one: unknown): one is Schema => isSchema(one) && own(one, "const") !== undefined;
  return list.every(isConst) ? list.map((one) => choice(one["const"] as Json, text(one["title"]) ?? text(one["description"]))) : undefined;
}

function choice(value: Json, label?: string): Choice {
  return { value, label: label ?? (typeof value === "string" ? value : JSON.stringify(value)) };
}

function arrayOf(schema: Schema, root: Schema): Kind {
  const items = resolve(schema["items"], root);
  if (!items) return JSON_ONLY;
  const choices = schema["uniqueItems"] === true ? choicesOf(items) : undefined;
  return { kind: "array", items, choices };
}

function objectOf(schema: Schema): Kind {
  const { properties, required, additionalProperties: others } = schema;
  const members = isSchema(properties) ? Object.entries(properties) : [];
  if (!members.every((member): member is [string, Schema] => isSchema(member[1]))) return JSON_ONLY;
  const rest = isSchema(others) ? others : undefined;
  // Any members at all: a form cannot know which.
  if (members.length === 0 && rest === undefined && others !== false) return JSON_ONLY;
  return {
    kind: "object",
    members,
    required: new Set(Array.isArray(required) ? required.filter((name) => typeof name === "string") : []),
    others: rest,
  };
}

export function text(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** `lastDays` as "Last days". */
export function labelOf(name: string, schema: Schema): string {
  const title = text(schema["title"]);
  if (title) return title;
  const words = name.replace(/([a-z0-9])([A-Z])/g, "$1 $2").replace(/[_-]+/g, " ").toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** What a new value begins with: what the schema requires and only one answer is possible for. */
export function initial(schema: Schema, root: Schema, depth = 0): Json | undefined {
  const found = resolve(schema, root);
  if (!found || depth > MAX_DEPTH) return undefined;
  if (own(found, "default") !== undefined) return found["default"] as Json;
  const kind = kindOf(found, root);
  if (kind.kind === "choice") return kind.choices.length === 1 ? kind.choices[0]?.value : undefined;
  if (kind.kind === "boolean") return false;
  if (kind.kind === "array") return [];
  if (kind.kind !== "object") return undefined;
  const members = kind.members.filter(([name]) => kind.required.has(name));
  const values = members.map(([name, member]) => [name, initial(member, root, depth + 1)] as const);
  return Object.fromEntries(values.filter((pair): pair is [string, Json] => pair[1] !== undefined));
}

/** A number as it was typed; anything else stays a text, about which the server says what is wrong. */
export function numberOf(typed: string): Json {
  const trimmed = typed.trim();
  if (!/^-?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(trimmed)) return typed;
  const value = Number(trimmed);
  const isExact = Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value));
  return isExact ? value : typed;
}

/** A sentence that a validator says about an object belongs to the member that is missing. */
export function missingMember(message: string): string | undefined {
  return /^"(.+)" is a required property$/.exec(message)?.[1];
}
