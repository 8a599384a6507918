// Why a user does or does not get an event's rewards, at an instant. The one place that asks the server for it: an endpoint
// that explains in one call replaces this composition of three.
import { type Schemas, api, ok } from "./api/client";

export type Explanation = {
  event: Schemas["Event"];
  progress: Schemas["EventProgress"];
  claims: Schemas["RewardRequest"][];
  /** The run of the condition, if the role may simulate. */
  run: Schemas["Simulation"] | undefined;
};

export async function explain(user: { userId?: string; externalUserId?: string }, eventId: string, at: string | undefined): Promise<Explanation> {
  const path = { id: eventId };
  const [event, progress, claims] = await Promise.all([
    ok(api.GET("/events/{id}", { params: { path } })),
    ok(api.GET("/events/{id}/progress", { params: { path, query: { ...user, asOf: at } } })),
    ok(api.GET("/reward-requests", { params: { query: { ...user, eventId, pageSize: 20 } } })),
  ]);
  const { plugin, version, params } = event.condition;
  const run = await ok(
    api.POST("/plugins/{name}/versions/{version}/simulate", {
      params: { path: { name: plugin, version } },
      body: { params, eventId, userId: user.userId, externalUserId: user.externalUserId, asOf: at },
    }),
  );
  return { event, progress, claims: claims.items, run };
}
