// Wall clocks of time zones, with what the browser knows of them.

/** The wall clock of an instant as a field of the type datetime-local has it, or nothing if the zone or the instant is unknown. */
export function wallOf(instant: string, zone: string): string {
  const at = Date.parse(instant);
  const parts = Number.isNaN(at) ? undefined : partsAt(at, zone);
  if (!parts) return "";
  const seconds = parts["second"] === "00" ? "" : `:${parts["second"]}`;
  return `${parts["year"]?.padStart(4, "0")}-${parts["month"]}-${parts["day"]}T${parts["hour"]}:${parts["minute"]}${seconds}`;
}

/** The instant of a wall clock. One that the clocks skip is that of the clock before it goes forward. */
export function instantOf(wall: string, zone: string): string | undefined {
  const asUtc = Date.parse(`${wall}Z`);
  if (wall === "" || Number.isNaN(asUtc)) return undefined;
  const first = offsetAt(asUtc, zone);
  if (first === undefined) return undefined;
  const second = offsetAt(asUtc - first, zone) ?? first;
  return new Date(asUtc - second).toISOString();
}

function partsAt(at: number, zone: string): Record<string, string> | undefined {
  try {
    const format = new Intl.DateTimeFormat("en-US", {
      timeZone: zone, hourCycle: "h23", year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
    });
    return Object.fromEntries(format.formatToParts(at).map(({ type, value }) => [type, value]));
  } catch {
    // The server may know a zone that this browser does not.
    return undefined;
  }
}

/** Milliseconds that the zone is ahead of UTC. */
function offsetAt(at: number, zone: string): number | undefined {
  const parts = partsAt(at, zone);
  if (!parts) return undefined;
  const [year, month, day, hour, minute, second] = ["year", "month", "day", "hour", "minute", "second"].map((name) => Number(parts[name]));
  return Date.UTC(year ?? 0, (month ?? 1) - 1, day, hour, minute, second) - Math.floor(at / 1000) * 1000;
}

export function myZone(): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone;
}

export function knownZones(): string[] {
  return ["UTC", ...Intl.supportedValuesOf("timeZone")];
}

/** The zone, if the browser knows it. */
export function knownZone(zone: string): string | undefined {
  return partsAt(0, zone) ? zone : undefined;
}
