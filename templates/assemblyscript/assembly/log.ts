@external("meed:condition/log@1.0.0", "note")
declare function write(start: usize, length: i32): void;

/** Writes a note for you, the author; it cannot sway a decision. */
export function note(message: string): void {
  write(changetype<usize>(message), message.length);
}
