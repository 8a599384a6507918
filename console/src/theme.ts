// Light, dark or as the system says. Kept in this browser.
export const THEMES = ["system", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];
const KEY = "meed.theme";

export function theme(): Theme {
  const kept = localStorage.getItem(KEY);
  return THEMES.find((known) => known === kept) ?? "system";
}

export function applyTheme(next: Theme = theme()): void {
  localStorage.setItem(KEY, next);
  document.documentElement.dataset["theme"] = next;
}
