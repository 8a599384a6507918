// The pieces of every screen. Texts that come from users, plugins or receivers are React text, never HTML.
import { type ReactNode, useEffect, useId, useRef, useState } from "react";
import { type Key, useLanguage, useT, useValue } from "../messages";
import { Link } from "../router";
import type { Problem } from "../api/client";

/** A request for a shell: the path of a GET, or the path and the body of a POST. */
export type Curl = string | { path: string; body: object };

export function Page({ title, actions, curl, cli, children }: { title: string; actions?: ReactNode; curl?: Curl; cli?: string; children: ReactNode }) {
  const t = useT();
  useEffect(() => {
    document.title = `${title} · Meed`;
  }, [title]);
  return (
    <>
      <header className="page-head">
        <h1>{title}</h1>
        <div className="actions">
          {actions}
          {cli !== undefined && <Copy text={cli} label={t("copy.cli")} />}
          {curl !== undefined && <Copy text={curlOf(curl)} label={t("copy.curl")} />}
        </div>
      </header>
      {children}
    </>
  );
}

/** The same request for a shell. The token is a variable, because the console has none. */
export function curlOf(request: Curl): string {
  const url = quoted(location.origin + (typeof request === "string" ? request : request.path));
  const body = typeof request === "string" ? "" : ` -H 'Content-Type: application/json' -d ${quoted(JSON.stringify(request.body))}`;
  return `curl -s -H "Authorization: Bearer $MEED_TOKEN"${body} ${url}`;
}

/** One word of a shell. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

export function Section({ title, actions, children }: { title: string; actions?: ReactNode; children: ReactNode }) {
  const id = useId();
  return (
    <section aria-labelledby={id} className="card">
      <header className="section-head">
        <h2 id={id}>{title}</h2>
        <div className="actions">{actions}</div>
      </header>
      {children}
    </section>
  );
}

export function Copy({ text, label }: { text: string; label: string }) {
  const t = useT();
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return undefined;
    const timer = setTimeout(() => setCopied(false), 2000);
    return () => clearTimeout(timer);
  }, [copied]);
  return (
    <button type="button" className="quiet" onClick={() => void navigator.clipboard.writeText(text).then(() => setCopied(true))}>
      {copied ? t("copy.done") : label}
    </button>
  );
}

const TONES: Record<string, string> = {
  GRANTED: "good", DELIVERED: "good", ACTIVE: "good", DONE: "good", LIVE: "good", TRUSTED: "good", PASSED: "good", APPROVED: "good", ACTIVATED: "good",
  REJECTED: "calm", WAITING: "calm", PENDING: "calm", DISABLED: "calm", REVERSED: "calm", OVER: "calm", DRAFT: "calm", QUEUED: "calm", CANCELLED: "calm", WITHDRAWN: "calm",
  HELD: "warn", PAUSED: "warn", REFUSED: "warn", RECEIVED: "warn", SCHEDULED: "warn", REVIEW: "warn", RAMPING: "warn", RUNNING: "warn", OUTDATED: "warn", SCHEDULE_MISSED: "warn",
  FAILED: "bad", PARKED: "bad", QUARANTINED: "bad", ROLLED_BACK: "bad",
};

/** A state in words, with a colour that repeats it. */
export function Badge({ group, value }: { group: string; value: string }) {
  const v = useValue();
  return <span className={`badge ${TONES[value] ?? "calm"}`}>{v(group, value)}</span>;
}

/** An instant in a zone: mine, or that of the event, which is named. */
export function Time({ at, zone }: { at: string | null | undefined; zone?: string }) {
  const language = useLanguage();
  if (!at) return <>–</>;
  const date = new Date(at);
  const text = Number.isNaN(date.getTime())
    ? at
    : new Intl.DateTimeFormat(language, {
        dateStyle: "medium",
        timeStyle: "medium",
        ...(zone === undefined ? {} : { timeZone: zone }),
      }).format(date);
  return (
    <time dateTime={at} title={at}>
      {text}
      {zone !== undefined && <span className="zone"> {zone}</span>}
    </time>
  );
}

/** A long id: the end is what differs. */
export function Id({ id, to }: { id: string; to?: string }) {
  const short = id.length > 13 ? `…${id.slice(-8)}` : id;
  return to === undefined ? (
    <code title={id}>{short}</code>
  ) : (
    <Link to={to} title={id}>
      <code>{short}</code>
    </Link>
  );
}

export function Facts({ items }: { items: [Key, ReactNode][] }) {
  const t = useT();
  return (
    <dl className="facts">
      {items.map(([key, value]) => (
        <div key={key}>
          <dt>{t(key)}</dt>
          <dd>{value ?? "–"}</dd>
        </div>
      ))}
    </dl>
  );
}

export function Json({ value, label }: { value: unknown; label: string }) {
  return (
    <pre tabIndex={0} role="region" aria-label={label}>
      {JSON.stringify(value, null, 2)}
    </pre>
  );
}

export function ProblemBox({ problem, retry }: { problem: Problem; retry?: () => void }) {
  const t = useT();
  const v = useValue();
  const known = v("problem", problem.code);
  return (
    <div role="alert" className="problem">
      <p>
        <strong>{known === problem.code ? problem.title || problem.code : known}</strong>
      </p>
      <p>{problem.detail}</p>
      {problem.errors?.map((error) => (
        <p key={error.pointer + error.message}>
          <code>{error.pointer}</code> {error.message}
        </p>
      ))}
      {problem.requestId && (
        <p className="hint">
          {t("problem-request")} <code>{problem.requestId}</code>
        </p>
      )}
      {retry && (
        <button type="button" onClick={retry}>
          {t("retry")}
        </button>
      )}
    </div>
  );
}

export function Field({ label, hint, error, children }: { label: string; hint?: string; error?: string; children: (id: string) => ReactNode }) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {children(id)}
      {hint !== undefined && <p className="hint">{hint}</p>}
      {error !== undefined && (
        <p className="error" role="alert">
          {error}
        </p>
      )}
    </div>
  );
}

/** A dialog of the browser, which keeps the focus. */
export function Dialog({ title, close, children }: { title: string; close?: () => void; children: ReactNode }) {
  const t = useT();
  const id = useId();
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const element = dialog.current;
    if (element && !element.open) {
      element.showModal();
      // The browser would choose the button that closes the dialog.
      element.querySelector<HTMLElement>("input, textarea, select")?.focus();
    }
    return () => element?.close();
  }, []);
  return (
    <dialog
      ref={dialog}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        close?.();
      }}
    >
      <header className="section-head">
        <h2 id={id}>{title}</h2>
        {close && (
          <button type="button" className="quiet" onClick={close}>
            {t("close")}
          </button>
        )}
      </header>
      {children}
    </dialog>
  );
}

export function Empty({ children }: { children: ReactNode }) {
  return <p className="empty">{children}</p>;
}
