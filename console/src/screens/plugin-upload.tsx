// The upload of a module, and the checks of the server one by one. The answer names the check that refused it; those before it
// passed, and those after it did not run.
import { type DragEvent, useState } from "react";
import { type Problem, type Schemas, sendBytes } from "../api/client";
import { useLanguage, useT, useValue } from "../messages";
import { Link, to } from "../router";
import { useAction } from "../ui/data";
import { Badge, Facts, Field, ProblemBox, Section } from "../ui/parts";
import { textsOf } from "../ui/plugin-title";

type Version = Schemas["PluginVersion"];

/** In the order of the server, with the refusals of each. */
const CHECKS: [string, string[]][] = [
  ["size", ["body-too-large"]],
  ["signature", ["signature-required", "signature-invalid", "signature-untrusted"]],
  ["structure", ["not-wasm", "malformed", "structure-limit"]],
  ["imports", ["import-not-allowed", "no-metadata", "wrong-world"]],
  ["compile", ["does-not-compile", "compile-limit"]],
  ["describe", ["describe-failed", "bad-manifest", "describes-differently"]],
  ["examples", ["example-does-not-bind"]],
  ["cases", ["bad-cases", "case-failed", "cases-too-slow"]],
];

/** The code that says why, and the check that it belongs to; examples and cases are both called twice. */
function refusalOf(problem: Problem): { code: string; at: number } {
  const refusal = problem["refusal"];
  const code = typeof refusal === "string" ? refusal : problem.code;
  if (code === "not-deterministic") return { code, at: CHECKS.findIndex(([name]) => name === (/\bcase\b/.test(problem.detail) ? "cases" : "examples")) };
  return { code, at: CHECKS.findIndex(([, refusals]) => refusals.includes(code)) };
}

export function Upload() {
  const t = useT();
  const action = useAction();
  const [over, setOver] = useState(false);
  const [name, setName] = useState("");
  const [accepted, setAccepted] = useState<Version>();
  const send = (file: File | undefined) => {
    if (!file || action.busy) return;
    setName(file.name);
    setAccepted(undefined);
    void action.run(async () => setAccepted(await sendBytes<Version>("/plugins", "application/wasm", file)));
  };
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    send(event.dataTransfer.files[0]);
  };
  return (
    <Section title={t("upload.title")}>
      <div className={over ? "drop over" : "drop"} onDrop={drop} onDragOver={(event) => { event.preventDefault(); setOver(true); }} onDragLeave={() => setOver(false)}>
        <Field label={t("upload.file")} hint={t("upload.hint")}>
          {(id) => (
            <input
              id={id}
              type="file"
              accept=".wasm"
              disabled={action.busy}
              onChange={(event) => {
                send(event.target.files?.[0]);
                // The same file again, after it was built again, is a change as well.
                event.target.value = "";
              }}
            />
          )}
        </Field>
      </div>
      <div aria-live="polite">
        {action.busy && <p role="status">{t("upload.checking", { name })}</p>}
        {action.problem && <Refusal problem={action.problem} name={name} />}
        {accepted && <Accepted version={accepted} />}
      </div>
    </Section>
  );
}

function Refusal({ problem, name }: { problem: Problem; name: string }) {
  const t = useT();
  const v = useValue();
  const { code, at } = refusalOf(problem);
  const advice = v("refusal", code);
  return (
    <>
      <p>{t("upload.refused", { name })}</p>
      {at >= 0 && <Checks failed={at} />}
      <ProblemBox problem={problem} />
      {advice !== code && (
        <p>
          <strong>{t("upload.advice")}</strong> {advice}
        </p>
      )}
    </>
  );
}

function Accepted({ version }: { version: Version }) {
  const t = useT();
  const { title } = textsOf(version, useLanguage());
  return (
    <>
      <Checks failed={CHECKS.length} />
      <p>
        {t("upload.accepted")}{" "}
        <Link to={to(["plugins", version.name, version.version])}>
          {version.name} {version.version}
        </Link>
      </p>
      <Facts
        items={[
          ["event.title", title],
          ["state", <Badge group="state" value={version.state} />],
          ["receipt.digest", <code className="wrap">{version.digest}</code>],
        ]}
      />
    </>
  );
}

/** What passed, what refused the module, and what did not run. */
function Checks({ failed }: { failed: number }) {
  const t = useT();
  const v = useValue();
  return (
    <ol className="checks" aria-label={t("upload.checks")}>
      {CHECKS.map(([name], index) => {
        const state = index < failed ? "PASSED" : index === failed ? "REFUSED" : "SKIPPED";
        return (
          <li key={name}>
            {v("gate", name)} <Badge group="gate" value={state} />
          </li>
        );
      })}
    </ol>
  );
}
