// Fields of objects, maps and arrays. Names and numbers of members come from plugins and users, so members are read and written
// as own properties only.
import { useId, useState } from "react";
import { useT } from "../../messages";
import { FormGroup } from "../form";
import { type FieldOf, SchemaField } from "./form";
import { isSame } from "./fields";
import { type Choice, type Json, type Schema, child, initial } from "./schema";

type Members = { [name: string]: Json };

function membersOf(value: Json | undefined): Members {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value : {};
}

/** The members in their order, with one replaced, added or removed. */
function withMember(members: Members, name: string, value: Json | undefined): Members {
  const entries = Object.entries(members).filter(([known]) => known !== name || value !== undefined);
  const next = entries.map(([known, old]) => [known, known === name ? (value as Json) : old] as const);
  if (value !== undefined && !Object.hasOwn(members, name)) next.push([name, value]);
  return Object.fromEntries(next);
}

export function ObjectField({ place, kind }: { place: FieldOf; kind: { members: [string, Schema][]; required: Set<string>; others: Schema | undefined } }) {
  const t = useT();
  const { root, pointer, value, change, required, depth, names } = place;
  const [draft, setDraft] = useState("");
  const list = useId();
  const members = membersOf(value);
  const declared = new Set(kind.members.map(([name]) => name));
  const others = Object.keys(members).filter((name) => !declared.has(name));
  const set = (name: string, next: Json | undefined) => change(withMember(members, name, next));
  if (value === undefined && !required && kind.members.length > 0) {
    return (
      <button type="button" onClick={() => change(initial(place.schema, root) ?? {})}>
        {t("form.add")}
      </button>
    );
  }
  const add = () => {
    if (draft === "" || Object.hasOwn(members, draft) || !kind.others) return;
    set(draft, initial(kind.others, root) ?? "");
    setDraft("");
  };
  const remove = (name: string) => {
    const left = withMember(members, name, undefined);
    change(Object.keys(left).length === 0 && !required && kind.members.length === 0 ? undefined : left);
  };
  return (
    <>
      {kind.members.map(([name, schema]) => (
        <SchemaField
          key={name}
          schema={schema}
          root={root}
          name={name}
          pointer={child(pointer, name)}
          value={Object.hasOwn(members, name) ? members[name] : undefined}
          change={(next) => set(name, next)}
          required={kind.required.has(name)}
          depth={depth + 1}
          names={names}
        />
      ))}
      {others.map((name) => (
        <div className="row" key={name}>
          <SchemaField
            schema={{ title: name, ...(kind.others ?? {}) }}
            root={root}
            name={name}
            pointer={child(pointer, name)}
            value={members[name]}
            change={(next) => set(name, next ?? "")}
            required={kind.others !== undefined}
            depth={depth + 1}
            names={names}
          />
          <button type="button" onClick={() => remove(name)}>
            {t("form.remove", { name })}
          </button>
        </div>
      ))}
      {kind.others && (
        <div className="row">
          <div className="field">
            <label htmlFor={`${list}:name`}>{t("form.member-name")}</label>
            <input
              id={`${list}:name`}
              list={names.length > 0 ? list : undefined}
              value={draft}
              onChange={(event) => setDraft(event.target.value)}
              onKeyDown={(event) => {
                if (event.key !== "Enter") return;
                event.preventDefault();
                add();
              }}
            />
            {names.length > 0 && (
              <datalist id={list}>
                {names.map((name) => (
                  <option key={name.value} value={name.value}>
                    {name.label}
                  </option>
                ))}
              </datalist>
            )}
          </div>
          <button type="button" disabled={draft === "" || Object.hasOwn(members, draft)} onClick={add}>
            {t("form.add")}
          </button>
        </div>
      )}
      {!required && value !== undefined && kind.members.length > 0 && depth > 0 && (
        <button type="button" onClick={() => change(undefined)}>
          {t("form.remove", { name: place.label })}
        </button>
      )}
    </>
  );
}

export function ArrayField({ place, kind }: { place: FieldOf; kind: { items: Schema; choices: Choice[] | undefined } }) {
  const t = useT();
  const { root, pointer, label, hint, required, change, depth, names } = place;
  const items = Array.isArray(place.value) ? place.value : [];
  const put = (next: Json[]) => change(next.length === 0 && !required ? undefined : next);
  if (kind.choices) {
    return (
      <FormGroup pointer={pointer} label={label} hint={hint} required={required}>
        <div className="actions">
          {kind.choices.map((choice, index) => (
            <label key={index} className="check">
              <input
                type="checkbox"
                checked={items.some((item) => isSame(item, choice.value))}
                onChange={(event) => put(event.target.checked ? [...items, choice.value] : items.filter((item) => !isSame(item, choice.value)))}
              />
              {choice.label}
            </label>
          ))}
        </div>
      </FormGroup>
    );
  }
  return (
    <FormGroup pointer={pointer} label={label} hint={hint} required={required}>
      {items.map((item, index) => (
        <div className="row" key={index}>
          <SchemaField
            schema={kind.items}
            root={root}
            name={`${label} ${index + 1}`}
            pointer={child(pointer, index)}
            value={item}
            change={(next) => put(items.map((old, at) => (at === index ? (next ?? "") : old)))}
            required
            depth={depth + 1}
            names={names}
          />
          <button type="button" onClick={() => put(items.filter((_, at) => at !== index))}>
            {t("form.remove", { name: `${label} ${index + 1}` })}
          </button>
        </div>
      ))}
      <button type="button" onClick={() => change([...items, initial(kind.items, root) ?? ""])}>
        {t("form.add")}
      </button>
    </FormGroup>
  );
}
