// Fields of single values.
import { useState } from "react";
import { useT } from "../../messages";
import { FormField } from "../form";
import type { FieldOf } from "./form";
import { type Choice, type Json, numberOf } from "./schema";

/** A field that is empty has no value; a required text may be the empty one, which the server judges. */
export function TextField({ place, kind }: { place: FieldOf; kind: { format: string; long: boolean } }) {
  const { pointer, label, hint, required, change } = place;
  const value = typeof place.value === "string" ? place.value : "";
  const set = (typed: string) => change(typed === "" ? undefined : typed);
  const type = { date: "date", email: "email", uri: "url", time: "time" }[kind.format] ?? "text";
  return (
    <FormField pointer={pointer} label={label} hint={hint} required={required}>
      {(props) =>
        kind.long ? (
          <textarea {...props} rows={4} value={value} onChange={(event) => set(event.target.value)} />
        ) : (
          <input {...props} type={type} placeholder={kind.format === "date-time" ? "2026-03-01T09:30:00+09:00" : undefined} value={value} onChange={(event) => set(event.target.value)} />
        )
      }
    </FormField>
  );
}

export function NumberField({ place, kind }: { place: FieldOf; kind: { whole: boolean } }) {
  const { pointer, label, hint, required, change } = place;
  const shown = place.value === undefined || place.value === null ? "" : String(place.value);
  const [typed, setTyped] = useState(shown);
  // "1.0" is on the way to "1.05": what is typed stays as long as it means the value.
  const meant = typed.trim() === "" ? undefined : numberOf(typed);
  return (
    <FormField pointer={pointer} label={label} hint={hint} required={required}>
      {(props) => (
        <input
          {...props}
          type="text"
          inputMode={kind.whole ? "numeric" : "decimal"}
          autoComplete="off"
          className="short"
          value={meant === place.value ? typed : shown}
          onChange={(event) => {
            const next = event.target.value;
            setTyped(next);
            change(next.trim() === "" ? undefined : numberOf(next));
          }}
        />
      )}
    </FormField>
  );
}

export function BooleanField({ place }: { place: FieldOf }) {
  const t = useT();
  const { pointer, label, hint, required, value, change } = place;
  return (
    <FormField pointer={pointer} label={label} hint={hint} required={required}>
      {(props) => (
        <select {...props} value={value === undefined ? "" : String(value)} onChange={(event) => change(event.target.value === "" ? undefined : event.target.value === "true")}>
          {(!required || value === undefined) && <option value="">{t("form.absent")}</option>}
          <option value="true">{t("yes")}</option>
          <option value="false">{t("no")}</option>
        </select>
      )}
    </FormField>
  );
}

export function ChoiceField({ place, choices }: { place: FieldOf; choices: Choice[] }) {
  const t = useT();
  const { pointer, label, hint, required, value, change } = place;
  const found = choices.findIndex((choice) => isSame(choice.value, value));
  const isUnknown = value !== undefined && found < 0;
  return (
    <FormField pointer={pointer} label={label} hint={hint} required={required}>
      {(props) => (
        <select
          {...props}
          value={isUnknown ? "?" : found < 0 ? "" : String(found)}
          onChange={(event) => {
            if (event.target.value !== "?") change(event.target.value === "" ? undefined : choices[Number(event.target.value)]?.value);
          }}
        >
          {(!required || value === undefined) && <option value="">{t("form.absent")}</option>}
          {isUnknown && <option value="?">{typeof value === "string" ? value : JSON.stringify(value)}</option>}
          {choices.map((choice, index) => (
            <option key={index} value={index}>
              {choice.label}
            </option>
          ))}
        </select>
      )}
    </FormField>
  );
}

export function isSame(one: Json | undefined, other: Json | undefined): boolean {
  return one === other || (one !== undefined && other !== undefined && JSON.stringify(one) === JSON.stringify(other));
}
