// The form of a schema: one field for each value, by its kind.
import { useT } from "../../messages";
import { FormGroup } from "../form";
import { ArrayField, ObjectField } from "./containers";
import { BooleanField, ChoiceField, NumberField, TextField } from "./fields";
import { JsonField } from "./json";
import { type Json, type Schema, MAX_DEPTH, kindOf, labelOf, resolve, text } from "./schema";

/** `undefined` is a member that is absent. */
export type Change = (value: Json | undefined) => void;
export type Place = {
  schema: Schema;
  root: Schema;
  name: string;
  pointer: string;
  value: Json | undefined;
  change: Change;
  required: boolean;
  depth: number;
  /** Texts that are offered for the names of members, such as the ids of rewards. */
  names: { value: string; label: string }[];
};
export type FieldOf = Place & { label: string; hint: string | undefined };

/** The params of a condition. */
export function SchemaForm(props: { schema: Schema; pointer: string; value: Json; change: (value: Json) => void; label: string; names: Place["names"] }) {
  const { schema, pointer, value, change, label, names } = props;
  const t = useT();
  const root = resolve(schema, schema) ?? schema;
  const kind = kindOf(root, schema);
  const place: FieldOf = { schema: root, root: schema, name: "", pointer, value, change: (next) => change(next ?? {}), required: true, depth: 0, names, label, hint: undefined };
  const isForm = kind.kind === "object" && typeof value === "object" && value !== null && !Array.isArray(value);
  return isForm ? (
    <FormGroup pointer={pointer} label={label} hint={text(root["description"])}>
      {kind.members.length === 0 && kind.others === undefined && <p className="empty">{t("form.no-params")}</p>}
      <ObjectField place={place} kind={kind} />
    </FormGroup>
  ) : (
    <JsonField place={place} />
  );
}

export function SchemaField(place: Place) {
  const t = useT();
  const schema = place.depth > MAX_DEPTH ? undefined : resolve(place.schema, place.root);
  const label = labelOf(place.name, schema ?? {});
  if (!schema) return <JsonField place={{ ...place, label, hint: undefined }} />;
  const kind = kindOf(schema, place.root);
  const examples = schema["examples"];
  const known = (value: unknown) => (typeof value === "string" ? value : JSON.stringify(value));
  const hint = [
    text(schema["description"]),
    bounds(schema, t),
    schema["default"] === undefined ? undefined : t("form.default", { value: known(schema["default"]) }),
    Array.isArray(examples) && examples.length > 0 && kind.kind !== "choice" ? t("form.example", { value: known(examples[0]) }) : undefined,
  ]
    .filter(Boolean)
    .join(" ");
  const field: FieldOf = { ...place, schema, label, hint: hint === "" ? undefined : hint };
  // A value that does not have the shape of its schema is shown as it is.
  const { value } = place;
  switch (kind.kind) {
    case "string":
      return value === undefined || typeof value === "string" ? <TextField place={field} kind={kind} /> : <JsonField place={field} />;
    case "number":
      return value === undefined || typeof value === "number" || typeof value === "string" ? <NumberField place={field} kind={kind} /> : <JsonField place={field} />;
    case "boolean":
      return value === undefined || typeof value === "boolean" ? <BooleanField place={field} /> : <JsonField place={field} />;
    case "choice":
      return <ChoiceField place={field} choices={kind.choices} />;
    case "array":
      return value === undefined || Array.isArray(value) ? <ArrayField place={field} kind={kind} /> : <JsonField place={field} />;
    case "object": {
      const isObject = value === undefined || (typeof value === "object" && value !== null && !Array.isArray(value));
      if (!isObject) return <JsonField place={field} />;
      return (
        <FormGroup pointer={field.pointer} label={field.label} hint={field.hint} required={field.required}>
          <ObjectField place={field} kind={kind} />
        </FormGroup>
      );
    }
    default:
      return <JsonField place={field} />;
  }
}

/** The limits of a value in words. */
function bounds(schema: Schema, t: ReturnType<typeof useT>): string | undefined {
  const number = (keyword: string) => (typeof schema[keyword] === "number" ? (schema[keyword] as number) : undefined);
  const [least, most] = [number("minimum") ?? number("exclusiveMinimum"), number("maximum") ?? number("exclusiveMaximum")];
  if (least !== undefined && most !== undefined) return t("form.range", { least, most });
  if (least !== undefined) return t("form.least", { least });
  if (most !== undefined) return t("form.most", { most });
  const [items, members, length] = [number("maxItems"), number("maxProperties"), number("maxLength")];
  if (items !== undefined) return t("form.max-items", { most: items });
  if (members !== undefined) return t("form.max-items", { most: members });
  if (length !== undefined) return t("form.max-length", { most: length });
  return undefined;
}
