// The event of a release, by the title that the release gives it.
import type { Schemas } from "../../api/client";
import { Link, to } from "../../router";

export function EventTitle({ of }: { of: Schemas["Release"] }) {
  const { title } = of.event as { title?: unknown };
  return <Link to={to(["events", of.eventId])}>{typeof title === "string" && title !== "" ? title : of.eventId}</Link>;
}
