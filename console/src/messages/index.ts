// Messages by typed keys. An argument is written {name}; nothing is concatenated, and Korean particles are written around.
import { createContext, useContext } from "react";
import { en } from "./en";
import { ko } from "./ko";

export type Key = Extract<keyof typeof en, string>;
export const LANGUAGES = { en: "English", ko: "한국어" } as const;
export type Language = keyof typeof LANGUAGES;
const MESSAGES: Record<Language, Record<Key, string>> = { en, ko };
const KEPT = "meed.language";

export function language(): Language {
  const kept = localStorage.getItem(KEPT) ?? navigator.language.slice(0, 2);
  return kept === "ko" ? "ko" : "en";
}

export function keepLanguage(next: Language): void {
  localStorage.setItem(KEPT, next);
}

export type Translate = (key: Key, args?: Record<string, string | number>) => string;

export const LanguageContext = createContext<Language>("en");

export function useLanguage(): Language {
  return useContext(LanguageContext);
}

export function useT(): Translate {
  const messages = MESSAGES[useLanguage()];
  return (key, args = {}) => messages[key].replace(/\{(\w+)\}/g, (whole, name: string) => String(args[name] ?? whole));
}

/** The message of a value of the API, or the value itself if this version does not know it. */
export function useValue(): (group: string, value: string) => string {
  const messages: Record<string, string | undefined> = MESSAGES[useLanguage()];
  return (group, value) => messages[`${group}.${value}`] ?? value;
}
