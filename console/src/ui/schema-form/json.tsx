// A value for which the form has no field of its own, as JSON.
import { useState } from "react";
import { useT } from "../../messages";
import { FormField } from "../form";
import type { FieldOf } from "./form";
import type { Json } from "./schema";
import { isSame } from "./fields";

export function JsonField({ place }: { place: FieldOf }) {
  const t = useT();
  const { pointer, label, hint, required, value, change } = place;
  const shown = value === undefined ? "" : JSON.stringify(value, null, 2);
  const [typed, setTyped] = useState(shown);
  const meant = parse(typed);
  const isMine = meant.fault === undefined ? isSame(meant.value, value) : value === typed;
  const text = isMine ? typed : shown;
  const about = hint === undefined ? t("form.json") : `${hint} ${t("form.json")}`;
  return (
    <FormField pointer={pointer} label={label} hint={about} required={required}>
      {(props) => (
        <>
          <textarea
            {...props}
            rows={Math.min(12, text.split("\n").length + 1)}
            spellCheck={false}
            value={text}
            onChange={(event) => {
              const next = event.target.value;
              setTyped(next);
              const read = parse(next);
              // What is no JSON yet is kept as the text that it is, so that a save does not send an older value.
              change(read.fault === undefined ? read.value : next);
            }}
          />
          {meant.fault !== undefined && isMine && <p className="error">{t("form.no-json", { fault: meant.fault })}</p>}
        </>
      )}
    </FormField>
  );
}

function parse(typed: string): { value: Json | undefined; fault?: string } {
  if (typed.trim() === "") return { value: undefined };
  try {
    return { value: JSON.parse(typed) as Json };
  } catch (error) {
    return { value: undefined, fault: error instanceof Error ? error.message : String(error) };
  }
}
