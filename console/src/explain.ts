// Why a user does or does not get an event's rewards, at an instant. The one place that asks the server for it.
import { type Schemas, api, ok } from "./api/client";

type UserFilter = { userId?: string; externalUserId?: string };

/** What does not depend on the instant. */
export type Subject = {
  event: Schemas["Event"];
  claims: Schemas["RewardRequest"][];
  /** The newest activities, if the role may read them. */
  activities: Schemas["Activity"][];
  /** There are older ones. */
  isCut: boolean;
};

const MOST_ACTIVITIES = 200;

export async function readSubject(user: UserFilter, eventId: string, readsActivities: boolean): Promise<Subject> {
  const id = user.userId ?? `external:${user.externalUserId}`;
  const [event, claims, activities] = await Promise.all([
    ok(api.GET("/events/{id}", { params: { path: { id: eventId } } })),
    ok(api.GET("/reward-requests", { params: { query: { ...user, eventId, pageSize: 20 } } })),
    readsActivities ? ok(api.GET("/users/{id}/activities", { params: { path: { id }, query: { pageSize: MOST_ACTIVITIES } } })) : undefined,
  ]);
  return { event, claims: claims.items, activities: activities?.items ?? [], isCut: !!activities?.nextPageToken };
}

/** At an instant, from what was known by then or from what is known now. */
export function explain(user: UserFilter, eventId: string, asOf: string | undefined, knownThen: boolean): Promise<Schemas["Explanation"]> {
  const instants = asOf === undefined ? {} : { asOf, ...(knownThen ? { knownBy: asOf } : {}) };
  return ok(api.POST("/events/{id}/explain", { params: { path: { id: eventId } }, body: { ...user, ...instants } }));
}
