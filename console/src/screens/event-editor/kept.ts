// The unsaved draft of this tab, so that a reload or a wrong link loses nothing. It belongs to one user and ends with the tab.
import { useEffect, useState } from "react";
import type { Schemas } from "../../api/client";
import { useUser } from "../../session";
import type { Draft } from "./draft";

/** The content and the revision that the draft was made from, if it is a change. */
export type Base = { content: Schemas["NewEvent"]; revision: number };
type Kept = { draft: Draft; base: Base | undefined };

/** What was kept for this form, and functions that keep or forget the draft. */
export function useKept(form: string): { kept: Kept | undefined; keep: (draft: Kept) => void; forget: () => void } {
  const key = `meed.draft.${useUser().id}.${form}`;
  const [kept] = useState(() => read(key));
  return {
    kept,
    keep: (draft) => {
      try {
        sessionStorage.setItem(key, JSON.stringify(draft));
      } catch {
        // Full or forbidden: the draft is still on the screen.
      }
    },
    forget: () => sessionStorage.removeItem(key),
  };
}

function read(key: string): Kept | undefined {
  try {
    const text = sessionStorage.getItem(key);
    return text === null ? undefined : (JSON.parse(text) as Kept);
  } catch {
    return undefined;
  }
}

/** The browser asks before it leaves a page with unsaved changes. */
export function useWarning(isChanged: boolean): void {
  useEffect(() => {
    if (!isChanged) return undefined;
    const warn = (event: BeforeUnloadEvent) => event.preventDefault();
    window.addEventListener("beforeunload", warn);
    return () => window.removeEventListener("beforeunload", warn);
  }, [isChanged]);
}
