// Reads something again and again while the page is in front. One read at a time; a failure waits for the next turn.
import { useEffect, useRef } from "react";

export function useEvery(milliseconds: number | undefined, read: () => Promise<void>): void {
  const current = useRef(read);
  current.current = read;
  useEffect(() => {
    if (milliseconds === undefined) return undefined;
    let isReading = false;
    const timer = setInterval(() => {
      if (isReading || document.hidden) return;
      isReading = true;
      current.current().catch(() => undefined).finally(() => (isReading = false));
    }, milliseconds);
    return () => clearInterval(timer);
  }, [milliseconds]);
}
