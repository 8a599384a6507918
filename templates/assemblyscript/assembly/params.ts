/** A JSON value in its text, already checked against the schema; looked up and not parsed into a tree. */
export class Params {
  constructor(private readonly text: string) {}

  /** A whole number, or the default if it is missing. */
  int(name: string, absent: i64): i64 {
    const value = this.member(name);
    return value === null ? absent : I64.parseInt(value.text);
  }

  bool(name: string, absent: bool): bool {
    const value = this.member(name);
    return value === null ? absent : value.text == "true";
  }

  string(name: string, absent: string): string {
    const value = this.member(name);
    return value === null ? absent : unquote(value.text);
  }

  has(name: string): bool {
    return this.member(name) !== null;
  }

  /** A member of an object, or null. */
  member(name: string): Params | null {
    const parts = this.parts();
    for (let i = 0; i + 1 < parts.length; i += 2) {
      if (unquote(parts[i]) == name) return new Params(parts[i + 1]);
    }
    return null;
  }

  /** The items of a member that is an array. */
  items(name: string): Params[] {
    const array = this.member(name);
    return array === null ? [] : array.parts().map<Params>((text) => new Params(text));
  }

  /** The names and values of an object in turn, or the values of an array. */
  private parts(): string[] {
    const parts: string[] = [];
    let depth = 0;
    let start = 1;
    for (let at = 0; at < this.text.length; at++) {
      const letter = this.text.charCodeAt(at);
      if (letter == 0x22 /* " */) {
        for (at++; at < this.text.length && this.text.charCodeAt(at) != 0x22; at++) {
          if (this.text.charCodeAt(at) == 0x5c /* \ */) at++;
        }
        continue;
      }
      const opens = letter == 0x7b /* { */ || letter == 0x5b; /* [ */
      const closes = letter == 0x7d /* } */ || letter == 0x5d; /* ] */
      const ends = letter == 0x2c /* , */ || letter == 0x3a; /* : */
      if (depth == 1 && (closes || ends)) {
        const part = this.text.substring(start, at).trim();
        if (part.length > 0) parts.push(part);
        start = at + 1;
      }
      depth += <i32>opens - <i32>closes;
    }
    return parts;
  }
}

function unquote(text: string): string {
  let plain = "";
  for (let at = 1; at < text.length - 1; at++) {
    const letter = text.charAt(at);
    if (letter != "\\") {
      plain += letter;
      continue;
    }
    const escape = text.charAt(++at);
    if (escape == "u") {
      // UTF-16 like the text itself, so surrogate pairs need no special handling.
      plain += String.fromCharCode(<i32>U32.parseInt(text.substr(at + 1, 4), 16));
      at += 4;
    } else {
      const known = "bfnrt".indexOf(escape);
      plain += known < 0 ? escape : "\b\f\n\r\t".charAt(known);
    }
  }
  return plain;
}
