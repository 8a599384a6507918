// A slider over the user's history at an event. Ticks are activities and claims; the arrow keys move it, and two buttons go from
// tick to tick. The server is asked when the slider rests.
import { useEffect, useState } from "react";
import type { Subject } from "../../explain";
import { useLanguage, useT } from "../../messages";
import { Section, Time } from "../../ui/parts";

const STEPS = 1000;
const REST_MS = 350;

type Tick = { at: number; kind: "activity" | "claim"; text: string };

export function TimeSlider({ subject, at, move }: { subject: Subject; at: string | undefined; move: (at: string) => void }) {
  const t = useT();
  const language = useLanguage();
  const { event, activities, claims, isCut } = subject;
  // Once: while the page is open, the slider must not change its scale.
  const [now] = useState(() => Date.now());
  const ticks: Tick[] = [
    ...activities.map((activity) => ({ at: Date.parse(activity.occurredAt), kind: "activity" as const, text: activity.kind })),
    ...claims.map((claim) => ({ at: Date.parse(claim.receivedAt), kind: "claim" as const, text: t("claim.id") })),
  ].filter((tick) => tick.at <= now);
  ticks.sort((one, other) => one.at - other.at);
  const end = Math.min(now, Date.parse(event.endDate));
  const asked = at === undefined ? end : Date.parse(at);
  const from = Math.min(Date.parse(event.startDate), ticks[0]?.at ?? Infinity, asked, end - 60_000);
  const until = Math.max(end, ticks.at(-1)?.at ?? 0, asked);
  const step = (instant: number) => Math.round(((instant - from) / (until - from)) * STEPS);
  const [position, setPosition] = useState<{ at: number; isMoved: boolean }>({ at: asked, isMoved: false });
  useEffect(() => setPosition({ at: asked, isMoved: false }), [asked]);
  useEffect(() => {
    if (!position.isMoved) return undefined;
    const timer = setTimeout(() => move(new Date(position.at).toISOString()), REST_MS);
    return () => clearTimeout(timer);
    // `move` is new each time, and asks for the same.
  }, [position]);
  const go = (instant: number) => setPosition({ at: instant, isMoved: true });
  // Just after a tick it counts; the server keeps milliseconds.
  const next = ticks.find((tick) => tick.at > position.at);
  const previous = ticks.findLast((tick) => tick.at < position.at);
  const text = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" }).format(new Date(position.at));
  const x = (instant: number) => ((instant - from) / (until - from)) * 1000;
  return (
    <Section title={t("why.slider")}>
      <div className="slider">
        <svg className="ticks" viewBox="0 0 1000 18" preserveAspectRatio="none" aria-hidden="true" focusable="false">
          {ticks.map((tick, index) => (
            <line key={index} className={tick.kind} x1={x(tick.at)} x2={x(tick.at)} y1={tick.kind === "claim" ? 0 : 6} y2="18" />
          ))}
          <line className="now" x1={x(position.at)} x2={x(position.at)} y1="0" y2="18" />
        </svg>
        <input
          type="range"
          min={0}
          max={STEPS}
          value={step(position.at)}
          aria-label={t("why.slider")}
          aria-valuetext={text}
          onChange={(change) => go(Math.round(from + (Number(change.target.value) / STEPS) * (until - from)))}
        />
        <div className="actions">
          <button type="button" disabled={!previous} onClick={() => previous && go(previous.at)}>
            {t("why.previous")}
          </button>
          <button type="button" disabled={!next} onClick={() => next && go(next.at)}>
            {t("why.next")}
          </button>
          <span>
            <Time at={new Date(position.at).toISOString()} zone={event.timeZone} />
          </span>
          <span className="hint">{nearest(ticks, position.at)}</span>
        </div>
        <p className="hint">{isCut ? t("why.cut", { shown: activities.length }) : t("why.ticks", { activities: activities.length, claims: claims.length })}</p>
      </div>
    </Section>
  );
}

/** What the slider stands on. */
function nearest(ticks: Tick[], at: number): string {
  return ticks.filter((tick) => tick.at === at).map(({ text }) => text).join(", ");
}
