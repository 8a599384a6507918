// Ctrl-K: a screen by its name, or a claim, a user, an event, a release or a backtest by its id.
import { useState } from "react";
import { useT } from "../messages";
import { to } from "../router";
import { useMay } from "../session";
import { Dialog } from "./parts";

type Place = { label: string; to: string };
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export function Palette({ screens, close, go }: { screens: Place[]; close: () => void; go: (to: string) => void }) {
  const t = useT();
  const may = useMay();
  const [text, setText] = useState("");
  const wanted = text.trim();
  const places = screens.filter(({ label }) => label.toLowerCase().includes(wanted.toLowerCase()));
  if (UUID.test(wanted)) {
    if (may("audit:read")) places.push({ label: t("palette.claim"), to: to(["claims", wanted]) }, { label: t("palette.user"), to: to(["users", wanted]) });
    if (may("events:read")) places.push({ label: t("palette.event"), to: to(["events", wanted]) });
    if (may("releases:read")) places.push({ label: t("palette.release"), to: to(["releases", wanted]) });
    if (may("backtests:read")) places.push({ label: t("palette.backtest"), to: to(["backtests", wanted]) });
  } else if (wanted !== "" && may("audit:read")) {
    places.push({ label: t("palette.external", { id: wanted }), to: to(["users", `external:${wanted}`]) });
  }
  return (
    <Dialog title={t("palette.title")} close={close}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (places[0]) go(places[0].to);
        }}
      >
        <input aria-label={t("palette.title")} placeholder={t("palette.hint")} autoFocus value={text} onChange={(e) => setText(e.target.value)} />
      </form>
      <ul className="places">
        {places.map((place) => (
          <li key={place.to}>
            <button type="button" className="quiet" onClick={() => go(place.to)}>
              {place.label}
            </button>
          </li>
        ))}
      </ul>
    </Dialog>
  );
}
