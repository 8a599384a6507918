// Fields of a long form, each with the JSON Pointer of what it edits. What the server says about a pointer is shown at its field,
// and once more above the form, from where a link leads to the field.
import { type ReactNode, createContext, useContext, useEffect, useRef } from "react";
import type { Schemas } from "../api/client";
import { useT } from "../messages";

export type FieldError = Schemas["FieldError"];

export const Errors = createContext<FieldError[]>([]);

export function fieldId(pointer: string): string {
  // Names of members may have spaces, which would end an id in a list of ids.
  return `field:${encodeURIComponent(pointer)}`;
}

/** What the element of a field needs. */
export type FieldProps = { id: string; "aria-describedby"?: string; "aria-invalid"?: boolean; "aria-required"?: boolean };

export function useErrors(pointer: string): string[] {
  return useContext(Errors).filter((error) => error.pointer === pointer).map(({ message }) => message);
}

export function FormField(props: { pointer: string; label: ReactNode; hint?: ReactNode; required?: boolean; children: (props: FieldProps) => ReactNode }) {
  const { pointer, label, hint, required, children } = props;
  const errors = useErrors(pointer);
  const id = fieldId(pointer);
  const described = [hint ? `${id}:hint` : "", errors.length > 0 ? `${id}:error` : ""].filter(Boolean).join(" ");
  return (
    <div className="field">
      <label htmlFor={id}>
        {label}
        {required && <Required />}
      </label>
      {children({
        id,
        ...(described === "" ? {} : { "aria-describedby": described }),
        ...(errors.length > 0 ? { "aria-invalid": true } : {}),
        ...(required ? { "aria-required": true } : {}),
      })}
      {hint ? (
        <p className="hint" id={`${id}:hint`}>
          {hint}
        </p>
      ) : null}
      <Messages id={`${id}:error`} errors={errors} />
    </div>
  );
}

/** A group of fields, such as the members of an object. */
export function FormGroup({ pointer, label, hint, required, children }: { pointer: string; label: ReactNode; hint?: ReactNode; required?: boolean; children: ReactNode }) {
  const errors = useErrors(pointer);
  const id = fieldId(pointer);
  return (
    <fieldset id={id} tabIndex={-1} aria-describedby={errors.length > 0 ? `${id}:error` : undefined}>
      <legend>
        {label}
        {required && <Required />}
      </legend>
      {hint ? <p className="hint">{hint}</p> : null}
      <Messages id={`${id}:error`} errors={errors} />
      {children}
    </fieldset>
  );
}

function Required() {
  return (
    <span className="required" aria-hidden="true">
      {" *"}
    </span>
  );
}

function Messages({ id, errors }: { id: string; errors: string[] }) {
  if (errors.length === 0) return null;
  return (
    <div id={id}>
      {errors.map((error) => (
        <p className="error" key={error}>
          {error}
        </p>
      ))}
    </div>
  );
}

/** All errors of a form that was sent. It takes the focus, so that a screen reader and the keyboard begin there. */
export function ErrorSummary({ errors, turn }: { errors: FieldError[]; turn: number }) {
  const t = useT();
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (turn > 0) box.current?.focus();
  }, [turn]);
  if (errors.length === 0) return null;
  return (
    <div role="alert" className="problem" tabIndex={-1} ref={box}>
      <p>
        <strong>{t("problem.invalid-body")}</strong>
      </p>
      <ul>
        {errors.map(({ pointer, message }) => (
          <li key={pointer + message}>
            <button type="button" className="link" onClick={() => focusField(pointer)}>
              {message}
            </button>{" "}
            <code>{pointer}</code>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** Focuses the field of the pointer, or of the nearest one around it that is shown. */
export function focusField(pointer: string): void {
  for (let at = pointer; ; at = at.slice(0, at.lastIndexOf("/"))) {
    const field = document.getElementById(fieldId(at));
    if (field) {
      field.focus();
      field.scrollIntoView({ block: "center" });
      return;
    }
    if (at === "") return;
  }
}
