// The shell: who is logged in, what the role may see, language, theme and the palette.
import { type ComponentType, Suspense, lazy, useCallback, useEffect, useState } from "react";
import { onNeed } from "./api/client";
import { type Key, LANGUAGES, type Language, LanguageContext, keepLanguage, language, useT } from "./messages";
import { Link, navigate, useRoute } from "./router";
import { type Session, SessionContext, logOut, readSession, useMay, useUser } from "./session";
import { THEMES, type Theme, applyTheme, theme } from "./theme";
import { problemFrom } from "./ui/data";
import { LoginForm, ProofForm } from "./ui/login";
import { Palette } from "./ui/palette";
import { Dialog, Empty, Page, ProblemBox } from "./ui/parts";

type Screen = { name: string; label: Key; scope?: string; screen: ComponentType };

export const SCREENS: Screen[] = [
  { name: "home", label: "nav.home", screen: lazy(() => import("./screens/home")) },
  { name: "why", label: "nav.why", scope: "audit:read", screen: lazy(() => import("./screens/why")) },
  { name: "claims", label: "nav.claims", scope: "audit:read", screen: lazy(() => import("./screens/claims")) },
  { name: "users", label: "nav.users", scope: "audit:read", screen: lazy(() => import("./screens/users")) },
  { name: "events", label: "nav.events", scope: "events:read", screen: lazy(() => import("./screens/events")) },
  { name: "releases", label: "nav.releases", scope: "releases:read", screen: lazy(() => import("./screens/releases")) },
  { name: "backtests", label: "nav.backtests", scope: "backtests:read", screen: lazy(() => import("./screens/backtests")) },
  { name: "rewards", label: "nav.rewards", scope: "rewards:read", screen: lazy(() => import("./screens/rewards")) },
  { name: "plugins", label: "nav.plugins", scope: "plugins:read", screen: lazy(() => import("./screens/plugins")) },
  { name: "webhooks", label: "nav.webhooks", scope: "webhooks:read", screen: lazy(() => import("./screens/webhooks")) },
  { name: "audit", label: "nav.audit", scope: "audit-log:read", screen: lazy(() => import("./screens/audit")) },
  { name: "settings", label: "nav.settings", screen: lazy(() => import("./screens/settings")) },
];

export function App() {
  const [spoken, setSpoken] = useState<Language>(language);
  const speak = (next: Language) => {
    keepLanguage(next);
    setSpoken(next);
  };
  useEffect(() => {
    document.documentElement.lang = spoken;
  }, [spoken]);
  return (
    <LanguageContext value={spoken}>
      <Sessions speak={speak} />
    </LanguageContext>
  );
}

type Asked = { need: "login" | "proof"; answer: (again: boolean) => void };

function Sessions({ speak }: { speak: (next: Language) => void }) {
  const t = useT();
  const [session, setSession] = useState<Session>();
  const [problem, setProblem] = useState<ReturnType<typeof problemFrom>>();
  const [asked, setAsked] = useState<Asked>();
  const read = useCallback(() => {
    setProblem(undefined);
    readSession().then(setSession, (error: unknown) => setProblem(problemFrom(error)));
  }, []);
  useEffect(read, [read]);
  useEffect(() => onNeed((need) => new Promise((answer) => setAsked({ need, answer }))), []);
  const answer = (again: boolean) => {
    asked?.answer(again);
    setAsked(undefined);
  };
  const back = (next: Session) => {
    // Another user must not continue the work of the first one.
    if (next.user?.id !== session?.user?.id) location.assign("/console/");
    else answer(true);
  };
  if (problem) return <ProblemBox problem={problem} retry={read} />;
  if (!session) return <p role="status">{t("loading")}</p>;
  if (!session.user) return <LoginPage session={session} done={setSession} speak={speak} />;
  return (
    <SessionContext value={session}>
      <Shell speak={speak} leave={() => void logOut().then(() => location.assign("/console/"))} />
      {asked?.need === "login" && (
        <Dialog title={t("login.again")}>
          <LoginForm session={session} done={back} />
        </Dialog>
      )}
      {asked?.need === "proof" && (
        <Dialog title={t("proof.title")} close={() => answer(false)}>
          <ProofForm done={() => answer(true)} cancel={() => answer(false)} />
        </Dialog>
      )}
    </SessionContext>
  );
}

