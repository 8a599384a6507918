@external("meed:condition/log@1.0.0", "note")
declare function write(start: usize, length: usize): void;

/** Writes a note for the author. It cannot affect a decision. */
export function note(message: string): void {
  const bytes = String.UTF8.encode(message);
  write(changetype<usize>(bytes), bytes.byteLength);
}
