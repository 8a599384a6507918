// Who is logged in. The session itself is a cookie that no script can read.
import { createContext, useContext } from "react";
import { ProblemError, problemOf } from "./api/client";

export type SessionUser = { id: string; role: "OPERATOR" | "AUDITOR" | "ADMIN"; scopes: string[]; needsSecondFactor: boolean };
export type Session = { user: SessionUser | null; hasIdentityProvider: boolean; version: string };

async function call(path: string, init?: RequestInit): Promise<Response> {
  const response = await fetch(path, init).catch((error: unknown) => {
    throw new ProblemError({ type: "", title: "", status: 0, code: "offline", detail: String(error) });
  });
  if (!response.ok) throw new ProblemError(await problemOf(response));
  return response;
}

export async function readSession(): Promise<Session> {
  return (await (await call("/console/session")).json()) as Session;
}

export async function logIn(email: string, password: string, code: string): Promise<Session> {
  const body = JSON.stringify({ email, password, ...(code === "" ? {} : { code: code.trim() }) });
  const headers = { "content-type": "application/json" };
  // Read to its end: an unread response keeps its connection.
  await (await call("/console/session/login", { method: "POST", headers, body })).text();
  const session = await readSession();
  if (!session.user) {
    // A browser keeps the cookie over https and on this machine only.
    throw new ProblemError({ type: "", title: "", status: 0, code: "cookie-refused", detail: location.origin });
  }
  return session;
}

export async function logOut(): Promise<void> {
  await call("/console/session/logout", { method: "POST" });
}

export const SessionContext = createContext<Session>({ user: null, hasIdentityProvider: false, version: "" });

export function useUser(): SessionUser {
  const { user } = useContext(SessionContext);
  if (!user) throw new Error("a screen needs a user");
  return user;
}

/** Whether the user's role has the scope. */
export function useMay(): (scope: string) => boolean {
  const { scopes } = useUser();
  return (scope) => scopes.includes(scope);
}