function LoginPage({ session, done, speak }: { session: Session; done: (next: Session) => void; speak: (next: Language) => void }) {
  const t = useT();
  const { query } = useRoute();
  const code = query.get("problem");
  return (
    <main className="login">
      <Page title={t("login.title")} actions={<Preferences speak={speak} />}>
        {code && <ProblemBox problem={{ type: "", title: "", status: 0, code, detail: t("login.provider-failed") }} />}
        <LoginForm session={session} done={done} />
      </Page>
    </main>
  );
}

function Preferences({ speak }: { speak: (next: Language) => void }) {
  const t = useT();
  const [shown, setShown] = useState<Theme>(theme);
  return (
    <>
      <select aria-label={t("language")} defaultValue={language()} onChange={(event) => speak(event.target.value as Language)}>
        {Object.entries(LANGUAGES).map(([code, name]) => (
          <option key={code} value={code}>
            {name}
          </option>
        ))}
      </select>
      <select
        aria-label={t("theme")}
        value={shown}
        onChange={(event) => {
          const next = event.target.value as Theme;
          applyTheme(next);
          setShown(next);
        }}
      >
        {THEMES.map((known) => (
          <option key={known} value={known}>
            {t(`theme.${known}`)}
          </option>
        ))}
      </select>
    </>
  );
}

function Shell({ speak, leave }: { speak: (next: Language) => void; leave: () => void }) {
  const t = useT();
  const user = useUser();
  const may = useMay();
  const { parts } = useRoute();
  const [palette, setPalette] = useState(false);
  const visible = SCREENS.filter(({ scope }) => scope === undefined || may(scope));
  const open = visible.find(({ name }) => name === (parts[0] ?? "home"));
  useEffect(() => {
    const shortcut = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        setPalette(true);
      }
    };
    window.addEventListener("keydown", shortcut);
    return () => window.removeEventListener("keydown", shortcut);
  }, []);
  return (
    <>
      <a className="skip" href="#content">
        {t("skip")}
      </a>
      <header className="top">
        <Link to="/" className="brand">
          Meed
        </Link>
        <button type="button" className="quiet" onClick={() => setPalette(true)}>
          {t("palette.open")} <kbd>Ctrl K</kbd>
        </button>
        <div className="actions">
          <Preferences speak={speak} />
          <span className="role">{t(`role.${user.role}`)}</span>
          <button type="button" className="quiet" onClick={leave}>
            {t("logout")}
          </button>
        </div>
      </header>
      <nav aria-label={t("nav.label")}>
        {visible.map(({ name, label }) => (
          <Link key={name} to={name === "home" ? "/" : `/${name}`} aria-current={open?.name === name ? "page" : undefined}>
            {t(label)}
          </Link>
        ))}
      </nav>
      <main id="content" tabIndex={-1}>
        {user.needsSecondFactor && <p className="problem">{t("needs-factor")}</p>}
        <Suspense fallback={<p role="status">{t("loading")}</p>}>
          {open ? <open.screen /> : <Page title={t("no-screen")}><Empty>{t("no-screen-hint")}</Empty></Page>}
        </Suspense>
      </main>
      {palette && (
        <Palette
          screens={visible.map(({ name, label }) => ({ label: t(label), to: name === "home" ? "/" : `/${name}` }))}
          close={() => setPalette(false)}
          go={(target) => {
            setPalette(false);
            navigate(target);
          }}
        />
      )}
    </>
  );
}
